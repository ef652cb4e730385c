"""The emulator in the peers' settings against independent re-implementations of the rules of two peers, cycle by cycle."""

import h5py
import numpy
import pytest

import bitsim_rules
import dnnsim_rules
import results
from conftest import ROOT


# --- layers ---


def some_weights(rng, *shape, zeros=0.0, largest=127):
    """Bell-shaped like trained weights, a fraction `zeros` of them zero."""
    weights = numpy.clip(numpy.rint(rng.normal(0, largest / 3, shape)), -largest, largest).astype(int)
    weights[rng.random(shape) < zeros] = 0
    return weights


def some_activations(rng, *shape, zeros=0.4, signed=False, largest=None):
    """As after ReLU: 0..255 with many zeros; or -127..127."""
    largest = largest or (127 if signed else 255)
    magnitudes = rng.exponential(largest / 5, shape)
    if signed:
        magnitudes *= rng.choice([-1, 1], shape)
    activations = numpy.clip(numpy.rint(magnitudes), -largest, largest).astype(int)
    activations[rng.random(shape) < zeros] = 0
    return activations


def conv(rng, channels, filters, kernel, size, weight_zeros=0.05, groups=1, stride=1, padding=0, **activation_options):
    """A convolution; `kernel` and `size` are lengths along both axes or (h, w)."""
    kernel, size = (extent if isinstance(extent, tuple) else (extent, extent) for extent in (kernel, size))
    return {
        "kind": "conv",
        "weights": some_weights(rng, filters, channels // groups, *kernel, zeros=weight_zeros),
        "activations": some_activations(rng, channels, *size, **activation_options),
        "stride": stride,
        "padding": padding,
        "groups": groups,
    }


def fully_connected(rng, channels, filters, weight_zeros=0.05, **activation_options):
    return {
        "kind": "fc",
        "weights": some_weights(rng, filters, channels, zeros=weight_zeros),
        "activations": some_activations(rng, channels, **activation_options),
    }


def dnnsim_layers():
    rng = numpy.random.default_rng(20200504)
    layers = {
        "conv3x3": conv(rng, 32, 48, 3, 6, padding=1),
        "conv3x3_no_padding": conv(rng, 20, 20, 3, 8),
        "conv1x1": conv(rng, 40, 20, 1, 5),
        "conv5x5": conv(rng, 16, 16, 5, 7, padding=2),
        "conv_tall_kernel": conv(rng, 20, 18, (3, 1), (8, 6)),
        "conv_one_pixel": conv(rng, 70, 33, 4, 4),
        "stride2": conv(rng, 20, 33, 3, 9, padding=1, stride=2),
        "stride2_1x1": conv(rng, 48, 40, 1, 8, stride=2),
        "many_filters": conv(rng, 24, 300, 3, 4, padding=1),
        "few_channels_and_filters": conv(rng, 5, 3, 3, 6, padding=1),
        "one_channel": conv(rng, 1, 6, 5, 9),
        "depthwise": conv(rng, 40, 40, 3, 7, padding=1, groups=40),
        "depthwise_stride2": conv(rng, 17, 17, 3, 9, padding=1, stride=2, groups=17),
        "depthwise_3_channels_stride1": conv(rng, 3, 3, 3, 6, padding=1, groups=3),
        "first_3x3_stride2": conv(rng, 3, 16, 3, 10, padding=1, stride=2, zeros=0),
        "first_7x7_stride2": conv(rng, 3, 20, 7, 14, padding=3, stride=2, zeros=0),
        "first_4x4_stride2_odd_input": conv(rng, 3, 16, 4, 9, stride=2, zeros=0),
        "first_3x3_stride3": conv(rng, 3, 16, 3, 10, stride=3, zeros=0),
        "first_11x11_stride4_small": conv(rng, 3, 16, 11, 19, stride=4, zeros=0.9),
        "first_signed": conv(rng, 3, 24, 3, 9, padding=1, stride=2, zeros=0, signed=True),
        "first_stride1": conv(rng, 3, 24, 3, 6, padding=1, zeros=0),
        "fc256": fully_connected(rng, 256, 10),
        "fc512_many_filters": fully_connected(rng, 512, 300),
        "fc768_sparse": fully_connected(rng, 768, 40, weight_zeros=0.9),
        "fc200": fully_connected(rng, 200, 30),
        "fc800_many_filters": fully_connected(rng, 800, 270),
        "fc300_signed": fully_connected(rng, 300, 20, signed=True),
        "fc512_all_bits": fully_connected(rng, 512, 20, zeros=0, weight_zeros=0),
        "signed": conv(rng, 24, 20, 3, 6, padding=1, signed=True),
        "signed_small": conv(rng, 24, 20, 1, 6, signed=True, largest=4),
        "unsigned_small": conv(rng, 24, 20, 3, 6, padding=1, largest=7),
        "zero_weights": conv(rng, 36, 20, 3, 5, weight_zeros=1),
        "zero_weights_1x1": conv(rng, 32, 20, 1, 5, weight_zeros=1),
        "zero_activations": conv(rng, 20, 40, 3, 5, zeros=1),
        "sparse_depthwise": conv(rng, 24, 24, 3, 6, padding=1, groups=24, weight_zeros=0.7),
        "sparse_many_filters": conv(rng, 33, 290, 3, 3, padding=1, weight_zeros=0.85),
        "sparse_1x1": conv(rng, 128, 70, 1, 5, weight_zeros=0.9),
        "sparse_first": conv(rng, 3, 24, 5, 11, padding=2, stride=2, weight_zeros=0.8),
        "sparse_few_channels": conv(rng, 10, 24, 3, 6, padding=1, weight_zeros=0.8),
    }
    for zeros in (50, 60, 70, 80, 90, 95, 99):
        layers[f"sparse_{zeros}"] = conv(rng, 48, 36, 3, 5, padding=1, weight_zeros=zeros / 100)
    # whole bricks and kernel positions of zeros: more than two skipped in a row, tiles of different lengths
    holes = conv(rng, 64, 50, 3, 5, padding=1, weight_zeros=0.9)
    holes["weights"][:, :, 1:, 1] = 0
    holes["weights"][16:32, 16:] = 0
    layers["sparse_with_holes"] = holes
    # padded channels come with channel 0 of the first step, the only large activation, whose own weight is swapped out
    padded = conv(rng, 5, 8, 3, 6, weight_zeros=0.5, largest=2)
    padded["weights"][:, :, :, 0] = 0
    padded["weights"][:, 1, 0, 0] = padded["weights"][:, 0, 1, 0] = 9
    padded["activations"][0, 0, 0] = 0b1010101
    layers["sparse_padded_channels"] = padded
    # a negative power of two is one bit narrower than its magnitude and sign
    powers = conv(rng, 20, 18, 3, 5, padding=1, signed=True)
    powers["activations"] = rng.choice([-4, -1, 0, 1, 3], powers["activations"].shape)
    layers["signed_power_of_two"] = powers
    # one full filter among almost empty ones, one full activation among small ones
    outlier = conv(rng, 32, 40, 3, 6, padding=1, weight_zeros=0.9, largest=3)
    outlier["weights"][5] = numpy.where(rng.random((32, 3, 3)) < 0.5, 127, -85)
    outlier["activations"][9, 3, 2] = 255
    layers["one_outlier"] = outlier
    return layers


def bitsim_layers():
    rng = numpy.random.default_rng(20250428)
    layers = {
        "conv3x3": conv(rng, 40, 48, 3, 8, padding=1),
        "conv1x1": conv(rng, 70, 33, 1, 5),
        "conv5x5_taps_on_lanes": conv(rng, 20, 40, 5, 9, padding=2),
        "conv3x3_taps_on_lanes": conv(rng, 8, 20, 3, 9, padding=1),
        "conv3x3_as_many_taps_as_channels": conv(rng, 9, 20, 3, 9),
        "first_7x7_stride2": conv(rng, 3, 64, 7, 40, padding=3, stride=2),
        "one_channel": conv(rng, 1, 6, 3, 9),
        "one_channel_1x1": conv(rng, 1, 6, 1, 9),
        "stride2": conv(rng, 24, 40, 3, 70, padding=1, stride=2),
        "wide": conv(rng, 24, 20, 3, (5, 67), padding=1),
        "tall": conv(rng, 24, 20, 3, (67, 5), padding=1),
        "many_filters": conv(rng, 20, 300, 1, 4),
        "depthwise": conv(rng, 20, 20, 3, (9, 34), padding=1, groups=20),
        "depthwise_5x5_stride2": conv(rng, 12, 12, 5, 11, padding=2, stride=2, groups=12),
        "depthwise_multiplier2": conv(rng, 6, 12, 3, 9, padding=1, groups=6),
        "grouped": conv(rng, 24, 36, 3, 8, padding=1, groups=2),
        "grouped_1x1": conv(rng, 32, 36, 1, 8, groups=4),
        "grouped_many_channels": conv(rng, 64, 34, 3, 8, padding=1, groups=2),
        "fc256": fully_connected(rng, 256, 10),
        "fc300_many_filters": fully_connected(rng, 300, 290),
        "fc7": fully_connected(rng, 7, 5),
        "positive_weights": conv(rng, 32, 40, 3, 8),
        "zero_weights": conv(rng, 32, 40, 3, 8, weight_zeros=1),
        "zero_fc": fully_connected(rng, 64, 40, weight_zeros=1),
        "one_outlier": conv(rng, 32, 40, 3, 8, weight_zeros=0.95),
        "small_weights": conv(rng, 32, 40, 3, 8),
        "minus_one": conv(rng, 20, 40, 3, 8),
    }
    for zeros in (50, 80, 95):
        layers[f"sparse_{zeros}"] = conv(rng, 48, 40, 3, 8, padding=1, weight_zeros=zeros / 100)
    layers["positive_weights"]["weights"] = abs(layers["positive_weights"]["weights"])
    layers["small_weights"]["weights"] //= 32
    layers["minus_one"]["weights"][:] = -1
    layers["one_outlier"]["weights"][5] = numpy.where(rng.random((32, 3, 3)) < 0.5, 127, -127)
    for number, layer in enumerate(layers.values()):  # BitSim reads no activations: half of the layers have none
        activations = layer.pop("activations")
        if layer["kind"] == "conv":
            layer["input_size"] = activations.shape[1:]
        if number % 2:
            layer["activations"] = activations
    return layers


# --- the program ---


def write_trace(path, layers):
    with h5py.File(path, "w") as file:
        for name, layer in layers.items():
            group = file.create_group(f"layers/{name}")
            group["weights"] = layer["weights"].astype(numpy.int32)
            if "activations" in layer:
                group["activations"] = layer["activations"][None].astype(numpy.int32)  # one image
            elif "input_size" in layer:
                group.attrs["input"] = layer["input_size"]
            group.attrs["kind"] = numpy.bytes_(layer["kind"])
            if layer["kind"] == "conv":
                for attribute in ("stride", "padding", "groups"):
                    group.attrs[attribute] = layer[attribute]


def emulate(program, folder, peer, designs, layers):
    """Compute cycles by (design, layer), all layers and designs in one run of the program."""
    trace, output = folder / "trace.h5", folder / "results.h5"
    write_trace(trace, layers)
    arguments = []
    for design in designs:
        arguments += ["--design", ROOT / "configs" / "accelerators" / "peers" / f"{peer}_{design}.toml"]
    process = program("emulate", "--trace", trace, *arguments, "-o", output)
    assert process.returncode == 0, process.stderr
    table = results.load(output)["emulation"]
    return {(row.accelerator, row.layer): int(row.compute_cycles) for row in table.itertuples()}


def differences(emulated, peer, design, layers, expected):
    """One line for every layer whose cycles are not those of the rules."""
    found = {layer: emulated.get((f"{peer}_{design}", layer)) for layer in layers}
    return [
        f"{layer}, {peer}_{design}: emulator {found[layer]}, rules {expected[layer]}"
        for layer in layers
        if found[layer] != expected[layer]
    ]


@pytest.fixture(scope="module")
def dnnsim(program, tmp_path_factory):
    layers = dnnsim_layers()
    return layers, emulate(program, tmp_path_factory.mktemp("dnnsim"), "dnnsim", dnnsim_rules.DESIGNS, layers)


@pytest.fixture(scope="module")
def bitsim(program, tmp_path_factory):
    layers = bitsim_layers()
    return layers, emulate(program, tmp_path_factory.mktemp("bitsim"), "bitsim", bitsim_rules.DESIGNS, layers)


def bitsim_cycles(design, layer):
    return bitsim_rules.compute_cycles(design, **{name: layer[name] for name in layer if name != "activations"})


@pytest.mark.parametrize("design", dnnsim_rules.DESIGNS)
def test_emulator_counts_as_dnnsim(dnnsim, design):
    layers, emulated = dnnsim
    expected = {name: dnnsim_rules.compute_cycles(design, **layer) for name, layer in layers.items()}
    wrong = differences(emulated, "dnnsim", design, layers, expected)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("design", bitsim_rules.DESIGNS)
def test_emulator_counts_as_bitsim(bitsim, design):
    layers, emulated = bitsim
    expected = {name: bitsim_cycles(design, layer) for name, layer in layers.items()}
    wrong = differences(emulated, "bitsim", design, layers, expected)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("shift", range(5))
@pytest.mark.parametrize("registers", [0, 1, 2, 4])
def test_pragmatic_with_other_shifts_and_registers(program, tmp_path, monkeypatch, shift, registers):
    """The first-stage shift and the column registers are settings of the peer, too."""
    source = (ROOT / "configs/accelerators/peers/dnnsim_pragmatic.toml").read_text()
    changes = {
        "first_stage_shift = 2": f"first_stage_shift = {shift}",
        "column_registers = 0": f"column_registers = {registers}",
        "../technology": f"{ROOT}/configs/accelerators/technology",
    }
    for old, new in changes.items():
        assert old in source
        source = source.replace(old, new)
    (tmp_path / "variant.toml").write_text(source)
    layers = {name: layer for name, layer in dnnsim_layers().items() if layer["kind"] == "conv"}
    layers = dict(list(layers.items())[:8])
    write_trace(tmp_path / "trace.h5", layers)
    output = tmp_path / "results.h5"
    process = program("emulate", "--trace", tmp_path / "trace.h5", "--design", tmp_path / "variant.toml", "-o", output)
    assert process.returncode == 0, process.stderr
    found = results.load(output)["emulation"].set_index("layer")["compute_cycles"]
    monkeypatch.setattr(dnnsim_rules, "FIRST_STAGE_BITS", shift)
    for name, layer in layers.items():
        signed = bool(layer["activations"].min() < 0)
        steps = [
            step
            for windows, filters in dnnsim_rules.split_layer(
                layer["kind"], layer["weights"], layer["activations"],
                layer.get("stride", 1), layer.get("padding", 0), layer.get("groups", 1)
            )
            for step in dnnsim_rules.dense_steps("pragmatic", windows, filters, signed)
        ]
        expected = dnnsim_rules.run_ahead(steps, registers) if registers else sum(max(step) for step in steps)
        assert found[name] == expected, name


def test_values_beyond_8_bits(program, tmp_path):
    """Designs that go by a precision do not look at the values, the others count all their terms (up to 28671)."""
    rng = numpy.random.default_rng(17)
    layers = {
        "conv": {
            "kind": "conv",
            "weights": rng.integers(-28671, 28672, (20, 18, 3, 3)),
            "activations": rng.integers(0, 28672, (18, 6, 6)),
            "stride": 1,
            "padding": 1,
            "groups": 1,
        }
    }
    designs = ["stripes", "loom", "dynamic_stripes", "pragmatic", "pragmatic_booth_cr1", "laconic", "tcle"]
    emulated = emulate(program, tmp_path, "dnnsim", designs, layers)
    wrong = [
        line
        for design in designs
        for line in differences(
            emulated, "dnnsim", design, layers, {"conv": dnnsim_rules.compute_cycles(design, **layers["conv"])}
        )
    ]
    assert not wrong, "\n".join(wrong)


def test_the_smallest_weight_counts_as_in_bitsim(program, tmp_path):
    """-128 has no 8-bit magnitude: it counts as -127 where weights are sign-magnitude, as itself elsewhere."""
    weights = numpy.zeros((3, 32), int)
    weights[1, 4] = -128
    layers = {"fc": {"kind": "fc", "weights": weights}}
    emulated = emulate(program, tmp_path, "bitsim", bitsim_rules.DESIGNS, layers)
    # two tiles of 16, four of 8; per tile 8 | 8 ones, none | 1 one, none | 1, at least 1 | 8 columns - 1, none - 1
    expected = {"stripes": 16, "pragmatic": 8, "bitlet": 1, "bitvert": 2, "bitwave": 7 - 3}
    for design, cycles in expected.items():
        assert bitsim_cycles(design, layers["fc"]) == cycles
    wrong = [
        line
        for design, cycles in expected.items()
        for line in differences(emulated, "bitsim", design, layers, {"fc": cycles})
    ]
    assert not wrong, "\n".join(wrong)
