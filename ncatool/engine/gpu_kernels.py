"""The rule as kernels for a GPU, in Triton: one for a step, one for a step back, one for all weights' gradients.

A program takes some cells (BN) of one sample, and the weights and filter of the sample's model. Channels and
hidden units are padded to powers of two (CP, HP), hidden units taken BH at a time.

A step reads what the one before left without its life mask, and asks of every neighbour whether it alive_now
on: so a step is one launch, and no program ever waits for another. `alive` says who was alive before that
step; MASKED where no mask is left open. `fire` is HALTED for all cells of a sample whose rollout is over.

Shapes, where `cells` is height · width:
- of a step: `state` and `out` [batch, cells, C], `alive` and `out_alive` [batch, cells];
- of all steps: `fire` [steps, batch, cells]; `tape` [steps, batch, cells, C], the states before each step; `life`
  [steps + 1, batch, cells], who alive_now in them; `output_gradient` as `tape`, the gradients by the network's output;
- of all models: `filters` [models, 2, 9], `w1` [models, 3, CP, HP], `b1` [models, HP], `w2` [models, HP, CP], `b2`
  [models, CP].
"""

# mypy: ignore-errors

import triton
import triton.language as tl

HALTED = tl.constexpr(2)
MASKED = tl.constexpr(2)

SIZES = ["batch", "height", "width", "per_model", "t"]
"""Numbers that kernels are not built anew for."""


# ---------- the grid ----------


@triton.jit
def locate_cells(height, width, BN: tl.constexpr):
    """A program's sample, how many cells one has, and which of them are the program's, as far as on_grid are any."""
    cells = height * width
    cell = tl.program_id(1) * BN + tl.arange(0, BN)
    return tl.program_id(0).to(tl.int64), cells, cell, cell < cells


@triton.jit
def find_neighbours(y, x, valid, dy: tl.constexpr, dx: tl.constexpr, height, width, WRAP: tl.constexpr):
    """Row and column of neighbours, and whether they are on the grid."""
    y, x = y + dy, x + dx
    if WRAP:
        return (y + height) % height, (x + width) % width, valid
    return y, x, valid & (y >= 0) & (y < height) & (x >= 0) & (x < width)


