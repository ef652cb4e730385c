"""Assignments of the user's own: files of formats by layer."""

import io

import pandas
import pytest

from conftest import ROOT, assert_clean_failure, results, write_small_config

MODEL = ROOT / "configs/models/alexnet.onnx"
DATA = ROOT / "configs/data/fashion_mnist.toml"
HEADER = "layer,preparation,bits,encoding,terms"


def evaluate(program, output, *options):
    process = program("evaluate", "--model", MODEL, "--data", DATA, "--images", 1000, "-o", output, *options)
    assert process.returncode == 0, process.stderr
    return results.load(output)["evaluations"].iloc[0], process


@pytest.fixture(scope="module")
def layers(program, tmp_path_factory):
    output = tmp_path_factory.mktemp("layers") / "layers.h5"
    assert program("inspect", MODEL, "-o", output).returncode == 0
    return list(results.load(output)["layers"]["layer"])


def write(path, layers, formats, header=HEADER):
    path.write_text("\n".join([header, *(f"{layer},{text}" for layer, text in zip(layers, formats))]) + "\n")
    return path


def test_the_same_format_in_all_layers_is_what_weights_bitcluster_gives(program, layers, tmp_path):
    file = write(tmp_path / "twos.csv", layers, ["bitcluster,8,signed_digit,2"] * len(layers))
    own, process = evaluate(program, tmp_path / "own.h5", "--assignment", file)
    same, _ = evaluate(program, tmp_path / "same.h5", "--weights", "bitcluster", "--terms", 2, "--encoding", "signed_digit")
    for column in ("images", "top1", "top5", "cross_entropy", "loss", "loss_low", "loss_high", "terms_mean", "terms_per_product"):
        assert own[column] == same[column], column
    assert own["assignment"] == "twos" and own["weights"] == "assignment"
    assert f"{100 * own['loss']:.2f} [{100 * own['loss_low']:.2f}, {100 * own['loss_high']:.2f}] %" in process.stdout
    float_top1, _ = evaluate(program, tmp_path / "float.h5", "--weights", "float")
    assert own["loss"] == pytest.approx(float_top1["top1"] - own["top1"], abs=1e-12)


def test_layers_of_a_study_as_a_file_give_its_accuracy_and_cycles_again(program, tmp_path):
    config = write_small_config(tmp_path / "config.toml", ("alexnet",))
    config.write_text(config.read_text().replace("terms = [2, 3]", 'terms = [1, 3]\nencodings = ["binary", "signed_digit"]\nrounding = "compensated"'))
    assert program("run", config, "-o", tmp_path / "study.h5").returncode == 0
    printed = program("table", tmp_path / "study.h5", "--layers", "alexnet", "--format", "csv")
    assert printed.returncode == 0, printed.stderr
    file = tmp_path / "mine.csv"
    file.write_text(printed.stdout)
    study = results.load(tmp_path / "study.h5")
    stored = study["assignments"].query("assignment == 'L-BC'")[["layer", "preparation", "bits", "encoding", "terms", "rounding", "exact"]]
    assert pandas.read_csv(io.StringIO(printed.stdout)).equals(stored.reset_index(drop=True))

    process = program("run", config, "--assignment", file, "-o", tmp_path / "both.h5")
    assert process.returncode == 0, process.stderr
    assert "mine" in process.stdout
    both = results.load(tmp_path / "both.h5")
    test = both["evaluations"].query("split == 'test'").set_index("assignment")
    for column in ("top1", "cross_entropy", "loss_high", "terms_per_product"):
        assert test.loc["mine", column] == test.loc["L-BC", column], column
    cycles = both["emulation"].query("basis == 'throughput'").groupby("assignment")["cycles"].sum()
    assert cycles["mine"] == cycles["L-BC"]
    assert "assignment" in set(both.provenance["inputs"]["kind"])

    emulated = program("emulate", config, "--assignment", f"alexnet={file}", "-o", tmp_path / "emulated.h5")
    assert emulated.returncode == 0, emulated.stderr
    emulation = results.load(tmp_path / "emulated.h5")["emulation"].query("basis == 'throughput'")
    assert set(emulation["assignment"]) == {"integer", "mine"}
    assert emulation.query("assignment == 'mine'")["cycles"].sum() == cycles["mine"]

    # an assignment that changed makes complete results again
    (tmp_path / "other.csv").write_text(printed.stdout)
    renamed = program("emulate", config, "--assignment", tmp_path / "other.csv", "--resume", "-o", tmp_path / "emulated.h5")
    assert renamed.returncode == 0 and "lacks assignment 'other'" in renamed.stderr, renamed.stderr
    assert program("emulate", config, "--assignment", file, "-o", tmp_path / "emulated.h5").returncode == 0
    file.write_text(printed.stdout.replace(",1,compensated", ",3,compensated"))
    again = program("emulate", config, "--assignment", file, "--resume", "-o", tmp_path / "emulated.h5")
    assert again.returncode == 0 and "is made again" in again.stderr, again.stderr


