"""The rule as kernels for a GPU, in Triton: one for a step, one for a step back, one for all weights' gradients.

A program takes some cells (BN) of one sample, and the weights and filter of the sample's model. Channels and
hidden units are padded to powers of two (CP, HP), hidden units taken BH at a time.

A step reads what the one before left without its life mask, and asks of every neighbour whether it lived
on: so a step is one launch, and no program ever waits for another. `alive` says who was alive before that
step; MASKED where no mask is left open. `fire` is HALTED for all cells of a sample whose rollout is over.

Shapes, where `cells` is height · width:
- of a step: `state` and `out` [batch, cells, C], `alive` and `out_alive` [batch, cells];
- of all steps: `fire` [steps, batch, cells]; `tape` [steps, batch, cells, C], the states before each step; `life`
  [steps + 1, batch, cells], who lived in them; `wanted` as `tape`, the gradients by the network's output;
- of all models: `kernel` [models, 2, 9], `w1` [models, 3, CP, HP], `b1` [models, HP], `w2` [models, HP, CP], `b2`
  [models, CP].
"""

# mypy: ignore-errors

import triton
import triton.language as tl

HALTED = tl.constexpr(2)
MASKED = tl.constexpr(2)

_SIZES = ["batch", "height", "width", "per_model", "t"]
"""Numbers that kernels are not built anew for."""


# ---------- the grid ----------


@triton.jit
def _place(height, width, BN: tl.constexpr):
    """A program's sample, how many cells one has, and which of them are the program's, as far as there are any."""
    cells = height * width
    cell = tl.program_id(1) * BN + tl.arange(0, BN)
    return tl.program_id(0).to(tl.int64), cells, cell, cell < cells


@triton.jit
def _neighbour(y, x, ok, dy: tl.constexpr, dx: tl.constexpr, height, width, WRAP: tl.constexpr):
    """Row and column of neighbours, and whether they are on the grid."""
    y, x = y + dy, x + dx
    if WRAP:
        return (y + height) % height, (x + width) % width, ok
    return y, x, ok & (y >= 0) & (y < height) & (x >= 0) & (x < width)


