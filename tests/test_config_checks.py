"""What is wrong with a config is said before any work, and options that have no effect are refused."""

import os
import re
import subprocess
import time

import pytest

import results
from conftest import BUILD, ROOT, assert_clean_failure, write_small_config

MODEL, DATA = ROOT / "configs/models/alexnet.onnx", ROOT / "configs/data/fashion_mnist.toml"


@pytest.fixture
def config(tmp_path):
    return write_small_config(tmp_path / "small.toml")


def changed(config, old, new):
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))


def assert_refused_before_work(program, config, tmp_path, *words, commands=("run", "search", "plan"), ranks=1):
    for command in commands:
        output = None if command == "plan" else tmp_path / "out.h5"
        arguments = ("run", config, "--plan", "2") if command == "plan" else (command, config, "-o", output)
        process = program(*arguments, ranks=ranks)
        assert_clean_failure(process, output, *words)
        assert "import" not in process.stderr and "measure" not in process.stderr


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_search_without_its_section(program, config, tmp_path, ranks):
    text = config.read_text()
    config.write_text(text.split("[search]")[0] + "[emulation]" + text.split("[emulation]")[1])
    assert_refused_before_work(program, config, tmp_path, "nothing can be searched", "add [search]", ranks=ranks)


def test_a_search_without_costs(program, config, tmp_path):
    changed(config, f'"{ROOT}/configs/accelerators/bitcluster.toml", ', "")
    assert_refused_before_work(program, config, tmp_path, "no costs to minimise", '"bitcluster"', "[emulation]")


def test_a_split_that_is_not_there(program, config, tmp_path):
    changed(config, "[search]", '[search]\nsplit = "serach"')
    assert_refused_before_work(program, config, tmp_path, "fashion_mnist.toml", "no split 'serach'", "search")


def test_calibration_on_images_of_the_test(program, config, tmp_path):
    changed(config, "[calibration]", '[calibration]\nsplit = "test"')
    assert_refused_before_work(program, config, tmp_path, "split 'test'", "shares images with 'test'")


def evaluate(program, output, *arguments):
    process = program("evaluate", "--model", MODEL, "--data", DATA, "--images", 300, "-o", output, *arguments)
    return process


def test_evaluate_calibrates_as_it_is_asked(program, tmp_path):
    found = {}
    for arguments in ((), ("--calibration", "percentile"), ("--calibration", "percentile", "--percentile", 99.99),
                      ("--calibration", "percentile", "--percentile", 60), ("--calibration-split", "search")):
        output = tmp_path / "out.h5"
        process = evaluate(program, output, *arguments)
        assert process.returncode == 0, process.stderr
        found[arguments] = results.load(output)["evaluations"]["cross_entropy"][0]
    by_percentile = [value for arguments, value in found.items() if "percentile" in arguments]
    assert by_percentile[0] == by_percentile[1] != by_percentile[2]
    assert len(set(found.values())) == 4


def test_evaluate_refuses_what_has_no_effect(program, tmp_path):
    output = tmp_path / "out.h5"
    assert_clean_failure(evaluate(program, output, "--percentile", 99), output, "--percentile has no effect",
                         "least_squares")
    assert_clean_failure(evaluate(program, output, "--calibration-split", "none"), output, "'none'", "no such split")


@pytest.mark.parametrize("arguments, option", [
    (("--weights", "integer", "--terms", 2), "--terms"),
    (("--terms", 2), "--terms"),
    (("--weights", "integer", "--encoding", "signed_digit"), "--encoding"),
    (("--weights", "float", "--exact"), "--exact"),
    (("--weights", "float", "--bits", 6), "--bits"),
    (("--weights", "float", "--calibration", "maximum"), "--calibration"),
    (("--weights", "float", "--calibration-split", "search"), "--calibration-split"),
    (("--weights", "float", "--backend", "cuda"), "--backend"),
])
def test_evaluate_refuses_options_of_other_weights(program, tmp_path, arguments, option):
    output = tmp_path / "out.h5"
    process = evaluate(program, output, *arguments)
    assert process.returncode != 0 and not output.exists()
    assert option in process.stderr and "has no effect" in process.stderr


