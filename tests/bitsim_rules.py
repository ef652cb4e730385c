"""Compute cycles of one layer by the rules of BitSim (yc2367/BitSim, 2025-04-28), for the tests only.

Written from the rules alone, tile by tile and weight by weight, and shares nothing with the emulator. Weights
have 8 bits; 32 rows (filters) x 32 columns (output pixels along w), 16 lanes, or 8 in BitWave's fixed mapping.
BitSim's oddities are kept: they are part of its counts.
"""

import math

ROWS = COLUMNS = 32
BITS = 8
LANES = {"stripes": 16, "pragmatic": 16, "bitlet": 16, "bitvert": 16, "bitwave": 8}
DESIGNS = list(LANES)


def sign_magnitude(weight):
    """Bits of a weight, lowest first and the sign last; -128 has no magnitude and becomes -127."""
    magnitude = min(abs(int(weight)), 127)
    return [magnitude >> position & 1 for position in range(BITS - 1)] + [int(weight < 0)]


def twos_complement(weight):
    return [int(weight) >> position & 1 for position in range(BITS)]


def by_column(run, bits):
    """How many weights of a run have each of the 8 bits."""
    return [sum(column) for column in zip(*(bits(weight) for weight in run))]


def stripes(tile):
    return BITS


def pragmatic(tile):
    return max(sum(sign_magnitude(weight)) for run in tile for weight in run)


def bitlet(tile):
    return max(max(by_column(run, twos_complement)) for run in tile)


def bitvert(tile):
    """Without binary pruning: every bit column goes through an adder of half the lanes, in short runs too."""
    half = LANES["bitvert"] / 2
    return max(1, max(sum(math.ceil(ones / half) for ones in by_column(run, twos_complement)) for run in tile))


def bitwave(tile):
    """One less than the columns with a one, whether the sign column is among them or not."""
    return max(sum(ones > 0 for ones in by_column(run, sign_magnitude)) for run in tile) - 1


COSTS = {"stripes": stripes, "pragmatic": pragmatic, "bitlet": bitlet, "bitvert": bitvert, "bitwave": bitwave}


def tiles(weights, groups, lanes):
    """Tiles of weights [filters, channels / groups, kh, kw]: lists of runs, one per row, of at most `lanes` weights."""
    filters, channels, kernel_height, kernel_width = weights.shape
    taps = [(i, j) for i in range(kernel_height) for j in range(kernel_width)]
    one_by_one = groups > 1
    rows = 1 if one_by_one else ROWS
    for first in range(0, filters, rows):
        members = range(first, min(first + rows, filters))
        if one_by_one or len(taps) > channels:
            for k in range(channels):
                for start in range(0, len(taps), lanes):
                    yield [[weights[m, k, i, j] for i, j in taps[start : start + lanes]] for m in members]
        else:
            for i, j in taps:
                for start in range(0, channels, lanes):
                    yield [[weights[m, k, i, j] for k in range(start, min(start + lanes, channels))] for m in members]


def compute_cycles(design, kind, weights, input_size=None, stride=1, padding=0, groups=1):
    """Cycles of a layer.

    Weights are [filters, channels / groups, kh, kw] or [filters, channels]; input_size is a convolution's (h, w).
    """
    positions = 1
    if kind == "fc":
        weights = weights[:, :, None, None]
    else:
        height, width = ((size + 2 * padding - k) // stride + 1 for size, k in zip(input_size, weights.shape[2:]))
        positions = height * math.ceil(width / COLUMNS)
    return positions * sum(COSTS[design](tile) for tile in tiles(weights, groups, LANES[design]))
