"""Compensated rounding from the command line."""

import pytest

from conftest import ROOT, results

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
