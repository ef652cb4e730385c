"""The program from outside: a whole small run, any number of ranks, and every kind of bad input."""

import gzip
import shutil
import struct
import subprocess
from pathlib import Path

import h5py
import numpy
import pandas
import pytest

import results
from conftest import ROOT, assert_clean_failure

FASHION = "/usr/share/datasets/fashion-mnist"
CONFIG = f"""
data = "{ROOT}/configs/data/fashion_mnist.toml"
[[models]]
name = "AlexNet"
onnx = "{ROOT}/configs/models/alexnet.onnx"
[[models]]
name = "MobileNetV2"
onnx = "{ROOT}/configs/models/mobilenet_v2.onnx"
[calibration]
images = 64
[search]
images = 150
test_images = 200
terms = [2, 3, 4]
bitpruner_terms = [3, 5]
budget = 0.05
[emulation]
images = 3
accelerators = [
  "{ROOT}/configs/accelerators/bit_parallel.toml",
  "{ROOT}/configs/accelerators/laconic.toml",
  "{ROOT}/configs/accelerators/tactical_e.toml",
  "{ROOT}/configs/accelerators/pragmatic_weights.toml",
  "{ROOT}/configs/accelerators/bitcluster.toml",
]
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "small.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def one_rank(program, config, tmp_path_factory):
    output = tmp_path_factory.mktemp("one_rank") / "results.h5"
    process = program("run", config, "-o", output)
    assert process.returncode == 0, process.stderr
    return process, output


def test_run_prints_the_table_and_writes_every_group(one_rank, program):
    process, output = one_rank
    assert "AlexNet" in process.stdout and "MobileNetV2" in process.stdout
    assert "geometric mean" in process.stdout.lower()
    file = results.load(output)
    assert {"layers", "sensitivity", "evaluations", "assignments", "front", "emulation", "summary", "skipped"} <= set(file)
    assert set(file["layers"]["model"]) == {"AlexNet", "MobileNetV2"}
    test = file["evaluations"].query("split == 'test'").set_index(["model", "assignment"])
    assert (test["images"] == 200).all()
    assert (test.xs("float", level="assignment")["top1"] > 0.85).all()
    assert (test["top1"] <= test["top5"]).all()
    # every layer alone with every N
    layers = file["layers"].groupby("model").size()
    sensitivity = file["sensitivity"].groupby(["weights", "model"]).size()
    assert (sensitivity["bitcluster"] == 3 * layers).all() and (sensitivity["bitpruner"] == 2 * layers).all()
    again = program("table", output)
    assert again.returncode == 0 and again.stdout == process.stdout


def test_mean_terms_and_cycles_follow_from_the_assignment(one_rank):
    """Independent arithmetic: mean N is weighted by weights, a convolution's compute cycles on BitCluster are steps x N."""
    file = results.load(one_rank[1])
    for _, index in file["layers"].groupby("model")["index"]:
        assert list(index) == list(range(len(index)))
    layers = file["layers"].set_index(["model", "layer"])
    for (model, name), choice in file["assignments"].query("assignment in ['M-BC', 'L-BC']").groupby(["model", "assignment"]):
        merged = choice.set_index(["model", "layer"]).join(layers)
        mean = (merged["terms"] * merged["weights"]).sum() / merged["weights"].sum()
        row = file["evaluations"].query("model == @model and assignment == @name and split == 'test'")
        assert row["terms_mean"].iloc[0] == pytest.approx(mean, rel=1e-12)
        rows = file["emulation"].query("model == @model and assignment == @name and basis == 'throughput'")
        cycles = rows.set_index("layer")["compute_cycles"] / rows.set_index("layer")["images"]
        # 16 lanes, 16 rows, 8 columns; depthwise runs on the diagonal: 16 channels at a time
        conv = merged.xs(model, level="model").query("kind == 'conv'")
        depthwise = conv["groups"] > 1
        pixels = numpy.ceil(conv["output_h"] * conv["output_w"] / 8)
        bricks = numpy.where(depthwise, 1, numpy.ceil(conv["channels"] / 16))
        steps = pixels * numpy.ceil(conv["filters"] / 16) * conv["kernel_h"] * conv["kernel_w"] * bricks
        assert (cycles[conv.index] == steps * conv["terms"]).all()


