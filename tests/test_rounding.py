"""Compensated rounding from the command line."""

import pytest

from conftest import ROOT, assert_equal, results, tables, write_small_config

MODEL = ROOT / "configs/models/mobilenet_v2.onnx"
DATA = ROOT / "configs/data/fashion_mnist.toml"


def evaluate(program, output, *options, ranks=1):
    process = program("evaluate", "--model", MODEL, "--data", DATA, "--images", 1000, "-o", output, *options, ranks=ranks)
    assert process.returncode == 0, process.stderr
    return results.load(output)["evaluations"].drop(columns="seconds")


@pytest.mark.parametrize("weights", [["bitcluster", "--terms", 1], ["bitcluster", "--terms", 2, "--encoding",
                                                                    "signed_digit"], ["integer", "--bits", 4]])
def test_compensated_rounding_is_better_and_the_same_on_any_number_of_ranks(program, tmp_path, weights):
    nearest = evaluate(program, tmp_path / "nearest.h5", "--weights", *weights)
    one = evaluate(program, tmp_path / "one.h5", "--weights", *weights, "--rounding", "compensated")
    three = evaluate(program, tmp_path / "three.h5", "--weights", *weights, "--rounding", "compensated", ranks=3)
    assert one.equals(three)
    assert one.cross_entropy[0] < nearest.cross_entropy[0]


def test_float_weights_are_not_rounded(program, tmp_path):
    process = program("evaluate", "--model", MODEL, "--data", DATA, "--weights", "float", "--rounding", "compensated")
    assert process.returncode != 0 and "--rounding" in process.stderr, process.stderr


def test_a_study_rounds_its_candidates_with_compensation(program, tmp_path):
    config = write_small_config(tmp_path / "config.toml", ("mobilenet_v2",))
    text = config.read_text().replace("terms = [2, 3]", "terms = [1, 2]\nbitpruner_terms = [2]")
    assert "bitpruner" in text
    config.write_text(text)
    assert program("run", config, "-o", tmp_path / "nearest.h5").returncode == 0
    config.write_text(text.replace("[search]", '[search]\nrounding = "compensated"'))
    assert program("run", config, "-o", tmp_path / "one.h5").returncode == 0
    assert program("run", config, "-o", tmp_path / "two.h5", ranks=2).returncode == 0
    one, nearest = tables(tmp_path / "one.h5"), tables(tmp_path / "nearest.h5")
    assert_equal(tables(tmp_path / "two.h5"), one)

    assert set(one["sensitivity"].rounding) == {"compensated"} and set(nearest["sensitivity"].rounding) == {"nearest"}
    evaluations = one["evaluations"].query("split in ('search', 'test')").drop_duplicates("assignment").set_index("assignment")
    assert evaluations.loc["float"].rounding == "" and evaluations.loc["integer"].rounding == "nearest"
    assert evaluations.loc["N=1"].rounding == "compensated"
    before = nearest["evaluations"].query("split == 'search'").set_index("assignment")
    assert evaluations.loc["N=1"].cross_entropy < before.loc["N=1"].cross_entropy

    emulated = program("emulate", config, "-o", tmp_path / "emulated.h5")
    assert emulated.returncode == 0, emulated.stderr
    assert set(results.load(tmp_path / "emulated.h5")["assignments"].rounding) == {"compensated"}
    planned = program("--threads", 1, "run", config, "--plan", "1,4")
    assert planned.returncode == 0 and "GB/rank" in planned.stdout, planned.stderr