@triton.jit
def has_opaque_neighbour(state, y, x, valid, threshold, height, width, C: tl.constexpr, WRAP: tl.constexpr):
    """Whether cells, or any of their neighbours, have an alpha above the threshold."""
    found = valid & (y < 0)
    for i in tl.static_range(9):
        ny, nx, on_grid = find_neighbours(y, x, valid, i // 3 - 1, i % 3 - 1, height, width, WRAP)
        found = found | (tl.load(state + (ny * width + nx) * C + 3, mask=on_grid, other=0.0) > threshold)
    return found


@triton.jit
def is_alive(state, alive, y, x, valid, threshold, height, width, C: tl.constexpr, WRAP: tl.constexpr):
    """Whether cells live once the open life mask is applied; and whether they are near an near_opaque one before it is."""
    near = has_opaque_neighbour(state, y, x, valid, threshold, height, width, C, WRAP)
    before = tl.load(alive + y * width + x, mask=valid, other=0)
    return valid & ((before == MASKED) | (near & (before != 0))), near


@triton.jit
def load_channels(at, cell, valid, C: tl.constexpr, CP: tl.constexpr):
    """All channels of cells: 0 where not `valid`."""
    channel = tl.arange(0, CP)[None, :]
    return tl.load(at + cell[:, None] * C + channel, mask=valid[:, None] & (channel < C), other=0.0)


@triton.jit
def store_channels(at, cell, valid, value, C: tl.constexpr, CP: tl.constexpr):
    channel = tl.arange(0, CP)[None, :]
    tl.store(at + cell[:, None] * C + channel, value, mask=valid[:, None] & (channel < C))


@triton.jit
def apply_filters(at, y, x, valid, filters, height, width, C: tl.constexpr, CP: tl.constexpr, WRAP: tl.constexpr):
    """Both filters over the neighbourhoods of cells."""
    first = tl.zeros((y.shape[0], CP), tl.float32)
    second = tl.zeros((y.shape[0], CP), tl.float32)
    for i in tl.static_range(9):
        ny, nx, on_grid = find_neighbours(y, x, valid, i // 3 - 1, i % 3 - 1, height, width, WRAP)
        value = load_channels(at, ny * width + nx, on_grid, C, CP)
        first += tl.load(filters + i) * value
        second += tl.load(filters + 9 + i) * value
    return first, second


# ---------- the network ----------


@triton.jit
def multiply(a, b, DOT: tl.constexpr):
    if DOT == "bfloat16":
        return tl.dot(a.to(tl.bfloat16), b.to(tl.bfloat16))
    else:
        return tl.dot(a, b, input_precision=DOT)


@triton.jit
def load_hidden_weights(weights, block, unit, CP: tl.constexpr, HP: tl.constexpr):
    """Columns [CP, units] of the hidden layer's weights [3, CP, HP]."""
    return tl.load(weights + (block * CP + tl.arange(0, CP)[:, None]) * HP + unit[None, :])


@triton.jit
def load_output_weights(weights, unit, CP: tl.constexpr):
    """Rows [units, CP] of the output layer's weights [HP, CP]."""
    return tl.load(weights + unit[:, None] * CP + tl.arange(0, CP)[None, :])


@triton.jit
def compute_hidden(own, first, second, w1, b1, unit, CP: tl.constexpr, HP: tl.constexpr, DOT: tl.constexpr):
    hidden = multiply(own, load_hidden_weights(w1, 0, unit, CP, HP), DOT)
    hidden += multiply(first, load_hidden_weights(w1, 1, unit, CP, HP), DOT)
    hidden += multiply(second, load_hidden_weights(w1, 2, unit, CP, HP), DOT)
    return hidden + tl.load(b1 + unit)[None, :]


@triton.jit
def compute_change(
    own, first, second, w1, b1, w2, b2, CP: tl.constexpr, HP: tl.constexpr, BH: tl.constexpr, DOT: tl.constexpr
):
    change = tl.zeros((own.shape[0], CP), tl.float32) + tl.load(b2 + tl.arange(0, CP))[None, :]
    for start in range(0, HP, BH):
        unit = start + tl.arange(0, BH)
        hidden = tl.maximum(compute_hidden(own, first, second, w1, b1, unit, CP, HP, DOT), 0.0)
        change += multiply(hidden, load_output_weights(w2, unit, CP), DOT)
    return change


@triton.jit
def backpropagate_to_hidden(
    own, first, second, output, w1, b1, w2, unit, CP: tl.constexpr, HP: tl.constexpr, DOT: tl.constexpr
):  # fmt: skip
    """Hidden units before relu, made again, and their gradients from those by the network's output."""
    hidden = compute_hidden(own, first, second, w1, b1, unit, CP, HP, DOT)
    back = multiply(output, tl.trans(load_output_weights(w2, unit, CP)), DOT)
    return hidden, tl.where(hidden > 0, back, 0.0)


# ---------- the steps ----------


@triton.jit(do_not_specialize=SIZES)
def forward(
    state, alive, fire, out, out_alive, tape, life, filters, w1, b1, w2, b2, t, batch, height, width, threshold,
    per_model, C: tl.constexpr, CP: tl.constexpr, HP: tl.constexpr, BH: tl.constexpr, BN: tl.constexpr,
    WRAP: tl.constexpr, KEEP: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """One step: from the state before its life mask, and who was alive a step earlier, to the same one step on."""
    sample, cells, cell, inside = locate_cells(height, width, BN)
    model = sample // per_model
    y, x = cell // width, cell % width
    state += sample * cells * C
    alive += sample * cells
    out += sample * cells * C
    out_alive += sample * cells
    now = t * batch + sample
    fire += now * cells
    if tl.load(fire) == HALTED:
        alive_now, _ = is_alive(state, alive, y, x, inside, threshold, height, width, C, WRAP)
        store_channels(out, cell, inside, load_channels(state, cell, inside, C, CP), C, CP)
        tl.store(out_alive + cell, tl.load(alive + cell, mask=inside, other=0), mask=inside)
        if KEEP:
            tl.store(life + now * cells + cell, alive_now.to(tl.uint8), mask=inside)
    else:
        filters += model * 18
        own = tl.zeros((BN, CP), tl.float32)
        first = tl.zeros((BN, CP), tl.float32)
        second = tl.zeros((BN, CP), tl.float32)
        pre = inside & (cell < 0)
        near = pre
        alive_now = pre
        for i in tl.static_range(9):
            ny, nx, on_grid = find_neighbours(y, x, inside, i // 3 - 1, i % 3 - 1, height, width, WRAP)
            other = ny * width + nx
            lives, near_opaque = is_alive(state, alive, ny, nx, on_grid, threshold, height, width, C, WRAP)
            value = load_channels(state, other, lives, C, CP)
            first += tl.load(filters + i) * value
            second += tl.load(filters + 9 + i) * value
            pre = pre | (tl.load(state + other * C + 3, mask=lives, other=0.0) > threshold)
            near = near | near_opaque
            if i == 4:
                own = value
                alive_now = lives
        # A dead cell's update counts where it turns near_opaque beside a living one: so all that fire near
        # an near_opaque cell are updated, not only the living.
        active = near & (tl.load(fire + cell, mask=inside, other=0) != 0)
        after = own
        if tl.max(active.to(tl.int32), 0) > 0:
            change = compute_change(
                own, first, second, w1 + model * 3 * CP * HP, b1 + model * HP, w2 + model * HP * CP, b2 + model * CP,
                CP, HP, BH, DOT,
            )  # fmt: skip
            after = own + tl.where(active[:, None], change, 0.0)
        store_channels(out, cell, inside, after, C, CP)
        tl.store(out_alive + cell, pre.to(tl.uint8), mask=inside)
        if KEEP:
            store_channels(tape + now * cells * C, cell, inside, own, C, CP)
            tl.store(life + now * cells + cell, alive_now.to(tl.uint8), mask=inside)


@triton.jit(do_not_specialize=SIZES)
def mask(
    state, alive, out, life, t, batch, height, width, threshold, per_model, C: tl.constexpr, CP: tl.constexpr,
    BN: tl.constexpr, WRAP: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    """The life mask that the last step left open."""
    sample, cells, cell, inside = locate_cells(height, width, BN)
    state += sample * cells * C
    alive += sample * cells
    lives, _ = is_alive(state, alive, cell // width, cell % width, inside, threshold, height, width, C, WRAP)
    store_channels(out + sample * cells * C, cell, inside, load_channels(state, cell, lives, C, CP), C, CP)
    if KEEP:
        tl.store(life + (t * batch + sample) * cells + cell, lives.to(tl.uint8), mask=inside)


@triton.jit
def gather_gradient(passed, size, cell, inside, filters, height, width, C: tl.constexpr, CP: tl.constexpr, WRAP: tl.constexpr):
    """By the state of cells: what they had themselves, and what all that saw them pass on, the filters turned round."""
    gradient = load_channels(passed, cell, inside, C, CP)
    y, x = cell // width, cell % width
    for i in tl.static_range(9):
        ny, nx, on_grid = find_neighbours(y, x, inside, i // 3 - 1, i % 3 - 1, height, width, WRAP)
        other = ny * width + nx
        gradient += tl.load(filters + 8 - i) * load_channels(passed + size, other, on_grid, C, CP)
        gradient += tl.load(filters + 17 - i) * load_channels(passed + 2 * size, other, on_grid, C, CP)
    return gradient


@triton.jit(do_not_specialize=SIZES)
def backward(
    passed, out, output_gradient, tape, life, fire, filters, w1, b1, w2, t, batch, height, width, per_model,
    C: tl.constexpr, CP: tl.constexpr, HP: tl.constexpr, BH: tl.constexpr, BN: tl.constexpr, WRAP: tl.constexpr,
    DOT: tl.constexpr,
):  # fmt: skip
    """One step back. `passed` and `out` [3, batch, cells, C]: gradients by own state and by both filters' results."""
    sample, cells, cell, inside = locate_cells(height, width, BN)
    model = sample // per_model
    size = batch * cells.to(tl.int64) * C
    passed += sample * cells * C
    out += sample * cells * C
    now = t * batch + sample
    fire += now * cells
    if tl.load(fire) == HALTED:
        for block in tl.static_range(3):
            store_channels(out + block * size, cell, inside, load_channels(passed + block * size, cell, inside, C, CP), C, CP)
    else:
        filters += model * 18
        w1 += model * 3 * CP * HP
        b1 += model * HP
        w2 += model * HP * CP
        gradient = gather_gradient(passed, size, cell, inside, filters, height, width, C, CP, WRAP)
        lives = tl.load(life + (now + batch) * cells + cell, mask=inside, other=0) != 0
        gradient = tl.where(lives[:, None], gradient, 0.0)
        active = lives & (tl.load(fire + cell, mask=inside, other=0) != 0)
        output = tl.where(active[:, None], gradient, 0.0)
        store_channels(output_gradient + now * cells * C, cell, inside, output, C, CP)
        first_gradient = tl.zeros((BN, CP), tl.float32)
        second_gradient = tl.zeros((BN, CP), tl.float32)
        if tl.max(active.to(tl.int32), 0) > 0:
            tape += now * cells * C
            own = load_channels(tape, cell, inside, C, CP)
            first, second = apply_filters(
                tape, cell // width, cell % width, inside, filters, height, width, C, CP, WRAP
            )  # fmt: skip
            for start in range(0, HP, BH):
                unit = start + tl.arange(0, BH)
                _, back = backpropagate_to_hidden(own, first, second, output, w1, b1, w2, unit, CP, HP, DOT)
                gradient += multiply(back, tl.trans(load_hidden_weights(w1, 0, unit, CP, HP)), DOT)
                first_gradient += multiply(back, tl.trans(load_hidden_weights(w1, 1, unit, CP, HP)), DOT)
                second_gradient += multiply(back, tl.trans(load_hidden_weights(w1, 2, unit, CP, HP)), DOT)
        store_channels(out, cell, inside, gradient, C, CP)
        store_channels(out + size, cell, inside, first_gradient, C, CP)
        store_channels(out + 2 * size, cell, inside, second_gradient, C, CP)


@triton.jit(do_not_specialize=SIZES)
def fold(
    passed, out, filters, batch, height, width, per_model, C: tl.constexpr, CP: tl.constexpr, BN: tl.constexpr,
    WRAP: tl.constexpr,
):  # fmt: skip
    """The gradient by the first state, from what the last step back left."""
    sample, cells, cell, inside = locate_cells(height, width, BN)
    size = batch * cells.to(tl.int64) * C
    filters += sample // per_model * 18
    gradient = gather_gradient(passed + sample * cells * C, size, cell, inside, filters, height, width, C, CP, WRAP)
    store_channels(out + sample * cells * C, cell, inside, gradient, C, CP)


@triton.jit(do_not_specialize=SIZES)
def weights(
    output_gradient, tape, fire, filters, w1, b1, w2, sums, t, batch, height, width, per_model, C: tl.constexpr,
    CP: tl.constexpr, HP: tl.constexpr, BH: tl.constexpr, BN: tl.constexpr, PARTS: tl.constexpr, WRAP: tl.constexpr,
    DOT: tl.constexpr,
):  # fmt: skip
    """A part's sum, over `t` steps, of the gradients by some hidden units' weights.

    `sums` is [parts, models, 4 CP HP + HP + CP].
    """
    part, model = tl.program_id(0), tl.program_id(2)
    unit = tl.program_id(1) * BH + tl.arange(0, BH)
    channel = tl.arange(0, CP)
    cells = height * width
    filters += model * 18
    w1 += model * 3 * CP * HP
    b1 += model * HP
    w2 += model * HP * CP
    own_sum = tl.zeros((CP, BH), tl.float32)
    first_sum = tl.zeros((CP, BH), tl.float32)
    second_sum = tl.zeros((CP, BH), tl.float32)
    output_sum = tl.zeros((BH, CP), tl.float32)
    hidden_bias_sum = tl.zeros((BH,), tl.float32)
    output_bias_sum = tl.zeros((CP,), tl.float32)
    blocks = tl.cdiv(cells, BN)
    for block in range(part, t * per_model * blocks, PARTS):
        sample = model * per_model + block // blocks % per_model
        now = (block // blocks // per_model * batch + sample).to(tl.int64)
        cell = block % blocks * BN + tl.arange(0, BN)
        inside = tl.load(fire + now * cells + cell, mask=cell < cells, other=HALTED) != HALTED
        output = load_channels(output_gradient + now * cells * C, cell, inside, C, CP)
        if tl.max(tl.max(tl.abs(output), 1), 0) != 0:
            state = tape + now * cells * C
            own = load_channels(state, cell, inside, C, CP)
            first, second = apply_filters(
                state, cell // width, cell % width, inside, filters, height, width, C, CP, WRAP
            )  # fmt: skip
            hidden, back = backpropagate_to_hidden(own, first, second, output, w1, b1, w2, unit, CP, HP, DOT)
            own_sum += multiply(tl.trans(own), back, DOT)
            first_sum += multiply(tl.trans(first), back, DOT)
            second_sum += multiply(tl.trans(second), back, DOT)
            output_sum += multiply(tl.trans(tl.maximum(hidden, 0.0)), output, DOT)
            hidden_bias_sum += tl.sum(back, 0)
            output_bias_sum += tl.sum(output, 0)
    sums += (part.to(tl.int64) * tl.num_programs(2) + model) * (4 * CP * HP + HP + CP)
    at = sums + channel[:, None] * HP + unit[None, :]
    tl.store(at, own_sum)
    tl.store(at + CP * HP, first_sum)
    tl.store(at + 2 * CP * HP, second_sum)
    tl.store(sums + 3 * CP * HP + unit[:, None] * CP + channel[None, :], output_sum)
    tl.store(sums + 4 * CP * HP + unit, hidden_bias_sum)
    if tl.program_id(1) == 0:
        tl.store(sums + 4 * CP * HP + HP + channel, output_bias_sum)