def test_emulation_walks_images_and_compares_at_two_bases(one_rank):
    file = results.load(one_rank[1])
    emulation = file["emulation"]
    assert set(emulation["basis"]) == {"throughput", "area"}
    assert (emulation["images"] == 3).all()  # all counts are sums over them
    counts = emulation.set_index(["basis", "model", "assignment", "layer", "accelerator"])["compute_cycles"]
    same = counts.xs("Bit-parallel", level="accelerator")  # does not look at activations: one image stands for all
    assert (same % 3 == 0).all()
    # BitPruner's weights run on Pragmatic, on which they cannot be slower than those that they were pruned from
    pruned = emulation.query("accelerator == 'Pragmatic (weights)'").set_index(["basis", "model", "layer"])
    cycles = {name: rows["compute_cycles"] for name, rows in pruned.groupby("assignment")}
    assert set(cycles) == {"integer", "BitPruner"}
    assert (cycles["BitPruner"] <= cycles["integer"]).all() and cycles["BitPruner"].sum() < cycles["integer"].sum()
    # at equal area no array is larger than BitCluster's, and another row would be
    arrays = file["accelerators"].set_index(["basis", "accelerator"])
    area = arrays.loc["area"]
    limit = arrays.loc[("throughput", "BitCluster"), "array_mm2"]
    assert (area["array_mm2"] <= limit * (1 + 1e-6)).all()
    assert (area["array_mm2"] * (area["rows"] + 1) / area["rows"] > limit).all()


@pytest.mark.parametrize("ranks", [2, 3, 4, 8])
def test_tables_do_not_depend_on_ranks(program, config, one_rank, tmp_path, ranks):
    output = assert_same_study(program, config, one_rank, tmp_path, ranks)
    assert results.load(output).provenance["ranks"] == ranks


@pytest.fixture(scope="module")
def packed(config, tmp_path_factory):
    """The same config on the same images in a packed file, as the packing script writes it."""
    folder = tmp_path_factory.mktemp("packed")
    data = (ROOT / "configs/data/fashion_mnist.toml").read_text().replace('"idx"', '"packed"')
    for part in ("train", "t10k"):
        with gzip.open(f"{FASHION}/{part}-images-idx3-ubyte.gz") as file:
            images = numpy.frombuffer(file.read(), numpy.uint8, offset=16).reshape(-1, 28, 28, 1)
        with gzip.open(f"{FASHION}/{part}-labels-idx1-ubyte.gz") as file:
            labels = numpy.frombuffer(file.read(), numpy.uint8, offset=8)
        with h5py.File(folder / f"{part}.h5", "w") as file:
            file.create_dataset("images", data=images, chunks=(1, 28, 28, 1), fletcher32=True)
            file["labels"] = labels.astype(numpy.int32)
        data = data.replace(f'"{FASHION}/{part}-images-idx3-ubyte.gz", "{FASHION}/{part}-labels-idx1-ubyte.gz"',
                            f'"{folder}/{part}.h5"')
    (folder / "data.toml").write_text(data)
    path = folder / "packed.toml"
    path.write_text(config.read_text().replace(f"{ROOT}/configs/data/fashion_mnist.toml", f"{folder}/data.toml"))
    return path


@pytest.mark.parametrize("ranks", [1, 3])
def test_tables_do_not_depend_on_who_reads_the_images(program, packed, one_rank, tmp_path, ranks):
    assert_same_study(program, packed, one_rank, tmp_path, ranks)