def test_options_without_effect_elsewhere(program, config, tmp_path):
    for arguments in (("--threads", 2, "models", config), ("--threads", 2, "table", "x.h5"),
                      ("run", config, "--plan", 2, "--resume")):
        process = program(*arguments)
        assert process.returncode != 0 and ("no effect" in process.stderr or "excludes" in process.stderr), arguments


@pytest.mark.parametrize("old, new, words", [
    ("[search]", "[search]\nbudget = 1", ("budget", "100 %", '"1 %"')),
    ("[search]", "[search]\nbudget = 0.5", ("budget", "50 %", '"0.5 %"')),
    ("[search]", '[search]\nbudget = "1"', ("budget", "percentage")),
    ("[search]", '[search]\nbudget = "-1 %"', ("budget", "percentage")),
    ("[search]", '[search]\nbudget = "101 %"', ("budget", "percentage")),
    ("[calibration]", "[calibration]\npercentile = 99", ("percentile", "no effect")),
    ("[search]", '[search]\npolicy = "greedy"\npatience = 3', ("patience", "no effect", "greedy")),
    ("terms = [2, 3]", "term = [2, 3]", ("terms", "missing", "'term'")),
    ('name = "resnet18"', 'name = ""', ("name", "empty")),
    ('name = "resnet18"', 'name = "a\\nb"', ("name", "control characters")),
    ('name = "resnet18"', 'name = "\\u001b[31m"', ("name", "control characters")),
    ('name = "resnet18"', 'name = "geometric mean"', ("name", "means over the models")),
    ("laconic.toml", "lakonic.toml", ("small.toml", "accelerators", "lakonic.toml")),
    ("resnet18.onnx", "resnet19.onnx", ("small.toml", "resnet19.onnx", "resnet18")),
    ("fashion_mnist.toml", "fashion.toml", ("small.toml", "fashion.toml")),
])
def test_values_that_cannot_be_meant(program, config, tmp_path, old, new, words):
    changed(config, old, new)
    assert_refused_before_work(program, config, tmp_path, *words, commands=("run",))


def test_equal_area_without_bitcluster(program, config, tmp_path):
    changed(config, f'"{ROOT}/configs/accelerators/bitcluster.toml", ', "")
    changed(config, "[emulation]", "[emulation]\nequal_area = true")
    assert_refused_before_work(program, config, tmp_path, "equal_area has no effect", '"bitcluster"', commands=("emulate",))


def test_a_budget_in_percent_is_the_fraction(program, config, tmp_path):
    found = []
    for budget in ("0.02", '"2 %"', '"2%"'):
        changed(config, "[search]", f"[search]\nbudget = {budget}")
        output = tmp_path / "out.h5"
        process = program("search", config, "-o", output)
        assert process.returncode == 0, process.stderr
        found.append(results.load(output)["front"].drop(columns="model").to_csv())
        changed(config, f"[search]\nbudget = {budget}", "[search]")
    assert found[0] == found[1] == found[2]


def test_too_few_images_to_tell_the_budget_end_before_the_search(program, config, tmp_path):
    changed(config, "images = 300", "images = 100")
    changed(config, "[search]", "[search]\nbudget = 0.005")
    process = program("search", config, "-o", tmp_path / "out.h5")
    assert process.returncode == 0, process.stderr
    warning = [line for line in process.stderr.splitlines() if "warning" in line]
    assert len(warning) == 1 and "a loss of 0.50 % cannot be told from none" in warning[0], process.stderr
    changed(config, "confident = false", "confident = true")
    output = tmp_path / "confident.h5"
    process = program("search", config, "-o", output, ranks=2)
    errors = [line for line in process.stderr.splitlines() if "bitcluster: error" in line]
    assert process.returncode != 0 and len(errors) == 1 and not output.exists(), process.stderr
    # 20 of 100 are kept; no image of 80 classified otherwise: 1.96 sqrt(1) / 82 = 2.39 %, and 22.9 times as many for 0.5 %
    assert "80 images of split 'search'" in errors[0] and "confident = false" in errors[0], errors[0]
    assert int(re.search(r"about (\d+) images would do", errors[0])[1]) >= 1470, errors[0]
    assert "round" not in process.stderr


