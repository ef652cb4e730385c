"""The re-implementations of two peers' rules (dnnsim_rules.py, bitsim_rules.py) against cycles worked out by hand."""

import numpy
import pytest

import bitsim_rules
import dnnsim_rules


def test_booth_recodes_runs_of_three():
    """Mean, maximum and the exceptions are in DNNsim's description; NAF(n) has as many digits as n xor 3n has ones."""
    naf = numpy.array([bin(n ^ (3 * n)).count("1") for n in range(256)])
    terms = dnnsim_rules.BOOTH_TERMS[:256]
    assert terms.mean() == pytest.approx(3.199, abs=5e-4)
    assert naf.mean() == pytest.approx(3.109, abs=5e-4)
    assert terms.max() == 6
    assert (terms >= naf).all() and (terms != naf).sum() == 22
    assert all(terms[n] > naf[n] for n in (27, 54, 219))
    assert [dnnsim_rules.booth(n) for n in (0, 1, 3, 5, 6, 7, 14, 28, 255)] == [0, 1, 3, 5, 6, 9, 18, 36, 257]


@pytest.mark.parametrize(
    "lanes, cycles",
    [
        ([0, 0], 1),  # at least one
        ([255, 0], 8),
        ([1, 2, 4, 8], 1),  # lowest ones 0..3: the same cycle
        ([1, 16], 2),  # 4 apart
        ([3, 8], 2),
        ([7, 128], 4),  # position 7 is never near 0, 1 or 2
        ([0b10001000, 0b00010001], 2),  # positions 3 and 0, then 7 and 4
        ([1, 2, 4, 0b110000], 3),  # all but the last, which then needs two
    ],
)
def test_two_stage_shifter(lanes, cycles):
    assert dnnsim_rules.shifter_cycles(numpy.array(lanes)) == cycles


def test_columns_run_ahead_by_one_step():
    assert dnnsim_rules.run_ahead([[3, 1], [1, 3]], 1) == 4
    # third step: column 0 from 4 to 7; column 1 from 4 to 5
    assert dnnsim_rules.run_ahead([[3, 1], [1, 3], [3, 1]], 1) == 7
    # column 1 starts its third step at 9, when column 0 has finished the first, and its fourth at 10
    assert dnnsim_rules.run_ahead([[9, 1], [1, 1], [1, 1], [1, 5]], 1) == 15
    assert dnnsim_rules.run_ahead([[9, 1], [1, 1], [1, 1], [1, 5]], 2) == 14


def test_fully_connected_steps_rotate():
    assert dnnsim_rules.rotate([8] * 16) == 15 + 8
    assert dnnsim_rules.rotate([1] * 40) == 40
    # step 16 starts when column 0 is free at 20; step 17 in column 1 at 21
    assert dnnsim_rules.rotate([20] * 18) == 21 + 20


def one_filter(*bricks):
    """A filter set [filter][time][lane] of one filter, from {lane: weight} per time."""
    return [[[(brick.get(lane, 0), time, lane) for lane in range(16)] for time, brick in enumerate(bricks)]]


FULL = {lane: 1 for lane in range(16)}


def without(*lanes):
    return {lane: 1 for lane in FULL if lane not in lanes}


def test_schedule_promotes_a_weight_with_its_time_and_lane():
    for lane, later, other in [(3, 1, 6), (3, 1, 2), (0, 1, 15), (15, 1, 2), (0, 2, 14), (9, 2, 11)]:
        filters = one_filter(without(lane), *[{}] * (later - 1), {other: 7})
        dnnsim_rules.schedule(filters)
        assert filters[0][0][lane] == (7, later, other)
        assert filters[0][later][other] == (0, 0, lane)
        assert dnnsim_rules.executed_times(filters) == [0]


def test_schedule_serves_the_lane_with_the_most_candidates_first():
    # lane 2 can take lane 3; lane 3 can take lanes 3 and 4 and goes first, takes lane 3, and lane 2 finds nothing
    filters = one_filter(without(2, 3), {3: 5, 4: 6})
    dnnsim_rules.schedule(filters)
    assert filters[0][0][3] == (5, 1, 3) and filters[0][0][2][0] == 0
    assert dnnsim_rules.executed_times(filters) == [0, 1]


