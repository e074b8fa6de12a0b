"""What the GPU kernels share, in Triton: neighbours, channels, filters, and the network.

A program takes BN cells of one sample. Channels and hidden units are padded to powers of two (CP, HP); hidden units are
taken BH at a time. `filters` points to the nine values of a filter, followed by those of its transpose.
"""

# mypy: ignore-errors

import triton
import triton.language as tl

HALTED = tl.constexpr(2)
"""In `fire`: the rollout of this sample is over."""
MASKED = tl.constexpr(2)
"""In `alive`: no life mask is pending."""

# ---------- the grid ----------


@triton.jit
def locate_cells(height, width, BN: tl.constexpr):
    """Return a program's sample, the number of cells in one, the program's own cells, and which of these exist."""
    cells = height * width
    cell = tl.program_id(1) * BN + tl.arange(0, BN)
    return tl.program_id(0).to(tl.int64), cells, cell, cell < cells


@triton.jit
def find_neighbours(y, x, valid, dy: tl.constexpr, dx: tl.constexpr, height, width, WRAP: tl.constexpr):
    """Return the rows and columns of neighbours, and which of them are on the grid."""
    y, x = y + dy, x + dx
    if WRAP:
        return (y + height) % height, (x + width) % width, valid
    return y, x, valid & (y >= 0) & (y < height) & (x >= 0) & (x < width)


@triton.jit
def has_opaque_neighbour(state, y, x, valid, threshold, height, width, C: tl.constexpr, WRAP: tl.constexpr):
    """Return which cells are opaque, or have an opaque neighbour: an alpha above the threshold."""
    near = valid & (y < 0)
    for i in tl.static_range(9):
        ny, nx, on_grid = find_neighbours(y, x, valid, i // 3 - 1, i % 3 - 1, height, width, WRAP)
        near = near | (tl.load(state + (ny * width + nx) * C + 3, mask=on_grid, other=0.0) > threshold)
    return near


@triton.jit
def is_alive(state, alive, y, x, valid, threshold, height, width, C: tl.constexpr, WRAP: tl.constexpr):
    """Return which cells live after the pending life mask, and which had an opaque neighbour before it."""
    near = has_opaque_neighbour(state, y, x, valid, threshold, height, width, C, WRAP)
    before = tl.load(alive + y * width + x, mask=valid, other=0)
    return valid & ((before == MASKED) | (near & (before != 0))), near


@triton.jit
def load_channels(pointer, cell, valid, C: tl.constexpr, CP: tl.constexpr):
    """Return all channels of cells; 0 for cells that are not `valid`."""
    channel = tl.arange(0, CP)[None, :]
    return tl.load(pointer + cell[:, None] * C + channel, mask=valid[:, None] & (channel < C), other=0.0)


@triton.jit
def store_channels(pointer, cell, valid, value, C: tl.constexpr, CP: tl.constexpr):
    """Write all channels of the `valid` cells."""
    channel = tl.arange(0, CP)[None, :]
    tl.store(pointer + cell[:, None] * C + channel, value, mask=valid[:, None] & (channel < C))


@triton.jit
def apply_filters(pointer, y, x, valid, filters, height, width, C: tl.constexpr, CP: tl.constexpr, WRAP: tl.constexpr):
    """Return both filters applied to the neighbourhoods of cells."""
    first = tl.zeros((y.shape[0], CP), tl.float32)
    second = tl.zeros((y.shape[0], CP), tl.float32)
    for i in tl.static_range(9):
        ny, nx, on_grid = find_neighbours(y, x, valid, i // 3 - 1, i % 3 - 1, height, width, WRAP)
        value = load_channels(pointer, ny * width + nx, on_grid, C, CP)
        first += tl.load(filters + i) * value
        second += tl.load(filters + 9 + i) * value
    return first, second


@triton.jit
def gather_gradient(
    gradients, size, cell, inside, filters, height, width, C: tl.constexpr, CP: tl.constexpr, WRAP: tl.constexpr
):  # fmt: skip
    """Return the gradient by the state of cells: their own, and what their neighbours perceived of them.

    The transpose of `apply_filters`: the filters are turned by 180 degrees.
    """
    gradient = load_channels(gradients, cell, inside, C, CP)
    y, x = cell // width, cell % width
    for i in tl.static_range(9):
        ny, nx, on_grid = find_neighbours(y, x, inside, i // 3 - 1, i % 3 - 1, height, width, WRAP)
        other = ny * width + nx
        gradient += tl.load(filters + 8 - i) * load_channels(gradients + size, other, on_grid, C, CP)
        gradient += tl.load(filters + 17 - i) * load_channels(gradients + 2 * size, other, on_grid, C, CP)
    return gradient


# ---------- the network ----------


@triton.jit
def multiply(a, b, DOT: tl.constexpr):
    """Return the matrix product, with bfloat16 factors or as precise as DOT says."""
    if DOT == "bfloat16":
        return tl.dot(a.to(tl.bfloat16), b.to(tl.bfloat16))
    else:
        return tl.dot(a, b, input_precision=DOT)


@triton.jit
def load_hidden_weights(weights, block, unit, CP: tl.constexpr, HP: tl.constexpr):
    """Return the columns [CP, units] of the hidden layer's weights [3, CP, HP]."""
    return tl.load(weights + (block * CP + tl.arange(0, CP)[:, None]) * HP + unit[None, :])


@triton.jit
def load_output_weights(weights, unit, CP: tl.constexpr):
    """Return the rows [units, CP] of the output layer's weights [HP, CP]."""
    return tl.load(weights + unit[:, None] * CP + tl.arange(0, CP)[None, :])


@triton.jit
def compute_preactivation(own, first, second, w1, b1, unit, CP: tl.constexpr, HP: tl.constexpr, DOT: tl.constexpr):
    """Return hidden units before relu, from a cell's own channels and both filters' results."""
    hidden = multiply(own, load_hidden_weights(w1, 0, unit, CP, HP), DOT)
    hidden += multiply(first, load_hidden_weights(w1, 1, unit, CP, HP), DOT)
    hidden += multiply(second, load_hidden_weights(w1, 2, unit, CP, HP), DOT)
    return hidden + tl.load(b1 + unit)[None, :]


@triton.jit
def compute_change(
    own, first, second, w1, b1, w2, b2, CP: tl.constexpr, HP: tl.constexpr, BH: tl.constexpr, DOT: tl.constexpr
):
    """Return the change of cells: the network applied to what they perceive."""
    change = tl.zeros((own.shape[0], CP), tl.float32) + tl.load(b2 + tl.arange(0, CP))[None, :]
    for start in range(0, HP, BH):
        unit = start + tl.arange(0, BH)
        hidden = tl.maximum(compute_preactivation(own, first, second, w1, b1, unit, CP, HP, DOT), 0.0)
        change += multiply(hidden, load_output_weights(w2, unit, CP), DOT)
    return change


@triton.jit
def backpropagate_to_hidden(
    own, first, second, output, w1, b1, w2, unit, CP: tl.constexpr, HP: tl.constexpr, DOT: tl.constexpr
):  # fmt: skip
    """Return hidden units before relu, and the gradients by them from those by the network's output."""
    hidden = compute_preactivation(own, first, second, w1, b1, unit, CP, HP, DOT)
    hidden_gradient = multiply(output, tl.trans(load_output_weights(w2, unit, CP)), DOT)
    return hidden, tl.where(hidden > 0, hidden_gradient, 0.0)