@pytest.mark.parametrize("change, words", [
    (lambda lines: lines[1:], ["line 1", "column 'bits' is missing"]),
    (lambda lines: lines[:-1], ["is missing"]),
    (lambda lines: [*lines, lines[1]], ["is there twice"]),
    (lambda lines: [lines[0], lines[1].replace("bitcluster,8,binary", "bitpruner,8,signed_digit"), *lines[2:]], ["line 2"]),
    (lambda lines: [*lines, "conv99,bitcluster,8,binary,2"], ["no layer 'conv99'"]),
    (lambda lines: [lines[0], lines[1].replace("binary", "ternary"), *lines[2:]], ["line 2", "ternary"]),
    (lambda lines: [lines[0], lines[1].replace(",2", ",9"), *lines[2:]], ["line 2", "terms is '9'", "from 1 to 8"]),
    (lambda lines: [lines[0], lines[1].replace(",2", ",two"), *lines[2:]], ["line 2", "terms is 'two'"]),
    (lambda lines: [lines[0], lines[1].replace("bitcluster", "bitpruner"), *lines[2:]], ["line 3", "mixes"]),
    (lambda lines: [lines[0], lines[1].replace("bitcluster", "magic"), *lines[2:]], ["no preparation 'magic'"]),
    (lambda lines: [lines[0], lines[1] + ",", *lines[2:]], ["line 2", "6 cells"]),
    (lambda lines: [lines[0] + ",colour", *(line + ",red" for line in lines[1:])], ["column 'colour' is not known"]),
    (lambda lines: [lines[0], *(line.split(",")[0] + ",integer,8,," for line in lines[1:])], ["plain integer weights"]),
    (lambda lines: [lines[0], lines[1].split(",")[0] + ",integer,6,,", *lines[2:]], ["line 2", "8 bits here"]),
])
def test_what_cannot_be_an_assignment_is_refused(program, layers, tmp_path, change, words):
    lines = [HEADER, *(f"{layer},bitcluster,8,binary,2" for layer in layers)]
    (tmp_path / "bad.csv").write_text("\n".join(change(lines)) + "\n")
    config = write_small_config(tmp_path / "config.toml", ("alexnet",))
    process = program("emulate", config, "--assignment", tmp_path / "bad.csv", "-o", tmp_path / "out.h5")
    assert_clean_failure(process, tmp_path / "out.h5", "bad.csv", *words)


def test_options_that_an_assignment_leaves_no_effect(program, layers, tmp_path):
    file = write(tmp_path / "twos.csv", layers, ["bitcluster,8,binary,2"] * len(layers))
    for option in (["--terms", 3], ["--weights", "bitcluster"], ["--rounding", "compensated"], ["--exact"]):
        process = program("evaluate", "--model", MODEL, "--data", DATA, "--assignment", file, *option)
        assert process.returncode != 0 and option[0] in process.stderr, process.stderr
    config = write_small_config(tmp_path / "config.toml", ("alexnet", "mobilenet_v2"))
    for given, word in ((file, "which of the models"), (f"alexnet={tmp_path}/integer.csv", "another assignment 'integer'"),
                        (f"alexnet={tmp_path}/BitPruner.csv", "another assignment 'BitPruner'"),
                        (f"alexnet={tmp_path}/N=2.csv", "another assignment 'N=2'")):
        process = program("run", config, "--assignment", given, "-o", tmp_path / "out.h5")
        assert_clean_failure(process, tmp_path / "out.h5", word)


def test_exact_magnitudes_and_files_of_spreadsheets(program, layers, tmp_path):
    lines = [HEADER + ",exact", *(f'"{layer}",bitcluster,8,binary,2,1' for layer in layers)]
    (tmp_path / "exact.csv").write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    own, _ = evaluate(program, tmp_path / "own.h5", "--assignment", tmp_path / "exact.csv")
    same, _ = evaluate(program, tmp_path / "same.h5", "--weights", "bitcluster", "--terms", 2, "--exact")
    assert own["cross_entropy"] == same["cross_entropy"]


def test_files_of_models_that_are_not_chosen_are_left_out(program, layers, tmp_path):
    file = write(tmp_path / "twos.csv", layers, ["bitcluster,8,binary,2"] * len(layers))
    config = write_small_config(tmp_path / "config.toml", ("alexnet", "mobilenet_v2"))
    process = program("emulate", config, "--model", "mobilenet_v2", "--assignment", f"alexnet={file}", "-o", tmp_path / "out.h5")
    assert process.returncode == 0, process.stderr
    assert "twos" not in set(results.load(tmp_path / "out.h5")["assignments"]["assignment"])


def test_layers_of_what_results_do_not_have(program, tmp_path):
    config = write_small_config(tmp_path / "config.toml", ("alexnet",))
    assert program("emulate", config, "-o", tmp_path / "out.h5").returncode == 0
    process = program("table", tmp_path / "out.h5", "--layers", "alexnet")
    assert_clean_failure(process, None, "L-BC", "N=2 of alexnet")
    text = program("table", tmp_path / "out.h5", "--layers", "alexnet", "--assignment", "N=2")
    assert text.returncode == 0 and "bitcluster" in text.stdout