def test_at_most_two_empty_bricks_are_skipped_in_a_row():
    for empty, kept in [(1, []), (2, []), (3, [2]), (5, [2]), (6, [2, 5])]:
        assert dnnsim_rules.executed_times(one_filter(*[{}] * empty)) == kept
    # the third empty brick is executed, so the later 17 weights fill it, one of which stays behind;
    # lane 0 is the first that reaches four of them
    filters = one_filter({}, {}, {}, {3: 1}, FULL)
    dnnsim_rules.schedule(filters)
    assert filters[0][2][0] == (1, 3, 3)
    assert all(value == 1 for value, _, _ in filters[0][2])
    assert dnnsim_rules.executed_times(filters) == [2, 4]


def test_swapped_out_weights_bring_no_activation():
    filters = one_filter({0: 1}, {5: 1})
    dnnsim_rules.schedule(filters)
    assert filters[0][0][2] == (1, 1, 5)  # lane 2 is the first that reaches lane 5
    activations = numpy.zeros((1, 2, 16), int)  # [column, time, lane]
    activations[0, 0, 1] = 0b10101  # a zero weight stays: its three terms count
    activations[0, 0, 2] = 0b1010101  # swapped out: four terms that count nowhere
    activations[0, 1, 5] = 0b101  # counts at time 0, where its weight is
    assert list(dnnsim_rules.tactical_cycles(activations, filters, 0)) == [3]
    assert list(dnnsim_rules.tactical_cycles(activations, filters, 1)) == [1]


def dense(*shape):
    return numpy.ones(shape, int)


@pytest.mark.parametrize(
    "layer, steps",
    [
        # ceil(25 / 16) window sets x 2 filter batches x 9 kernel positions x 2 bricks
        ({"weights": dense(300, 20, 3, 3), "activations": dense(20, 5, 5), "padding": 1}, 2 * 2 * 9 * 2),
        # 2 groups of at most 16 channels
        ({"weights": dense(20, 1, 3, 3), "activations": dense(20, 5, 5), "padding": 1, "groups": 20}, 2 * 2 * 9),
        # two groups, each in its own batch
        ({"weights": dense(32, 16, 1, 1), "activations": dense(32, 4, 4), "groups": 2}, 2),
        # folded to 12 channels: 4 - 2 + 1 = 3 positions per axis, 4 kernel positions
        ({"weights": dense(16, 3, 3, 3), "activations": dense(3, 7, 7), "stride": 2}, 4),
        # an even kernel on an odd input: 5 - 2 + 1 = 4 positions per axis
        ({"weights": dense(16, 3, 4, 4), "activations": dense(3, 9, 9), "stride": 2}, 4),
        # 5 x 5 positions need two sets
        ({"weights": dense(16, 3, 3, 3), "activations": dense(3, 11, 11), "stride": 2}, 8),
    ],
)
def test_steps_of_convolutions(layer, steps):
    per_step = {"stripes": 8, "loom": 8}  # ones everywhere: the others need one cycle
    for design in dnnsim_rules.DESIGNS:
        if design != "tcle":
            assert dnnsim_rules.compute_cycles(design, "conv", **layer) == steps * per_step.get(design, 1)


def test_steps_of_fully_connected_layers():
    layer = {"kind": "fc", "weights": dense(300, 512), "activations": 7 * dense(512)}
    assert dnnsim_rules.compute_cycles("dadiannao", **layer) == 2 * 32
    assert dnnsim_rules.compute_cycles("stripes", **layer) == 2 * 32 + 7
    assert dnnsim_rules.compute_cycles("pragmatic", **layer) == 2 * 32 + 2  # three ones
    # 3 x 8 bits occupy a column longer than the turn of 16: four turns
    assert dnnsim_rules.compute_cycles("loom", **layer) == 4 * 24 + 15
    assert dnnsim_rules.compute_cycles("tcle", **layer) == 2 * 32 + 1  # 8 - 1