@pytest.mark.parametrize("ranks", [1, 3])
def test_damaged_image_is_found_before_the_long_work(program, packed, tmp_path, ranks):
    for file in ("train.h5", "t10k.h5"):
        shutil.copy(packed.parent / file, tmp_path)
    with h5py.File(tmp_path / "train.h5") as file:
        place = file["images"].id.get_chunk_info_by_coord((50000 + 4990, 0, 0, 0)).byte_offset
    with open(tmp_path / "train.h5", "r+b") as file:
        file.seek(place + 300)
        byte = file.read(1)
        file.seek(place + 300)
        file.write(bytes([byte[0] ^ 1]))
    (tmp_path / "data.toml").write_text((packed.parent / "data.toml").read_text().replace(f"{packed.parent}/", ""))
    config = tmp_path / "config.toml"
    config.write_text(packed.read_text().replace(str(packed.parent), str(tmp_path)).replace("images = 150", "images = 5000"))
    output = tmp_path / "out.h5"
    process = program("run", config, "-o", output, ranks=ranks)
    assert_clean_failure(process, output, "cannot read dataset 'images'", "train.h5")
    assert "float, search split" not in process.stderr


def assert_same_study(program, config, one_rank, tmp_path, ranks):
    output = tmp_path / "results.h5"
    process = program("run", config, "-o", output, ranks=ranks)
    assert process.returncode == 0, process.stderr
    assert process.stdout == one_rank[0].stdout
    assert_equal_tables(one_rank[1], output)
    return output


def assert_equal_tables(left, right):
    expected, found = results.load(left), results.load(right)
    assert set(expected) == set(found)
    for table in expected:
        frames = (file[table].drop(columns="seconds", errors="ignore") for file in (expected, found))
        pandas.testing.assert_frame_equal(*frames, check_exact=True)


@pytest.fixture(scope="module")
def joint(program, config, tmp_path_factory):
    """A search over N, encodings and bits at once, of one network, in which hopeless assignments end early."""
    folder = tmp_path_factory.mktemp("joint")
    text = CONFIG.replace("terms = [2, 3, 4]", 'terms = [1, 2]\nencodings = ["binary", "signed_digit"]\nbits = [5, 8]')
    text = text.replace("images = 150", "images = 1000\nsensitivity_images = 256").replace("bitpruner_terms = [3, 5]\n", "")
    text = text.replace("budget = 0.05", "budget = 0.02")
    first = text.index("[[models]]")
    text = text[:first] + text[text.index("[[models]]", first + 1):]  # MobileNetV2, the more sensitive one
    (folder / "joint.toml").write_text(text)
    process = program("search", folder / "joint.toml", "-o", folder / "results.h5")
    assert process.returncode == 0, process.stderr
    return folder


def test_joint_search_over_terms_encodings_and_bits(joint):
    file = results.load(joint / "results.h5")
    layers = len(file["layers"])
    formats = file["sensitivity"].groupby(["bits", "encoding", "terms"]).size()
    assert len(formats) == 8 and (formats == layers).all()
    assert (file["sensitivity"]["images"] == 256).all()
    searched = file["evaluations"].query("split == 'search'")
    assert {"N=2 signed_digit 8 bit", "N=1 binary 5 bit"} <= set(searched["assignment"])
    stopped = searched[searched["images"] < 800]  # of 1000, 200 are kept for validation
    assert len(stopped) and set(stopped["images"]) <= {128, 256, 512}
    assert (stopped["loss"] > 0.02).all()  # beyond the budget by far
    best = file["assignments"].query("assignment == 'L-BC'")
    assert len(best) == layers and set(best["bits"]) <= {5, 8} and set(best["terms"]) <= {1, 2}


def test_front_is_what_nothing_beats(joint):
    file = results.load(joint / "results.h5")
    front = file["front"]
    assert (front["images"] == 800).all() and front["within_budget"].isin([0, 1]).all()
    names = set(file["assignments"]["assignment"])
    assert set(front["assignment"]) <= names
    rows = front[["top1", "cycles", "energy_pj", "within_budget"]].to_numpy() * [-1, 1, 1, -1]
    for i, one in enumerate(rows):
        others = numpy.delete(rows, i, axis=0)
        assert not ((others <= one).all(axis=1) & (others < one).any(axis=1)).any()


