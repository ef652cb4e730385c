"""What does not fit between a model and its data is said before any work, or with the accuracy: never passed over."""

import gzip
import struct

import h5py
import numpy
import pytest

import results
from conftest import ROOT, assert_clean_failure, write_small_config

FASHION = "/usr/share/datasets/fashion-mnist"
MODEL, DATA = ROOT / "configs/models/alexnet.onnx", ROOT / "configs/data/fashion_mnist.toml"


def fashion_images():
    with gzip.open(f"{FASHION}/t10k-images-idx3-ubyte.gz") as file:
        return numpy.frombuffer(file.read(), numpy.uint8, offset=16).reshape(-1, 28, 28)


def fashion_labels():
    with gzip.open(f"{FASHION}/t10k-labels-idx1-ubyte.gz") as file:
        return numpy.frombuffer(file.read(), numpy.uint8, offset=8)


def describe(folder, images, labels):
    """A data description in a folder, its test split made of some images and labels, its other splits as they are."""
    (folder / "images").write_bytes(struct.pack(">4I", 2051, *images.shape) + images.tobytes())
    (folder / "labels").write_bytes(struct.pack(">2I", 2049, len(labels)) + bytes(labels))
    text = DATA.read_text()
    for kind in ("images-idx3", "labels-idx1"):
        text = text.replace(f"{FASHION}/t10k-{kind}-ubyte.gz", str(folder / kind.split("-")[0]))
    (folder / "data.toml").write_text(text)
    return folder / "data.toml"


@pytest.fixture
def config(tmp_path):
    return write_small_config(tmp_path / "small.toml")


def evaluate(program, *arguments, model=MODEL, data=DATA, ranks=1):
    return program("evaluate", "--model", model, "--data", data, "--weights", "float", *arguments, ranks=ranks)


def warnings(process):
    return [line for line in process.stderr.splitlines() if "warning" in line]


@pytest.mark.parametrize("ranks", [1, 4])
def test_labels_beyond_the_classes_of_the_test_split_end_a_study_before_its_work(program, config, tmp_path, ranks):
    labels = fashion_labels()[:400].copy()
    labels[399] = 10  # beyond test_images = 300, too
    data = describe(tmp_path, fashion_images()[:400], labels)
    config.write_text(config.read_text().replace(str(DATA), str(data)))
    output = tmp_path / "out.h5"
    for process in (program("run", config, "-o", output, ranks=ranks), program("search", config, "-o", output, ranks=ranks),
                    evaluate(program, "-o", output, data=data, ranks=ranks)):
        assert_clean_failure(process, output, "split 'test'", "image 399 has label 10", "10 classes")
        assert "calibrate" not in process.stderr and process.stderr.count("has label 10") == 1
    # emulation does not look at the test split
    assert program("emulate", config, "-o", output, ranks=ranks).returncode == 0


COUNTS = {  # replaced in the config: split, asked, there
    "images = 64": ("images = 600", "calibration", 600, 512),
    "images = 300\ntest": ("images = 5001\ntest", "search", 5001, 5000),
    "test_images = 300": ("test_images = 10001", "test", 10001, 10000),
    "images = 2\n": ("images = 513\n", "calibration", 513, 512),
    "images = 300\ntest_images = 300": ("sensitivity_images = 5001", "search", 5001, 5000),
}


@pytest.mark.parametrize("old", COUNTS)
def test_more_images_than_there_are(program, config, tmp_path, old):
    new, split, asked, there = COUNTS[old]
    assert config.read_text().count(old) == 1
    config.write_text(config.read_text().replace(old, new))
    process = program("run", config, "-o", tmp_path / "out.h5")
    assert_clean_failure(process, tmp_path / "out.h5", f"cannot take {asked} images of split '{split}'", f"it has {there}")
    assert "calibrate" not in process.stderr