@triton.jit
def _opaque_near(state, y, x, ok, threshold, height, width, C: tl.constexpr, WRAP: tl.constexpr):
    """Whether cells, or any of their neighbours, have an alpha above the threshold."""
    found = ok & (y < 0)
    for i in tl.static_range(9):
        ny, nx, there = _neighbour(y, x, ok, i // 3 - 1, i % 3 - 1, height, width, WRAP)
        found = found | (tl.load(state + (ny * width + nx) * C + 3, mask=there, other=0.0) > threshold)
    return found


@triton.jit
def _lives(state, alive, y, x, ok, threshold, height, width, C: tl.constexpr, WRAP: tl.constexpr):
    """Whether cells live once the open life mask is applied; and whether they are near an opaque one before it is."""
    near = _opaque_near(state, y, x, ok, threshold, height, width, C, WRAP)
    before = tl.load(alive + y * width + x, mask=ok, other=0)
    return ok & ((before == MASKED) | (near & (before != 0))), near


@triton.jit
def _values(at, cell, ok, C: tl.constexpr, CP: tl.constexpr):
    """All channels of cells: 0 where not `ok`."""
    channel = tl.arange(0, CP)[None, :]
    return tl.load(at + cell[:, None] * C + channel, mask=ok[:, None] & (channel < C), other=0.0)


@triton.jit
def _put(at, cell, ok, value, C: tl.constexpr, CP: tl.constexpr):
    channel = tl.arange(0, CP)[None, :]
    tl.store(at + cell[:, None] * C + channel, value, mask=ok[:, None] & (channel < C))


@triton.jit
def _filtered(at, y, x, ok, kernel, height, width, C: tl.constexpr, CP: tl.constexpr, WRAP: tl.constexpr):
    """Both filters over the neighbourhoods of cells."""
    first = tl.zeros((y.shape[0], CP), tl.float32)
    second = tl.zeros((y.shape[0], CP), tl.float32)
    for i in tl.static_range(9):
        ny, nx, there = _neighbour(y, x, ok, i // 3 - 1, i % 3 - 1, height, width, WRAP)
        value = _values(at, ny * width + nx, there, C, CP)
        first += tl.load(kernel + i) * value
        second += tl.load(kernel + 9 + i) * value
    return first, second


# ---------- the network ----------


@triton.jit
def _dot(a, b, DOT: tl.constexpr):
    if DOT == "bfloat16":
        return tl.dot(a.to(tl.bfloat16), b.to(tl.bfloat16))
    else:
        return tl.dot(a, b, input_precision=DOT)


@triton.jit
def _block(weights, block, unit, CP: tl.constexpr, HP: tl.constexpr):
    """Columns [CP, units] of the hidden layer's weights [3, CP, HP]."""
    return tl.load(weights + (block * CP + tl.arange(0, CP)[:, None]) * HP + unit[None, :])


@triton.jit
def _output(weights, unit, CP: tl.constexpr):
    """Rows [units, CP] of the output layer's weights [HP, CP]."""
    return tl.load(weights + unit[:, None] * CP + tl.arange(0, CP)[None, :])


@triton.jit
def _before_relu(own, first, second, w1, b1, unit, CP: tl.constexpr, HP: tl.constexpr, DOT: tl.constexpr):
    seen = _dot(own, _block(w1, 0, unit, CP, HP), DOT)
    seen += _dot(first, _block(w1, 1, unit, CP, HP), DOT)
    seen += _dot(second, _block(w1, 2, unit, CP, HP), DOT)
    return seen + tl.load(b1 + unit)[None, :]


@triton.jit
def _change(
    own, first, second, w1, b1, w2, b2, CP: tl.constexpr, HP: tl.constexpr, BH: tl.constexpr, DOT: tl.constexpr
):
    change = tl.zeros((own.shape[0], CP), tl.float32) + tl.load(b2 + tl.arange(0, CP))[None, :]
    for start in range(0, HP, BH):
        unit = start + tl.arange(0, BH)
        hidden = tl.maximum(_before_relu(own, first, second, w1, b1, unit, CP, HP, DOT), 0.0)
        change += _dot(hidden, _output(w2, unit, CP), DOT)
    return change


@triton.jit
def _back(
    own, first, second, output, w1, b1, w2, unit, CP: tl.constexpr, HP: tl.constexpr, DOT: tl.constexpr
):  # fmt: skip
    """Hidden units before relu, made again, and their gradients from those by the network's output."""
    seen = _before_relu(own, first, second, w1, b1, unit, CP, HP, DOT)
    back = _dot(output, tl.trans(_output(w2, unit, CP)), DOT)
    return seen, tl.where(seen > 0, back, 0.0)


# ---------- the steps ----------


@triton.jit(do_not_specialize=_SIZES)
def forward(
    state, alive, fire, out, out_alive, tape, life, kernel, w1, b1, w2, b2, t, batch, height, width, threshold,
    per_model, C: tl.constexpr, CP: tl.constexpr, HP: tl.constexpr, BH: tl.constexpr, BN: tl.constexpr,
    WRAP: tl.constexpr, KEEP: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """One step: from the state before its life mask, and who was alive a step earlier, to the same one step on."""
    sample, cells, cell, inside = _place(height, width, BN)
    model = sample // per_model
    y, x = cell // width, cell % width
    state += sample * cells * C
    alive += sample * cells
    out += sample * cells * C
    out_alive += sample * cells
    now = t * batch + sample
    fire += now * cells
    if tl.load(fire) == HALTED:
        lived, _ = _lives(state, alive, y, x, inside, threshold, height, width, C, WRAP)
        _put(out, cell, inside, _values(state, cell, inside, C, CP), C, CP)
        tl.store(out_alive + cell, tl.load(alive + cell, mask=inside, other=0), mask=inside)
        if KEEP:
            tl.store(life + now * cells + cell, lived.to(tl.uint8), mask=inside)
    else:
        kernel += model * 18
        own = tl.zeros((BN, CP), tl.float32)
        first = tl.zeros((BN, CP), tl.float32)
        second = tl.zeros((BN, CP), tl.float32)
        pre = inside & (cell < 0)
        near = pre
        lived = pre
        for i in tl.static_range(9):
            ny, nx, there = _neighbour(y, x, inside, i // 3 - 1, i % 3 - 1, height, width, WRAP)
            other = ny * width + nx
            lives, opaque = _lives(state, alive, ny, nx, there, threshold, height, width, C, WRAP)
            value = _values(state, other, lives, C, CP)
            first += tl.load(kernel + i) * value
            second += tl.load(kernel + 9 + i) * value
            pre = pre | (tl.load(state + other * C + 3, mask=lives, other=0.0) > threshold)
            near = near | opaque
            if i == 4:
                own = value
                lived = lives
        # A dead cell's update counts where it turns opaque beside a living one: so all that fire near
        # an opaque cell are updated, not only the living.
        active = near & (tl.load(fire + cell, mask=inside, other=0) != 0)
        after = own
        if tl.max(active.to(tl.int32), 0) > 0:
            change = _change(
                own, first, second, w1 + model * 3 * CP * HP, b1 + model * HP, w2 + model * HP * CP, b2 + model * CP,
                CP, HP, BH, DOT,
            )  # fmt: skip
            after = own + tl.where(active[:, None], change, 0.0)
        _put(out, cell, inside, after, C, CP)
        tl.store(out_alive + cell, pre.to(tl.uint8), mask=inside)
        if KEEP:
            _put(tape + now * cells * C, cell, inside, own, C, CP)
            tl.store(life + now * cells + cell, lived.to(tl.uint8), mask=inside)


@triton.jit(do_not_specialize=_SIZES)
def mask(
    state, alive, out, life, t, batch, height, width, threshold, per_model, C: tl.constexpr, CP: tl.constexpr,
    BN: tl.constexpr, WRAP: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    """The life mask that the last step left open."""
    sample, cells, cell, inside = _place(height, width, BN)
    state += sample * cells * C
    alive += sample * cells
    lives, _ = _lives(state, alive, cell // width, cell % width, inside, threshold, height, width, C, WRAP)
    _put(out + sample * cells * C, cell, inside, _values(state, cell, lives, C, CP), C, CP)
    if KEEP:
        tl.store(life + (t * batch + sample) * cells + cell, lives.to(tl.uint8), mask=inside)


@triton.jit
def _gradient(given, size, cell, inside, kernel, height, width, C: tl.constexpr, CP: tl.constexpr, WRAP: tl.constexpr):
    """By the state of cells: what they had themselves, and what all that saw them pass on, the filters turned round."""
    gradient = _values(given, cell, inside, C, CP)
    y, x = cell // width, cell % width
    for i in tl.static_range(9):
        ny, nx, there = _neighbour(y, x, inside, i // 3 - 1, i % 3 - 1, height, width, WRAP)
        other = ny * width + nx
        gradient += tl.load(kernel + 8 - i) * _values(given + size, other, there, C, CP)
        gradient += tl.load(kernel + 17 - i) * _values(given + 2 * size, other, there, C, CP)
    return gradient


@triton.jit(do_not_specialize=_SIZES)
def backward(
    given, out, wanted, tape, life, fire, kernel, w1, b1, w2, t, batch, height, width, per_model,
    C: tl.constexpr, CP: tl.constexpr, HP: tl.constexpr, BH: tl.constexpr, BN: tl.constexpr, WRAP: tl.constexpr,
    DOT: tl.constexpr,
):  # fmt: skip
    """One step back. `given` and `out` [3, batch, cells, C]: gradients by own state and by both filters' results."""
    sample, cells, cell, inside = _place(height, width, BN)
    model = sample // per_model
    size = batch * cells.to(tl.int64) * C
    given += sample * cells * C
    out += sample * cells * C
    now = t * batch + sample
    fire += now * cells
    if tl.load(fire) == HALTED:
        for block in tl.static_range(3):
            _put(out + block * size, cell, inside, _values(given + block * size, cell, inside, C, CP), C, CP)
    else:
        kernel += model * 18
        w1 += model * 3 * CP * HP
        b1 += model * HP
        w2 += model * HP * CP
        gradient = _gradient(given, size, cell, inside, kernel, height, width, C, CP, WRAP)
        lives = tl.load(life + (now + batch) * cells + cell, mask=inside, other=0) != 0
        gradient = tl.where(lives[:, None], gradient, 0.0)
        active = lives & (tl.load(fire + cell, mask=inside, other=0) != 0)
        output = tl.where(active[:, None], gradient, 0.0)
        _put(wanted + now * cells * C, cell, inside, output, C, CP)
        first_back = tl.zeros((BN, CP), tl.float32)
        second_back = tl.zeros((BN, CP), tl.float32)
        if tl.max(active.to(tl.int32), 0) > 0:
            tape += now * cells * C
            own = _values(tape, cell, inside, C, CP)
            first, second = _filtered(
                tape, cell // width, cell % width, inside, kernel, height, width, C, CP, WRAP
            )  # fmt: skip
            for start in range(0, HP, BH):
                unit = start + tl.arange(0, BH)
                _, back = _back(own, first, second, output, w1, b1, w2, unit, CP, HP, DOT)
                gradient += _dot(back, tl.trans(_block(w1, 0, unit, CP, HP)), DOT)
                first_back += _dot(back, tl.trans(_block(w1, 1, unit, CP, HP)), DOT)
                second_back += _dot(back, tl.trans(_block(w1, 2, unit, CP, HP)), DOT)
        _put(out, cell, inside, gradient, C, CP)
        _put(out + size, cell, inside, first_back, C, CP)
        _put(out + 2 * size, cell, inside, second_back, C, CP)


@triton.jit(do_not_specialize=_SIZES)
def fold(
    given, out, kernel, batch, height, width, per_model, C: tl.constexpr, CP: tl.constexpr, BN: tl.constexpr,
    WRAP: tl.constexpr,
):  # fmt: skip
    """The gradient by the first state, from what the last step back left."""
    sample, cells, cell, inside = _place(height, width, BN)
    size = batch * cells.to(tl.int64) * C
    kernel += sample // per_model * 18
    gradient = _gradient(given + sample * cells * C, size, cell, inside, kernel, height, width, C, CP, WRAP)
    _put(out + sample * cells * C, cell, inside, gradient, C, CP)


@triton.jit(do_not_specialize=_SIZES)
def weights(
    wanted, tape, fire, kernel, w1, b1, w2, sums, t, batch, height, width, per_model, C: tl.constexpr,
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
    kernel += model * 18
    w1 += model * 3 * CP * HP
    b1 += model * HP
    w2 += model * HP * CP
    back_own = tl.zeros((CP, BH), tl.float32)
    back_first = tl.zeros((CP, BH), tl.float32)
    back_second = tl.zeros((CP, BH), tl.float32)
    back_output = tl.zeros((BH, CP), tl.float32)
    back_hidden_bias = tl.zeros((BH,), tl.float32)
    back_output_bias = tl.zeros((CP,), tl.float32)
    blocks = tl.cdiv(cells, BN)
    for number in range(part, t * per_model * blocks, PARTS):
        sample = model * per_model + number // blocks % per_model
        now = (number // blocks // per_model * batch + sample).to(tl.int64)
        cell = number % blocks * BN + tl.arange(0, BN)
        inside = tl.load(fire + now * cells + cell, mask=cell < cells, other=HALTED) != HALTED
        output = _values(wanted + now * cells * C, cell, inside, C, CP)
        if tl.max(tl.max(tl.abs(output), 1), 0) != 0:
            state = tape + now * cells * C
            own = _values(state, cell, inside, C, CP)
            first, second = _filtered(
                state, cell // width, cell % width, inside, kernel, height, width, C, CP, WRAP
            )  # fmt: skip
            seen, back = _back(own, first, second, output, w1, b1, w2, unit, CP, HP, DOT)
            back_own += _dot(tl.trans(own), back, DOT)
            back_first += _dot(tl.trans(first), back, DOT)
            back_second += _dot(tl.trans(second), back, DOT)
            back_output += _dot(tl.trans(tl.maximum(seen, 0.0)), output, DOT)
            back_hidden_bias += tl.sum(back, 0)
            back_output_bias += tl.sum(output, 0)
    sums += (part.to(tl.int64) * tl.num_programs(2) + model) * (4 * CP * HP + HP + CP)
    at = sums + channel[:, None] * HP + unit[None, :]
    tl.store(at, back_own)
    tl.store(at + CP * HP, back_first)
    tl.store(at + 2 * CP * HP, back_second)
    tl.store(sums + 3 * CP * HP + unit[:, None] * CP + channel[None, :], back_output)
    tl.store(sums + 4 * CP * HP + unit, back_hidden_bias)
    if tl.program_id(1) == 0:
        tl.store(sums + 4 * CP * HP + HP + channel, back_output_bias)