def test_the_cheapest_of_the_front_within_the_budget_is_the_choice(one_rank):
    """Cycles of the front against those that the emulation counts for the assignments chosen."""
    file = results.load(one_rank[1])
    best = file["front"].query("within_budget == 1").groupby(["model", "weights"])["cycles"].min()
    emulation = file["emulation"].query("basis == 'throughput' and assignment in ['L-BC', 'BitPruner']")
    rows = emulation.groupby(["model", "assignment"])[["cycles", "images"]].agg({"cycles": "sum", "images": "first"})
    for model in ("AlexNet", "MobileNetV2"):
        for weights, assignment in (("bitcluster", "L-BC"), ("bitpruner", "BitPruner")):
            assert best[model, weights] * rows.loc[(model, assignment), "images"] == rows.loc[(model, assignment), "cycles"]


def test_the_nearest_assignment_is_emulated_and_marked_where_none_is_within_the_budget(program, tmp_path):
    text = CONFIG.replace("terms = [2, 3, 4]\nbitpruner_terms = [3, 5]\nbudget = 0.05", "terms = [1]\nbudget = 0\nconfident = false")
    text = text.replace("images = 150\ntest_images = 200", "images = 60\ntest_images = 20")
    first = text.index("[[models]]")
    text = text[:first] + text[text.index("[[models]]", first + 1):]  # MobileNetV2, the more sensitive one
    (tmp_path / "strict.toml").write_text(text)
    process = program("run", tmp_path / "strict.toml", "-o", tmp_path / "results.h5")
    assert process.returncode == 0, process.stderr
    file = results.load(tmp_path / "results.h5")
    assert file["skipped"].empty
    found = file["evaluations"].query("split == 'test' and assignment in ('M-BC', 'L-BC')")
    assert set(found["within_budget"]) == {0} and {"M-BC", "L-BC"} <= set(file["emulation"]["assignment"])
    assert "~: the search found nothing within its budget" in " ".join(process.stdout.split())


def test_early_stop_does_not_depend_on_ranks(program, joint, tmp_path):
    process = program("search", joint / "joint.toml", "-o", tmp_path / "ranks.h5", ranks=3)
    assert process.returncode == 0, process.stderr
    assert_equal_tables(joint / "results.h5", tmp_path / "ranks.h5")


def test_greedy_policy(program, joint, tmp_path):
    text = (joint / "joint.toml").read_text().replace("[search]", '[search]\npolicy = "greedy"').replace(
        "images = 1000\nsensitivity_images = 256", "images = 300\nsensitivity_images = 100")
    text = text.replace('terms = [1, 2]\nencodings = ["binary", "signed_digit"]\nbits = [5, 8]', "terms = [2, 3]")
    (tmp_path / "greedy.toml").write_text(text.replace("budget = 0.02", "budget = 0.05"))
    process = program("search", tmp_path / "greedy.toml", "-o", tmp_path / "results.h5")
    assert process.returncode == 0, process.stderr
    file = results.load(tmp_path / "results.h5")
    cycles = file["front"].set_index("assignment")["cycles"]
    rows = file["evaluations"].query("split == 'search'").set_index("assignment")
    assert rows.loc[rows.index.intersection(cycles.index), "loss"].notna().all()
    choice = file["assignments"].pivot(index="layer", columns="assignment", values="terms")
    assert (choice["L-BC"] <= choice["M-BC"]).all()  # greedy only ever makes layers cheaper


@pytest.mark.parametrize(
    "change, word",
    [
        ("terms = [7]\nbits = [5]", "do not fit"),
        ('terms = [1]\nencodings = ["booth"]', "encodings"),
        ('terms = [1]\nencodings = ["binary"]\nencoding = "binary"', "encodings"),
        ("terms = [1]\nbits = [8, 8]", "twice"),
        ('terms = [1]\npolicy = "luck"', "greedy"),
    ],
)
def test_impossible_candidates(program, tmp_path, change, word):
    config = tmp_path / "bad.toml"
    config.write_text(CONFIG.replace("terms = [2, 3, 4]", change))
    assert_clean_failure(program("search", config, "-o", tmp_path / "results.h5"), tmp_path / "results.h5", word)