def test_more_sensitivity_images_than_the_search_has(program, config, tmp_path):
    config.write_text(config.read_text().replace("images = 300\n", "images = 300\nsensitivity_images = 301\n", 1))
    process = program("search", config, "-o", tmp_path / "out.h5")
    assert_clean_failure(process, tmp_path / "out.h5", "sensitivity_images", "the search has 300 images")


def test_evaluate_asks_for_more_images_than_there_are(program, tmp_path):
    for split, asked, there in (("test", 10001, 10000), ("calibration", 513, 512)):
        process = evaluate(program, "--split", split, "--images", asked, "-o", tmp_path / "out.h5")
        assert_clean_failure(process, tmp_path / "out.h5", f"{asked} images of split '{split}'", f"it has {there}")
    process = evaluate(program, "--split", "calibration", "--images", 512, "-o", tmp_path / "out.h5")
    assert process.returncode == 0 and results.load(tmp_path / "out.h5")["evaluations"]["images"][0] == 512


@pytest.fixture(scope="module")
def permuted(tmp_path_factory):
    """AlexNet with its outputs in another order: output i is what was ORDER[i]."""
    onnx = pytest.importorskip("onnx", reason="python3-onnx is not installed")
    from onnx import numpy_helper
    model = onnx.load(str(MODEL))
    for tensor in model.graph.initializer:
        if 10 in tensor.dims:
            values = numpy_helper.to_array(tensor)
            changed = values.take(ORDER, axis=values.shape.index(10)).copy()
            tensor.CopyFrom(numpy_helper.from_array(changed, tensor.name))
    path = tmp_path_factory.mktemp("permuted") / "permuted.onnx"
    onnx.save(model, str(path))
    return path


ORDER = [3, 0, 1, 2, 4, 5, 6, 9, 8, 7]


@pytest.mark.parametrize("ranks", [1, 2])
def test_outputs_in_another_order_than_the_labels(program, permuted, ranks):
    process = evaluate(program, "--images", 1000, model=permuted, ranks=ranks)
    assert process.returncode == 0
    said = warnings(process)
    assert len(said) == 1 and "numbered in another order" in said[0] and "split 'test'" in said[0]
    assert "1 for most images of label 0, 2 for label 1, 3 for label 2, ..." in said[0]
    assert warnings(evaluate(program, "--images", 1000, ranks=ranks)) == []


def test_a_study_with_labels_in_another_order_says_so_once(program, config, permuted, tmp_path):
    config.write_text(config.read_text().replace(str(ROOT / "configs/models/resnet18.onnx"), str(permuted)))
    process = program("run", config, "-o", tmp_path / "out.h5")
    assert process.returncode == 0, process.stderr
    said = warnings(process)
    assert len(said) == 1 and "resnet18, split 'search': the labels seem" in said[0]


def test_other_numbers_of_classes(program, tmp_path):
    images, labels = fashion_images()[:500], fashion_labels()[:500]
    # labels of idx files: nothing is said of how many classes there are
    few = labels < 5
    process = evaluate(program, data=describe(tmp_path, images[few], labels[few]))
    said = warnings(process)
    assert process.returncode == 0 and len(said) == 1 and "has 10 classes" in said[0] and "go up to 4" in said[0]
    # packed ones say it
    for classes in (9, 10, 12):
        with h5py.File(tmp_path / "test.h5", "w") as file:
            file["images"] = images[..., None]
            file["labels"] = numpy.minimum(labels, classes - 1)
            file["classes"] = numpy.array([b"class"] * classes)
        text = DATA.read_text().replace('"idx"', '"packed"').split("[splits.train]")[0]
        (tmp_path / "packed.toml").write_text(text + '[splits.test]\nfiles = ["test.h5"]\n')
        process = evaluate(program, data=tmp_path / "packed.toml")
        said = warnings(process)
        assert process.returncode == 0 and len(said) == (classes != 10)
        assert classes == 10 or f"has {classes}: accuracy is right only if" in said[0]
