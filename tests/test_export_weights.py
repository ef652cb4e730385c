"""analysis/export_torchvision.py loads weights and nothing else: a pickle would run as code."""

import os
import subprocess
import sys

import pytest

from conftest import ROOT

torch = pytest.importorskip("torch", reason="python3-torch is not installed")
pytest.importorskip("torchvision", reason="python3-torchvision is not installed")
sys.path.insert(0, str(ROOT / "analysis"))
import export_torchvision  # noqa: E402  of analysis/


class Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("zipped", [True, False])
def test_weights_are_loaded(tmp_path, zipped):
    state = export_torchvision.build("mobilenet_v2").state_dict()
    torch.save(state, tmp_path / "weights.pth", _use_new_zipfile_serialization=zipped)
    loaded = export_torchvision.load_state(tmp_path / "weights.pth")
    assert loaded.keys() == state.keys() and all(torch.equal(loaded[key], state[key]) for key in state)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_does_not_run(tmp_path, zipped):
    torch.save({"weight": torch.zeros(2), "more": Hostile(tmp_path / "ran")}, tmp_path / "weights.pth",
               _use_new_zipfile_serialization=zipped)
    with pytest.raises(RuntimeError, match=r"holds more than a state dictionary.*state_dict\(\)"):
        export_torchvision.load_state(tmp_path / "weights.pth")
    assert not (tmp_path / "ran").exists()


def test_what_is_no_state_dictionary(tmp_path):
    for content in (torch.nn.Linear(2, 2), {"state_dict": {"weight": torch.zeros(2)}}, [torch.zeros(2)], 3):
        torch.save(content, tmp_path / "weights.pth")
        with pytest.raises(RuntimeError, match=r"state_dict\(\)"):
            export_torchvision.load_state(tmp_path / "weights.pth")
    for content in (b"", b"PK", b"\x80\x02", b"text"):
        (tmp_path / "weights.pth").write_bytes(content)
        with pytest.raises(RuntimeError, match="damaged"):
            export_torchvision.load_state(tmp_path / "weights.pth")


def test_the_script_says_so_in_one_line(tmp_path):
    torch.save(Hostile(tmp_path / "ran"), tmp_path / "weights.pth")
    cache = tmp_path / "home/hub/checkpoints"
    cache.mkdir(parents=True)
    (cache / "alexnet-owt-7be5be79.pth").write_bytes((tmp_path / "weights.pth").read_bytes())
    for arguments in (["--weights", tmp_path / "weights.pth"], ["--weights", tmp_path / "none.pth"], []):
        process = subprocess.run(
            [sys.executable, ROOT / "analysis/export_torchvision.py", "--model", "alexnet", "--out", tmp_path, *arguments],
            capture_output=True, text=True, env={**os.environ, "TORCH_HOME": str(tmp_path / "home")})
        assert process.returncode == 1 and "alexnet: no weights:" in process.stderr, process.stderr
        assert "Traceback" not in process.stderr
    assert not (tmp_path / "ran").exists() and not list(tmp_path.glob("*.onnx"))