def test_models_one_by_one_and_merged(program, config, one_rank, tmp_path):
    names = program("models", config).stdout.splitlines()
    assert names == ["AlexNet", "MobileNetV2"]
    parts = [tmp_path / f"{name}.h5" for name in names]
    for name, part in zip(names, parts):
        process = program("run", config, "--model", name, "-o", part)
        assert process.returncode == 0, process.stderr
        assert set(results.load(part)["layers"]["model"]) == {name}
    output = tmp_path / "merged.h5"
    process = program("table", *parts, "-o", output)
    assert process.returncode == 0 and process.stdout == one_rank[0].stdout
    expected, found = results.load(one_rank[1]), results.load(output)
    for table in expected:
        left, right = (file[table].drop(columns="seconds", errors="ignore") for file in (expected, found))
        pandas.testing.assert_frame_equal(left, right, check_exact=True)
    assert found.provenance["config"] == config.read_text()
    assert found.provenance["ranks"] == len(found.provenance["devices"]) == 2
    csv = program("table", *parts, "--format", "csv")
    assert csv.stdout == program("table", one_rank[1], "--format", "csv").stdout
    # all models at once, in any order of the options
    chosen = tmp_path / "chosen.h5"
    process = program("emulate", "--model", names[1], "--model", names[0], config, "-o", chosen)
    assert process.returncode == 0 and list(results.load(chosen)["layers"]["model"].unique()) == names
    # another choice of models is not the same output
    again = program("run", config, "--model", names[1], "--resume", "-o", parts[0])
    assert again.returncode == 0 and "complete already" not in again.stderr
    assert set(results.load(parts[0])["layers"]["model"]) == {names[1]}

    merged = output.read_bytes()
    failed = program("table", *parts, "-o", output)
    assert failed.returncode != 0 and "both have the model 'MobileNetV2'" in failed.stderr
    assert output.read_bytes() == merged
    assert_clean_failure(program("run", config, "--model", "VGG", "-o", tmp_path / "out.h5"), tmp_path / "out.h5",
                         "no model 'VGG'", "AlexNet, MobileNetV2")


def test_merged_summaries_follow_the_config(program, config, tmp_path):
    """The name of the test split is the config's."""
    other = tmp_path / "other.toml"
    data = ROOT / "configs/data/fashion_mnist.toml"
    (tmp_path / "data.toml").write_text(data.read_text().replace("[splits.test]", "[splits.final]"))
    other.write_text(config.read_text().replace(str(data), "data.toml")
                     .replace("budget =", 'test_split = "final"\nbudget ='))
    for name in ("AlexNet", "MobileNetV2"):
        process = program("search", other, "--model", name, "-o", tmp_path / f"{name}.h5")
        assert process.returncode == 0, process.stderr
    process = program("table", tmp_path / "AlexNet.h5", tmp_path / "MobileNetV2.h5", "-o", tmp_path / "merged.h5")
    assert process.returncode == 0, process.stderr
    summary = results.load(tmp_path / "merged.h5")["summary"]
    assert set(summary["model"]) == {"AlexNet", "MobileNetV2"} and summary["top1"].notna().all()


def test_evaluate_and_inspect(program, tmp_path):
    model = ROOT / "configs/models/alexnet.onnx"
    data = ROOT / "configs/data/fashion_mnist.toml"
    for weights in (["float"], ["integer"], ["bitcluster", "--terms", "3", "--encoding", "signed_digit"]):
        output = tmp_path / f"{weights[0]}.h5"
        process = program("evaluate", "--model", model, "--data", data, "--images", 200, "-o", output, "--weights", *weights)
        assert process.returncode == 0, process.stderr
        row = results.load(output)["evaluations"].iloc[0]
        assert row["weights"] == weights[0] and row["images"] == 200 and row["top1"] > 0.8
    assert row["terms_mean"] == 3 and row["encoding"] == "signed_digit"
    process = program("inspect", model, "-o", tmp_path / "layers.h5")
    assert process.returncode == 0 and len(results.load(tmp_path / "layers.h5")["layers"]) == 8


