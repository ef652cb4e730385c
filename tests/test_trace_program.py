"""emulate --trace from outside: several images and ranks, bounded memory, and damaged files."""

import os
import subprocess
import sys

import h5py
import numpy
import pandas
import pytest

import results
from conftest import BUILD, MPI_ENVIRONMENT, ROOT

DESIGNS = sorted((ROOT / "configs/accelerators").glob("*.toml"))
# From the papers: these are serial on weights alone or on nothing, so that one image is as good as many.
ONE_IMAGE = {"bit_parallel", "bitcluster", "bitlet", "bitvert", "bitwave", "pragmatic_weights"}
IMAGES = 3


def some_activations(rng, zeros, signed, *shape):
    """Of one image; `zeros` is the share of zeros. The largest magnitude does not depend on the image."""
    values = rng.integers(-127 if signed else 0, 128 if signed else 256, shape)
    values[rng.random(shape) < zeros] = 0
    values.flat[0] = -127 if signed else 255
    return values


def layers():
    """Weights, activations (images, ...) and attributes by name; every image has a share of zeros of its own."""
    rng = numpy.random.default_rng(55)

    def layer(weights, image, signed=False, **attributes):
        activations = [some_activations(rng, zeros, signed, *image) for zeros in (0.1, 0.5, 0.9)]
        return rng.integers(-127, 128, weights), numpy.stack(activations), attributes

    return {
        "1_first": layer((20, 3, 3, 3), (3, 9, 9), signed=True, kind="conv", stride=2, padding=1),
        "2_depthwise": layer((20, 1, 3, 3), (20, 5, 5), kind="conv", padding=1, groups=20),
        "3_grouped": layer((40, 10, 1, 1), (20, 5, 5), kind="conv", groups=2),
        "4_fc": layer((33, 300), (300,), kind="fc"),
    }


def write(path, layers, images=slice(None)):
    with h5py.File(path, "w") as file:
        for name, (weights, activations, attributes) in layers.items():
            group = file.create_group(f"layers/{name}")
            group["weights"] = weights.astype(numpy.int32)
            group["activations"] = activations[images].astype(numpy.int32)
            group.attrs.update(attributes, kind=numpy.bytes_(attributes["kind"]))
    return path


def arguments(trace, output, designs=DESIGNS):
    return ["emulate", "--trace", trace, *(word for design in designs for word in ("--design", design)), "-o", output]


def emulate(program, trace, output, ranks=1):
    process = program(*arguments(trace, output), ranks=ranks)
    assert process.returncode == 0, process.stderr
    return results.load(output)


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    return write(tmp_path_factory.mktemp("trace") / "trace.h5", layers())


@pytest.fixture(scope="module")
def one_rank(program, trace, tmp_path_factory):
    return emulate(program, trace, tmp_path_factory.mktemp("one_rank") / "results.h5")


def design_of(tables):
    return tables["emulation"]["accelerator"].map(tables["accelerators"].set_index("accelerator")["design"])


@pytest.mark.parametrize("ranks", [2, 3])
def test_tables_do_not_depend_on_ranks(program, trace, one_rank, tmp_path, ranks):
    found = emulate(program, trace, tmp_path / "results.h5", ranks)
    assert found.provenance["ranks"] == ranks and found.keys() == one_rank.keys()
    for table in one_rank:
        pandas.testing.assert_frame_equal(one_rank[table], found[table], check_exact=True)


def test_every_design_does_the_convolution(program, trace, one_rank, tmp_path):
    output = tmp_path / "results.h5"
    process = program(*arguments(trace, output), "--check", ranks=2)
    assert process.returncode == 0, process.stderr
    pandas.testing.assert_frame_equal(one_rank["emulation"], results.load(output)["emulation"], check_exact=True)
    pairs, without = len(DESIGNS) * len(layers()), len(layers())  # the bit-parallel design has no arithmetic of its own
    assert f"checked {pairs - without} of {pairs} pairs" in process.stderr


def test_check_without_activations_is_refused(program, tmp_path):
    with h5py.File(tmp_path / "trace.h5", "w") as file:
        file["layers/fc/weights"] = numpy.ones((1, 4), numpy.int32)
        file["layers/fc"].attrs["kind"] = numpy.bytes_("fc")
    design = [ROOT / "configs/accelerators/stripes.toml"]
    assert program(*arguments(tmp_path / "trace.h5", tmp_path / "ok.h5", design)).returncode == 0
    failure = program(*arguments(tmp_path / "trace.h5", tmp_path / "none.h5", design), "--check")
    assert_one_error(failure, tmp_path / "none.h5", "--check has no effect", "activations")


def test_check_needs_sums_that_fit_int32(program, tmp_path):
    large = numpy.full((1, 4), 32767)
    path = write(tmp_path / "trace.h5", {"fc": (numpy.full((1, 4), 32767), large, {"kind": "fc"})})
    design = [ROOT / "configs/accelerators/pragmatic.toml"]
    assert program(*arguments(path, tmp_path / "ok.h5", design)).returncode == 0
    failure = program(*arguments(path, tmp_path / "none.h5", design), "--check")
    assert_one_error(failure, tmp_path / "none.h5", "layer 'fc'", "does not fit int32")