def test_the_program_runs_with_settings_that_libraries_read_at_its_start(config, tmp_path):
    wanted = {b"GLIBC_TUNABLES=glibc.malloc.hugetlb=1", b"GOMP_SPINCOUNT=1000"}
    names = ("GLIBC_TUNABLES", "GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    command = [BUILD / "bitcluster", "run", config, "-o", tmp_path / "out.h5", "--backend", "cpu"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and process.poll() is None:
            with open(f"/proc/{process.pid}/environ", "rb") as file:
                if wanted <= set(file.read().split(b"\0")):
                    return
            time.sleep(0.01)
        pytest.fail("the settings were never there")
    finally:
        process.kill()
        process.wait()


def test_evaluate_takes_the_scales_of_the_model(program, tmp_path):
    onnx = pytest.importorskip("onnx", reason="python3-onnx is not installed")
    numpy, numpy_helper = pytest.importorskip("numpy"), pytest.importorskip("onnx.numpy_helper")
    node, kind = onnx.helper.make_node, onnx.TensorProto.FLOAT
    random = numpy.random.RandomState(1)
    constants = {"w": random.randn(4, 1, 3, 3), "v": random.randn(4, 4, 3, 3) / 6, "u": random.randn(10, 4),
                 "fine": numpy.array(0.02), "coarse": numpy.array(0.03)}
    constants = {name: value.astype(numpy.float32) for name, value in constants.items()}
    constants |= {"lowest": numpy.array(-128, numpy.int8), "shifted": numpy.array(30, numpy.int8)}
    nodes = [node("Conv", ["x", "w"], ["a"], name="first"), node("QuantizeLinear", ["a", "fine", "lowest"], ["b"]),
             node("DequantizeLinear", ["b", "fine", "lowest"], ["c"]), node("Conv", ["c", "v"], ["d"], name="second"),
             node("QuantizeLinear", ["d", "coarse", "shifted"], ["e"]),
             node("DequantizeLinear", ["e", "coarse", "shifted"], ["f"]), node("GlobalAveragePool", ["f"], ["g"], name="pool"),
             node("Flatten", ["g"], ["h"]), node("Gemm", ["h", "u"], ["y"], transB=1)]
    graph = onnx.helper.make_graph(nodes, "graph", [onnx.helper.make_tensor_value_info("x", kind, [1, 1, 28, 28])],
                                   [onnx.helper.make_tensor_value_info("y", kind, [1, 10])],
                                   [numpy_helper.from_array(value, name) for name, value in constants.items()])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)]), str(tmp_path / "own.onnx"))
    arguments = ["--weights", "integer", "--data", DATA, "--images", 300, "--calibration", "model"]
    process = program("evaluate", "--model", tmp_path / "own.onnx", *arguments, "-o", tmp_path / "own.h5")
    assert process.returncode == 0, process.stderr
    assert "own: 1 of 3 activation scales are the model's own; these are of least squares: second, pool" in process.stderr
    output = tmp_path / "out.h5"
    process = program("evaluate", "--model", MODEL, *arguments, "-o", output)
    assert_clean_failure(process, output, "alexnet", "no activation scales of its own", "another calibration method")


def test_assignments_are_confirmed_on_images_that_no_choice_looks_at(program, config, tmp_path):
    changed(config, "[search]", "[search]\nbudget = 0.05")
    assert program("search", config, "-o", tmp_path / "some.h5").returncode == 0
    rows = results.load(tmp_path / "some.h5")["evaluations"].set_index("split")
    assert set(rows.loc["search/validation", "images"]) == {60} and rows.loc["search", "images"].max() == 240
    confirmed = rows.loc["search/validation"].query("budget == 0.05")
    assert len(confirmed) and ((confirmed["loss"] <= 0.05) == (confirmed["within_budget"] == 1)).all()
    assert set(rows.loc["test"].query("assignment in ('M-BC', 'L-BC')")["within_budget"]) == {1}

    changed(config, "[search]", "[search]\nvalidation = 0")
    assert program("search", config, "-o", tmp_path / "none.h5").returncode == 0
    rows = results.load(tmp_path / "none.h5")["evaluations"].set_index("split")
    assert set(rows.index) == {"search", "test"} and rows.loc["search", "images"].max() == 300
    changed(config, "validation = 0\n", "validation = 0.95\n")
    assert_clean_failure(program("search", config, "-o", tmp_path / "most.h5"), tmp_path / "most.h5", "validation", "0.9")