def test_truncated_model(program, tmp_path):
    model = tmp_path / "truncated.onnx"
    model.write_bytes((ROOT / "configs/models/alexnet.onnx").read_bytes()[:5000])
    output = tmp_path / "out.h5"
    data = ROOT / "configs/data/fashion_mnist.toml"
    assert_clean_failure(program("evaluate", "--model", model, "--data", data, "-o", output), output, "truncated.onnx")


def test_unsupported_operator(program, tmp_path):
    onnx = pytest.importorskip("onnx", reason="python3-onnx is not installed")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("Einsum", ["x"], ["y"], name="the_node", equation="nchw->nc")],
        "graph",
        [helper.make_tensor_value_info("x", kind, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", kind, [1, 3])],
    )
    onnx.save(helper.make_model(graph), str(tmp_path / "einsum.onnx"))
    output = tmp_path / "out.h5"
    process = program("inspect", tmp_path / "einsum.onnx", "-o", output)
    assert_clean_failure(process, output, "the_node", "Einsum")


def test_labels_beyond_the_classes(program, tmp_path):
    with gzip.open(f"{FASHION}/t10k-images-idx3-ubyte.gz") as file:
        images = file.read(16 + 20 * 784)
    (tmp_path / "images").write_bytes(images[:4] + struct.pack(">I", 20) + images[8:])
    (tmp_path / "labels").write_bytes(struct.pack(">II", 2049, 20) + bytes([1] * 19 + [12]))
    data = tmp_path / "data.toml"
    splits = "".join(f'[splits.{name}]\nfiles = ["images", "labels"]\nfirst = {first}\ncount = 10\n'
                     for name, first in (("calibration", 0), ("test", 10)))
    data.write_text(
        'format = "idx"\n[preprocess]\nscale = 0.00392156862745098\nmean = [0.286]\nstd = [0.353]\nchannels = "gray"\n' + splits
    )
    output = tmp_path / "out.h5"
    process = program("evaluate", "--model", ROOT / "configs/models/alexnet.onnx", "--data", data, "-o", output)
    assert_clean_failure(process, output, "12", "10 classes")


def test_misspelled_key(program, tmp_path, config):
    bad = tmp_path / "bad.toml"
    bad.write_text(config.read_text().replace("budget =", "budgte ="))
    output = tmp_path / "out.h5"
    assert_clean_failure(program("run", bad, "-o", output), output, "budgte", "did you mean 'budget'")


def test_nothing_to_emulate(program, tmp_path, config):
    bad = tmp_path / "bad.toml"
    bad.write_text(config.read_text().split("[emulation]")[0])
    output = tmp_path / "out.h5"
    assert_clean_failure(program("emulate", bad, "-o", output), output, "names no accelerator", "[emulation]")


def test_an_array_that_fits_no_area(program, tmp_path, config):
    huge = (ROOT / "configs/accelerators/laconic.toml").read_text().replace("lanes = 16", "lanes = 4096")
    (tmp_path / "huge.toml").write_text(huge.replace("technology/", f"{ROOT}/configs/accelerators/technology/"))
    bad = tmp_path / "bad.toml"
    bad.write_text(config.read_text().replace(f"{ROOT}/configs/accelerators/laconic.toml", str(tmp_path / "huge.toml")))
    output = tmp_path / "out.h5"
    assert_clean_failure(program("emulate", bad, "-o", output), output, "Laconic", "equal area", "equal_area = false")
    bad.write_text(bad.read_text().replace("images = 3", "images = 1\nequal_area = false"))
    process = program("emulate", bad, "-o", output)
    assert process.returncode == 0, process.stderr
    assert set(results.load(output)["emulation"]["basis"]) == {"throughput"}


def test_two_accelerators_of_one_name(program, tmp_path, config):
    bad = tmp_path / "bad.toml"
    bad.write_text(config.read_text().replace("/laconic.toml", "/bitcluster.toml"))
    output = tmp_path / "out.h5"
    assert_clean_failure(program("emulate", bad, "-o", output), output, "bitcluster.toml", "'BitCluster', too")


def test_unwritable_output(program, config, tmp_path):
    (tmp_path / "file").write_text("")
    for output in (tmp_path / "file" / "out.h5", tmp_path / "missing" / "out.h5"):
        process = program("run", config, "-o", output)
        assert process.returncode != 0 and str(output) in process.stderr
        assert "calibrate" not in process.stderr, "it must fail before the long work"


def gpus():
    """GPUs that this machine's driver knows."""
    if not shutil.which("nvidia-smi"):
        return 0
    return subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True).stdout.count("GPU ")