def test_every_design_runs_every_layer_in_order(one_rank):
    emulation, accelerators = one_rank["emulation"], one_rank["accelerators"]
    assert len(accelerators) == len(DESIGNS)
    expected = [(name, layer) for name in accelerators["accelerator"] for layer in layers()]
    assert list(zip(emulation["accelerator"], emulation["layer"])) == expected
    assert (emulation["images"] == IMAGES).all()


def test_images_are_summed(program, one_rank, tmp_path):
    single = []
    for image in range(IMAGES):
        path = write(tmp_path / f"trace.{image}.h5", layers(), slice(image, image + 1))
        single.append(emulate(program, path, tmp_path / f"results.{image}.h5")["emulation"])
    emulation = one_rank["emulation"]
    sums = emulation.select_dtypes("number").columns.drop("utilisation").drop("zero_bits_known")
    for column in sums:
        images = numpy.stack([table[column] for table in single])
        expected = images.sum(axis=0)
        if emulation[column].dtype.kind == "i":
            assert (emulation[column] == expected).all(), column
        else:  # at most 5 additions (3 images, 4 parts of the energy) on both sides, 1.1e-16 each
            numpy.testing.assert_allclose(emulation[column], expected, rtol=1.2e-15, err_msg=column)
    # the images do differ, else image 0 would do for all
    cycles = numpy.stack([table["compute_cycles"] for table in single])
    differ = {design for design, row in zip(design_of(one_rank), cycles.T) if len(set(row)) > 1}
    assert differ == set(one_rank["accelerators"]["design"]) - ONE_IMAGE - {"stripes"}


def test_layer_without_activations(program, tmp_path):
    path = write(tmp_path / "trace.h5", {"fc": layers()["4_fc"]})
    with h5py.File(path, "a") as file:
        del file["layers/fc/activations"]
    output = tmp_path / "results.h5"
    designs = [ROOT / f"configs/accelerators/{name}.toml" for name in ("stripes", "bitcluster")]
    process = program(*arguments(path, output, designs))
    assert process.returncode == 0, process.stderr
    assert list(results.load(output)["emulation"]["images"]) == [1, 1]
    failure = program(*arguments(path, tmp_path / "none.h5"))
    assert_one_error(failure, tmp_path / "none.h5", "layer fc: it has no activations")


def peak_megabytes(*words):
    """Largest resident memory of the program [MB = 10^6 byte]; a process between them keeps this one's out of it."""
    measure = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"  # KiB on Linux
    )
    command = [sys.executable, "-c", measure, BUILD / "bitcluster", "--threads", "2", *words]
    environment = {**os.environ, **MPI_ENVIRONMENT}
    process = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=600)
    assert process.returncode == 0, process.stderr
    return int(process.stdout) * 1024 / 1e6


def test_memory_does_not_grow_with_images(program, tmp_path):
    """An image of 64 x 112 x 112 is 1.6 MB as int16; 40 of them as int32, all at once, would be 128 MB."""
    rng = numpy.random.default_rng(1)
    peaks = {}
    for images in (1, 40):
        path = tmp_path / "trace.h5"
        with h5py.File(path, "w") as file:
            group = file.create_group("layers/large")
            group.attrs.update(kind=numpy.bytes_("conv"), padding=1)
            group["weights"] = rng.integers(-127, 128, (4, 64, 3, 3), dtype=numpy.int32)
            activations = group.create_dataset("activations", (images, 64, 112, 112), numpy.int32)
            for image in range(images):
                activations[image] = rng.integers(0, 256, (64, 112, 112), dtype=numpy.int32)
        designs = [ROOT / f"configs/accelerators/{name}.toml" for name in ("stripes", "dynamic_stripes", "bitcluster")]
        peaks[images] = peak_megabytes(*arguments(path, tmp_path / "results.h5", designs))
        assert list(results.load(tmp_path / "results.h5")["emulation"]["images"]) == [images, images, images]
        path.unlink()
    assert peaks[40] < 300
    assert peaks[40] < peaks[1] + 16, "a tenth of what all images take"


def assert_one_error(process, output, *words):
    """Every word on one line, and only there; a non-zero exit; nothing under the output's name."""
    assert process.returncode != 0
    lines = [line for line in process.stderr.splitlines() if line.startswith("bitcluster: error")]
    assert len(lines) == 1, process.stderr
    for word in words:
        assert word in lines[0], process.stderr
    assert not list(output.parent.glob(output.name + "*"))


@pytest.mark.parametrize("ranks", [1, 2])
def test_truncated_file(program, trace, tmp_path, ranks):
    path, output = tmp_path / "cut.h5", tmp_path / "out.h5"
    content = trace.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert_one_error(program(*arguments(path, output), ranks=ranks), output, str(path), "truncated")


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("value", [32768, -32768, 2**31 - 1])
def test_activation_out_of_range(program, tmp_path, ranks, value):
    wrong = layers()
    wrong["2_depthwise"][1][2, 7, 3, 1] = value
    path, output = write(tmp_path / "wide.h5", wrong), tmp_path / "out.h5"
    process = program(*arguments(path, output), ranks=ranks)
    words = (str(path), "layer '2_depthwise'", "activations", "outside -32767..32767")
    assert_one_error(process, output, *words)
