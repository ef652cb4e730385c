"""Compute cycles of one layer by the rules of DNNsim (isakedo/DNNsim, commit 4748a60), for the tests only.

Written from the rules alone, step by step and lane by lane, and shares nothing with the emulator. All designs have
16 lanes x 16 columns x 16 rows x 16 tiles and 8 bits. Faults of DNNsim are left out: square outputs only, groups only
1, 2 or depthwise, and a fully connected layer always finds its brick in the column that works on it.
"""

import math

import numpy

LANES = COLUMNS = ROWS = TILES = 16
BITS = 8
FIRST_STAGE_BITS = 2  # S of Pragmatic and TCLe
COLUMN_REGISTERS = 1  # D of the designs that have any
LOOK_AHEAD = 2
SEARCH_MAP = [(1, -1), (1, 0), (1, 1), (1, 3), (2, -2), (2, 0), (2, 2)]  # "T": (ahead, aside), first one wins
DESIGNS = ["dadiannao", "stripes", "dynamic_stripes", "loom", "pragmatic", "pragmatic_booth_cr1", "laconic", "tcle"]


# --- terms of a magnitude ---


def booth(magnitude):
    """Bit mask of the positions of nonzero digits. Only runs of three or more ones are recoded."""

    def bit(position):
        return magnitude >> position & 1 if position >= 0 else 0

    mask, run = 0, False
    for i in range(15, -1, -1):
        window = f"{bit(i)}{bit(i - 1)}{bit(i - 2)}"
        if not run and window in ("100", "101", "110"):
            mask |= 1 << i
        elif not run and window == "111":
            mask |= 1 << (i + 1)
            run = True
        elif run and window in ("010", "011"):
            mask |= 1 << i
        elif run and window == "100":
            mask |= 1 << i
            run = False
    return mask


def lowest_bit(mask):
    """Position of the lowest one; 31, beyond every shifter, if there is none."""
    return min((position for position in range(16) if mask >> position & 1), default=31)


MAGNITUDES = range(28672)  # beyond, the peer's recoding leaves its tables
BOOTH = numpy.array([booth(magnitude) for magnitude in MAGNITUDES])
BOOTH_TERMS = numpy.array([bin(mask).count("1") for mask in BOOTH])
LOWEST_BIT = numpy.array([lowest_bit(mask) for mask in range(2**15)])


# --- a layer as bricks ---