@pytest.mark.parametrize("ranks", [1, 2])
def test_missing_device(program, tmp_path, ranks):
    """--backend cuda is an error where not every rank gets a GPU; auto says why if there is one; cpu says nothing."""
    if gpus() >= ranks:
        pytest.skip(f"there is a GPU for each of {ranks} ranks")
    model, data = ROOT / "configs/models/alexnet.onnx", ROOT / "configs/data/fashion_mnist.toml"
    output = tmp_path / "out.h5"

    def evaluate(backend):
        return program("evaluate", "--model", model, "--data", data, "--images", 50, "-o", output, "--backend", backend, ranks=ranks)

    why = "ranks on this node for" if gpus() else "NVIDIA driver" if shutil.which("nvcc") else "built without CUDA"
    assert_clean_failure(evaluate("cuda"), output, "--backend cuda is not possible", why, "use --backend cpu")
    reason = [line for line in evaluate("auto").stderr.splitlines() if "no GPU is used" in line]
    if Path("/proc/driver/nvidia/version").exists():
        assert len(reason) == 1 and why in reason[0] and reason[0].endswith("networks are evaluated on the CPU")
    else:
        assert not reason  # nobody expects a GPU here
    devices = results.load(output).provenance["devices"]
    assert len(devices) == ranks and all(": cpu (" in device for device in devices)
    process = evaluate("cpu")
    assert process.returncode == 0 and "GPU" not in process.stderr


@pytest.mark.parametrize("ranks", [2, 4])
def test_what_the_root_cannot_read_ends_all_ranks(program, tmp_path, ranks):
    model, data = ROOT / "configs/models/alexnet.onnx", ROOT / "configs/data/fashion_mnist.toml"
    missing = tmp_path / "missing.onnx"
    process = program("evaluate", "--model", missing, "--data", data, ranks=ranks)
    assert_clean_failure(process, None, "rank 0", f"cannot read '{missing}': there is no such file")
    description = tmp_path / "data.toml"
    description.write_text(data.read_text().replace("t10k-images", "t11k-images"))
    process = program("evaluate", "--model", model, "--data", description, ranks=ranks)
    assert_clean_failure(process, None, "rank 0", "t11k-images", "there is no such file")


def test_failure_on_several_ranks_ends_all_of_them(program, tmp_path):
    process = program("run", tmp_path / "none.toml", "-o", tmp_path / "out.h5", ranks=2)
    assert process.returncode != 0 and process.stderr.count("no such file") == 1


def test_usage(program):
    assert program("--help").returncode == 0
    assert program().returncode != 0
    assert program("evaluate", "--weights", "wrong").returncode != 0
    for arguments, meant in ((("runn", "x.toml"), "run"), (("evalute",), "evaluate"),
                             (("run", "x.toml", "-o", "x.h5", "--resme"), "--resume"), (("--thread", 2, "run"), "--threads")):
        process = program(*arguments)
        assert process.returncode != 0 and f"Did you mean '{meant}'?" in process.stderr, process.stderr
    assert "Did you mean" not in program("xyz").stderr