def test_fold_by_hand():
    tensor = numpy.arange(3 * 5 * 5).reshape(1, 3, 5, 5)
    folded = dnnsim_rules.fold(tensor, 2)
    assert folded.shape == (1, 12, 3, 3)
    assert folded[0, 3 + 1, 1, 2] == tensor[0, 1, 3, 4]  # odd along h: 3 channels on
    assert folded[0, 6 + 2, 2, 0] == tensor[0, 2, 4, 1]  # odd along w: 2 x 3 channels on
    assert folded[0, 9, 2, 0] == 0  # beyond the edge


def test_windows_and_kernel_positions_run_along_h():
    activations = numpy.arange(4 * 4).reshape(1, 4, 4)
    bricks = dnnsim_rules.window_bricks(activations, 3, 3, 2, 2, 1)
    assert list(bricks[:4, 0, 0]) == [0, 4, 8, 1]
    assert list(bricks[0, :, 0]) == [0, 4, 1, 5]
    weights = numpy.array([[[1, 2], [3, 4]]])
    assert [brick[0] for brick in dnnsim_rules.filter_bricks(weights)] == [(1, 0, 0), (3, 1, 0), (2, 2, 0), (4, 3, 0)]
    assert dnnsim_rules.filter_bricks(weights)[1][5] == (0, 0, 0)


def test_widths_of_dynamic_precision():
    assert [dnnsim_rules.width([value], False) for value in (0, 1, 2, 255)] == [1, 1, 2, 8]
    signed = {0: 2, -1: 2, 1: 2, -2: 2, 2: 3, -127: 8, -128: 8, 127: 8}
    assert {value: dnnsim_rules.width([value], True) for value in signed} == signed


@pytest.mark.parametrize(
    "run, cycles",
    [
        # all ones: no sign, one lane wide column, ceil(16 / 8), and a column less one
        ([1] * 16, {"stripes": 8, "pragmatic": 1, "bitlet": 16, "bitvert": 2, "bitwave": 0}),
        # -1: sign and one | 8 full columns | sign column and one column, less one
        ([-1] * 16, {"stripes": 8, "pragmatic": 2, "bitlet": 16, "bitvert": 16, "bitwave": 1}),
        ([0] * 16, {"stripes": 8, "pragmatic": 0, "bitlet": 0, "bitvert": 1, "bitwave": -1}),
        # short run; 5 = 101, -3 = ...11111101
        ([5, -3], {"stripes": 8, "pragmatic": 3, "bitlet": 2, "bitvert": 7, "bitwave": 3}),
    ],
)
def test_bitsim_tiles_by_hand(run, cycles):
    for design, expected in cycles.items():
        cost = bitsim_rules.COSTS[design]
        zeros = [0] * len(run)
        assert cost([run]) == expected
        assert cost([zeros, run]) == max(expected, cost([zeros]))  # the slowest row counts


def test_bitsim_tiling_by_hand():
    def number(lanes=16, groups=1, **shape):
        return len(list(bitsim_rules.tiles(dense(*shape["weights"]), groups, lanes)))

    assert number(weights=(33, 40, 3, 3)) == 2 * 9 * 3
    assert number(weights=(33, 8, 3, 3)) == 2 * 8 * 1  # more taps than channels: taps on the lanes
    assert number(weights=(33, 9, 3, 3)) == 2 * 9 * 1  # equally many: channels
    assert number(weights=(33, 3, 7, 7)) == 2 * 3 * 4
    assert number(weights=(20, 1, 3, 3), groups=20) == 20
    assert number(weights=(36, 8, 1, 1), groups=4) == 36 * 8
    assert number(weights=(36, 32, 3, 3), groups=2, lanes=8) == 36 * 32 * 2
    # rows of 67 pixels need 3 column steps each
    wide = {"kind": "conv", "weights": dense(20, 24, 3, 3), "input_size": (5, 67), "padding": 1}
    assert bitsim_rules.compute_cycles("stripes", **wide) == 8 * 9 * 2 * 5 * 3
    tall = {**wide, "input_size": (67, 5)}
    assert bitsim_rules.compute_cycles("stripes", **tall) == 8 * 9 * 2 * 67
