"""Reads the results files of BitCluster (HDF5) into pandas frames."""

from pathlib import Path

import h5py
import numpy
import pandas

SCHEMA_VERSION = 1  # the one that host/results.hpp writes


class Results(dict):
    """Tables by name, as pandas frames; frame.attrs holds `units` and `descriptions` by column."""

    def __init__(self, provenance: dict, tables: dict):
        super().__init__(tables)
        self.provenance = provenance


def _decoded(values: numpy.ndarray):
    """Byte strings of a column as text, everything else as it is."""
    if values.dtype.kind not in "SO":
        return values
    return [value.decode("utf-8") if isinstance(value, bytes) else value for value in values]


def load(path: str | Path) -> Results:
    """Returns every table of a results file; ValueError for a file of another schema."""
    with h5py.File(path, "r") as file:
        if "provenance" not in file:
            raise ValueError(f"{path} is not a BitCluster results file: it has no /provenance")
        group = file["provenance"]
        provenance = {key: value.decode() if isinstance(value, bytes) else value for key, value in group.attrs.items()}
        if provenance.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(
                f"{path} has schema version {provenance.get('schema_version')}, this reader knows {SCHEMA_VERSION}: "
                "use the analysis folder of the version that wrote it"
            )
        provenance.update({name: list(_decoded(dataset[()])) for name, dataset in group.items()})
        tables = {}
        for name, table in file.items():
            if name == "provenance":
                continue
            frame = pandas.DataFrame({column: _decoded(dataset[()]) for column, dataset in table.items()})
            text = {
                column: {key: value.decode() if isinstance(value, bytes) else value for key, value in dataset.attrs.items()}
                for column, dataset in table.items()
            }
            frame.attrs["units"] = {column: attributes.get("unit") for column, attributes in text.items()}
            frame.attrs["descriptions"] = {column: attributes.get("description") for column, attributes in text.items()}
            tables[name] = frame
    return Results(provenance, tables)
