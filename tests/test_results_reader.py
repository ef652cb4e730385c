"""analysis/results.py on a file in the documented layout, written here with h5py."""

import h5py
import numpy
import pytest

import results


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "results.h5"
    with h5py.File(path, "w") as file:
        provenance = file.create_group("provenance")
        provenance.attrs["schema_version"] = 1
        provenance.attrs["config"] = numpy.bytes_(b"seed = 1")
        provenance["devices"] = numpy.array([b"node, cpu"])
        group = file.create_group("layers")
        for name, values in {"layer": numpy.array([b"a", b"b"]), "weights": numpy.array([3, 4])}.items():
            group[name] = values
            group[name].attrs["unit"] = "1"
            group[name].attrs["description"] = f"about {name}"
        file.create_group("skipped")["reason"] = numpy.array([], "S1")
    return path


def test_reads_frames_with_units(path):
    file = results.load(path)
    assert list(file["layers"]["layer"]) == ["a", "b"] and file["layers"]["weights"].sum() == 7
    assert file["layers"].attrs["descriptions"]["weights"] == "about weights"
    assert file.provenance["config"] == "seed = 1" and file.provenance["devices"] == ["node, cpu"]
    assert len(file["skipped"]) == 0


def test_rejects_other_schemas(path, tmp_path):
    with h5py.File(path, "a") as file:
        file["provenance"].attrs["schema_version"] = 99
    with pytest.raises(ValueError, match="99"):
        results.load(path)
    h5py.File(tmp_path / "other.h5", "w").close()
    with pytest.raises(ValueError, match="provenance"):
        results.load(tmp_path / "other.h5")
