"""Reads a BitCluster results file into pandas frames.

    results = load("results.h5")
    results["emulation"].groupby("accelerator").cycles.sum()
    results["emulation"].attrs["units"]["energy_pj"]    # "pJ"
    results.provenance["git_commit"]
    results.provenance["inputs"]                        # a frame: every file that was read, with its checksum
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd

SCHEMA_VERSION = 7  # of host/results/results.hpp


class ResultsError(Exception):
    """A results file that cannot be used; the message says why and what to do."""


class Results(dict[str, pd.DataFrame]):
    """Tables by name (layers, sensitivity, evaluations, assignments, front, accelerators, emulation, summary, skipped)."""

    def __init__(self, tables: dict[str, pd.DataFrame], provenance: dict[str, Any]) -> None:
        super().__init__(tables)
        self.provenance = provenance


def load(path: str | Path) -> Results:
    """Reads every table of a results file.

    Each frame's `attrs` hold the dictionaries `units` and `descriptions` by column. Raises ResultsError if the
    file is unreadable, not a results file, or of another schema version.
    """
    if not Path(path).is_file():
        raise ResultsError(f"cannot read '{path}': there is no such file; check the path")
    try:
        with h5py.File(path, "r") as file:
            provenance = _read_provenance(file, path)
            tables = {name: _read_table(group, path) for name, group in file.items() if name != "provenance"}
    except OSError as error:
        raise ResultsError(f"cannot read '{path}': {error}; make the file again") from error
    return Results(tables, provenance)


def _plain(value: Any) -> Any:
    """An attribute's value as a Python object."""
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    return value.item() if isinstance(value, np.generic) else value


def _read_values(dataset: h5py.Dataset) -> np.ndarray:
    return dataset.asstr(errors="backslashreplace")[:] if h5py.check_string_dtype(dataset.dtype) else dataset[:]


def _read_provenance(file: h5py.File, path: str | Path) -> dict[str, Any]:
    if "provenance" not in file or "schema_version" not in file["provenance"].attrs:
        raise ResultsError(f"cannot read '{path}': it has no /provenance; give a results file of bitcluster")
    group = file["provenance"]
    provenance = {name: _plain(value) for name, value in group.attrs.items()}
    if provenance["schema_version"] != SCHEMA_VERSION:
        raise ResultsError(
            f"cannot read '{path}': its schema is version {provenance['schema_version']}, this script reads "
            f"version {SCHEMA_VERSION}; use the script that belongs to the program that wrote it")
    provenance["inputs"] = _read_table(group["inputs"], path) if "inputs" in group else pd.DataFrame()
    provenance["devices"] = list(_read_values(group["devices"])) if "devices" in group else []
    provenance["config"] = "".join(_read_values(group["config"])) if "config" in group else ""
    return provenance


def _read_table(group: h5py.Group, path: str | Path) -> pd.DataFrame:
    columns = {name: _read_values(dataset) for name, dataset in group.items()}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ResultsError(
            f"cannot read '{path}': the columns of {group.name} have different lengths {lengths}; make the file again")
    frame = pd.DataFrame(columns)
    frame.attrs["units"] = {name: _plain(data.attrs.get("unit", "")) for name, data in group.items()}
    frame.attrs["descriptions"] = {name: _plain(data.attrs.get("description", "")) for name, data in group.items()}
    return frame