def fold(tensor, stride):
    """Space to depth of [n, channels, h, w]: stride x stride positions become channels."""
    count, channels, height, width = tensor.shape
    shape = (count, channels * stride**2, math.ceil(height / stride), math.ceil(width / stride))
    folded = numpy.zeros(shape, tensor.dtype)
    for i in range(height):
        for j in range(width):
            for k in range(channels):
                channel = (j % stride) * stride * channels + channels * (i % stride) + k
                folded[:, channel, i // stride, j // stride] = tensor[:, k, i, j]
    return folded


def window_bricks(activations, height, width, kernel_height, kernel_width, stride):
    """Activations [channels, h, w] as [window, time, lane]; windows and kernel positions run fastest along h."""
    channels = len(activations)
    bricks = []
    for y in range(width):
        for x in range(height):
            bricks.append([])
            for j in range(kernel_width):
                for i in range(kernel_height):
                    for first in range(0, channels, LANES):
                        brick = numpy.zeros(LANES, int)
                        values = activations[first : first + LANES, x * stride + i, y * stride + j]
                        brick[: len(values)] = values
                        bricks[-1].append(brick)
    return numpy.array(bricks)


def filter_bricks(weights, lane_of_depthwise=None):
    """One filter [channels, kh, kw] as [time][lane] of (value, time, lane); a padded channel is (0, 0, 0)."""
    channels, kernel_height, kernel_width = weights.shape
    bricks = []
    for j in range(kernel_width):
        for i in range(kernel_height):
            for first in range(0, channels, LANES):
                brick = [(0, 0, 0)] * LANES
                for channel in range(first, min(first + LANES, channels)):
                    lane = channel - first if lane_of_depthwise is None else lane_of_depthwise
                    brick[lane] = (int(weights[channel, i, j]), len(bricks), lane)
                bricks.append(brick)
    return bricks


def split_layer(kind, weights, activations, stride, padding, groups):
    """The groups of a layer, one after another: (activations [window, time, lane], filters [filter][time][lane])."""
    if kind == "fc":
        weights, activations = weights[:, :, None, None], activations[:, None, None]
    activations = numpy.pad(activations, ((0, 0), (padding, padding), (padding, padding)))
    depthwise = weights.shape[1] == 1 and len(activations) != 1
    if kind == "conv" and len(activations) == 3 and stride > 1 and not depthwise:
        weights, activations, stride = fold(weights, stride), fold(activations[None], stride)[0], 1
    filters, group_channels, kernel_height, kernel_width = weights.shape
    channels, height, width = activations.shape
    shape = ((height - kernel_height) // stride + 1, (width - kernel_width) // stride + 1)
    geometry = (*shape, kernel_height, kernel_width, stride)
    assert shape[0] == shape[1], "DNNsim is wrong for outputs that are not square"
    if depthwise:
        assert groups == channels == filters, "DNNsim knows one filter per channel"
        for first in range(0, filters, LANES):
            yield (
                window_bricks(activations[first : first + LANES], *geometry),
                [filter_bricks(weights[m], m - first) for m in range(first, min(first + LANES, filters))],
            )
        return
    assert groups in (1, 2), "DNNsim knows 1 or 2 groups"
    for group in range(groups):
        own = slice(group * group_channels, (group + 1) * group_channels)
        first, last = group * filters // groups, (group + 1) * filters // groups
        yield window_bricks(activations[own], *geometry), [filter_bricks(weights[m]) for m in range(first, last)]


def chunks(items, size):
    return [items[first : first + size] for first in range(0, len(items), size)]


# --- cycles of one step: one number per column ---


def width(values, signed):
    """Bits of the widest of some values; a zero has one. Signed: two's complement, with the sign."""
    widest = 1
    for value in values:
        value = int(value)
        widest = max(widest, (~value if value < 0 else value).bit_length())
    return widest + signed


def shifter_cycles(masks):
    """Two-stage shifter, [..., lane] -> [...]: each cycle lanes whose lowest one is near the lowest of all drop it."""
    masks = masks.copy()
    cycles = numpy.zeros(masks.shape[:-1], int)
    while masks.any():
        cycles += masks.any(axis=-1)
        lowest = LOWEST_BIT[masks]
        nearest = lowest.min(axis=-1, keepdims=True)
        served = (masks != 0) & (lowest <= nearest + 2**FIRST_STAGE_BITS - 1)
        masks = numpy.where(served, masks - (1 << lowest), masks)
    return numpy.maximum(cycles, 1)


def step_cycles(design, activations, weights, signed):
    """One step of a design without weight skipping: activations [column, lane], weights [filter][lane]."""
    columns = len(activations)
    if design == "dadiannao":
        return [1] * columns
    if design == "stripes":
        return [BITS] * columns
    if design == "dynamic_stripes":  # a group of 16 columns is the whole tile
        return [width(activations.ravel(), signed)] * columns
    if design == "loom":
        return [BITS * width(activations.ravel(), signed)] * columns
    if design == "pragmatic":
        return list(shifter_cycles(abs(activations)))
    if design == "pragmatic_booth_cr1":
        return list(shifter_cycles(BOOTH[abs(activations)]))
    if design == "laconic":
        products = BOOTH_TERMS[abs(activations)][:, None, :] * BOOTH_TERMS[abs(numpy.array(weights))][None, :, :]
        return [max(1, products.max())] * columns
    raise ValueError(f"'{design}' is not a design; take one of {DESIGNS}")


# --- TCLe: weight skipping ---


def line_is_zero(filters, time):
    return all(value == 0 for rows in filters for value, _, _ in rows[time])


def promote(rows, time):
    """Swaps one later weight of a filter [time][lane] into a zero lane of `time`; False if none can be."""
    candidates = {}
    for lane in range(LANES):
        if rows[time][lane][0] == 0:
            places = [(time + ahead, (lane + aside) % LANES) for ahead, aside in SEARCH_MAP if time + ahead < len(rows)]
            found = [(later, other) for later, other in places if rows[later][other][0] != 0]
            if found:
                candidates[lane] = found
    if not candidates:
        return False
    most = max(len(found) for found in candidates.values())
    lane = next(lane for lane in candidates if len(candidates[lane]) == most)
    later, other = candidates[lane][0]
    rows[time][lane], rows[later][other] = rows[later][other], rows[time][lane]
    return True


def schedule(filters):
    """Schedules the filters [filter][time][lane] of one tile in place."""
    skipped = 0
    for time in range(len(filters[0])):
        if skipped < LOOK_AHEAD and line_is_zero(filters, time):
            skipped += 1
            continue
        skipped = 0
        for rows in filters:
            while promote(rows, time):
                pass


def executed_times(filters):
    """Times of one tile that are not skipped."""
    times, skipped = [], 0
    for time in range(len(filters[0])):
        if skipped < LOOK_AHEAD and line_is_zero(filters, time):
            skipped += 1
        else:
            skipped = 0
            times.append(time)
    return times


def tactical_cycles(activations, filters, time):
    """Cycles per column of one tile at its time, of activations [column, time, lane] and its scheduled filters."""
    times = numpy.array([[origin for _, origin, _ in rows[time]] for rows in filters])
    lanes = numpy.array([[lane for _, _, lane in rows[time]] for rows in filters])
    picked = BOOTH[abs(activations[:, times, lanes])]  # [column, filter, lane]
    picked[:, times < time] = 0  # swapped out: its activation has gone by
    return shifter_cycles(picked).max(axis=1)


# --- all steps of a layer ---


def dense_steps(design, activations, filters, signed):
    for columns in chunks(activations, COLUMNS):
        for batch in chunks(filters, TILES * ROWS):
            for time in range(activations.shape[1]):
                weights = [[value for value, _, _ in rows[time]] for rows in batch]
                yield step_cycles(design, columns[:, time], weights, signed)


def tactical_steps(activations, filters):
    tiles = chunks(filters, ROWS)
    for tile in tiles:
        schedule(tile)
    times = [executed_times(tile) for tile in tiles]
    for columns in chunks(activations, COLUMNS):
        for batch in chunks(range(len(tiles)), TILES):
            for step in range(max(len(times[tile]) for tile in batch)):
                working = [tile for tile in batch if step < len(times[tile])]
                yield numpy.max([tactical_cycles(columns, tiles[tile], times[tile][step]) for tile in working], axis=0)


def run_ahead(steps, registers):
    """Finish of conv steps (cycles by column): step n may start when all columns have finished step n - 1 - registers."""
    finish, previous, ready, slot = [0] * COLUMNS, [0] * registers, 0, 0
    for step in steps:
        for column, cycles in enumerate(step):
            finish[column] = max(finish[column], ready) + int(cycles)
        ready = previous[slot]
        previous[slot] = max(finish)
        slot = (slot + 1) % registers
    return max(finish)


def rotate(steps):
    """Finish of fully connected steps (cycles): dealt to the columns in turn, one may start per cycle."""
    finish, now = [0] * COLUMNS, 0
    for number, cycles in enumerate(steps):
        column = number % COLUMNS
        now = max(now, finish[column])
        finish[column] = now + int(cycles)
        now += 1
    return max(finish)


def compute_cycles(design, kind, weights, activations, stride=1, padding=0, groups=1):
    """Cycles of a layer.

    Weights are [filters, channels / groups, kh, kw] or [filters, channels], activations [channels, h, w] or [channels].
    """
    signed = bool(activations.min() < 0)
    steps = []
    for windows, filters in split_layer(kind, weights, activations, stride, padding, groups):
        steps += tactical_steps(windows, filters) if design == "tcle" else dense_steps(design, windows, filters, signed)
    if kind == "fc":
        return rotate(max(step) for step in steps)
    if design in ("pragmatic_booth_cr1", "tcle"):
        return run_ahead(steps, COLUMN_REGISTERS)
    return int(sum(max(step) for step in steps))
