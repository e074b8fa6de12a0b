"""The rule as GPU kernels, in Triton: for a step, a step back, the last life mask, the first state, and the weights.

A program takes BN cells of one sample, and the weights and filter of the sample's model.

A step reads the state that the previous one wrote without its life mask, and computes for every neighbour whether it
lived on: so a step is one launch, and no program waits for another. `alive` says which cells were alive before that
step; it is MASKED where no life mask is pending. `fire` is HALTED for all cells of a sample whose rollout is over.

Shapes, where `cells` is height · width:
- of a step: `state` and `out` [batch, cells, C], `alive` and `out_alive` [batch, cells];
- of all steps: `fire` [steps, batch, cells]; `tape` [steps, batch, cells, C], the states before each step; `life`
  [steps + 1, batch, cells], which cells lived in them; `output_gradient` as `tape`, the gradients by the
  network's output;
- of all models: `filters` [models, 2, 9], `w1` [models, 3, CP, HP], `b1` [models, HP], `w2` [models, HP, CP], `b2`
  [models, CP].
"""

# mypy: ignore-errors

import triton
import triton.language as tl

from ncatool.engine.gpu_functions import (
    HALTED,
    apply_filters,
    backpropagate_to_hidden,
    compute_change,
    find_neighbours,
    gather_gradient,
    is_alive,
    load_channels,
    load_hidden_weights,
    locate_cells,
    multiply,
    store_channels,
)

SIZES = ["batch", "height", "width", "per_model", "t"]
"""Arguments whose values no kernel is specialised for."""


@triton.jit(do_not_specialize=SIZES)
def step_forward(
    state, alive, fire, out, out_alive, tape, life, filters, w1, b1, w2, b2, t, batch, height, width, threshold,
    per_model, C: tl.constexpr, CP: tl.constexpr, HP: tl.constexpr, BH: tl.constexpr, BN: tl.constexpr,
    WRAP: tl.constexpr, KEEP: tl.constexpr, DOT: tl.constexpr,
):  # fmt: skip
    """Advance one step.

    From a state whose life mask is pending, and which cells were alive before it, to the same one step later.
    """
    sample, cells, cell, inside = locate_cells(height, width, BN)
    model = sample // per_model
    y, x = cell // width, cell % width
    state += sample * cells * C
    alive += sample * cells
    out += sample * cells * C
    out_alive += sample * cells
    frame = t * batch + sample
    fire += frame * cells
    if tl.load(fire) == HALTED:
        alive_now, _ = is_alive(state, alive, y, x, inside, threshold, height, width, C, WRAP)
        store_channels(out, cell, inside, load_channels(state, cell, inside, C, CP), C, CP)
        tl.store(out_alive + cell, tl.load(alive + cell, mask=inside, other=0), mask=inside)
        if KEEP:
            tl.store(life + frame * cells + cell, alive_now.to(tl.uint8), mask=inside)
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
            living, near_opaque = is_alive(state, alive, ny, nx, on_grid, threshold, height, width, C, WRAP)
            value = load_channels(state, other, living, C, CP)
            first += tl.load(filters + i) * value
            second += tl.load(filters + 9 + i) * value
            pre = pre | (tl.load(state + other * C + 3, mask=living, other=0.0) > threshold)
            near = near | near_opaque
            if i == 4:
                own = value
                alive_now = living
        # A dead cell that turns opaque keeps a living neighbour alive: so all cells that fire near an
        # opaque one are updated, not only the living.
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
            store_channels(tape + frame * cells * C, cell, inside, own, C, CP)
            tl.store(life + frame * cells + cell, alive_now.to(tl.uint8), mask=inside)


@triton.jit(do_not_specialize=SIZES)
def apply_life_mask(
    state, alive, out, life, t, batch, height, width, threshold, per_model, C: tl.constexpr, CP: tl.constexpr,
    BN: tl.constexpr, WRAP: tl.constexpr, KEEP: tl.constexpr,
):  # fmt: skip
    """Apply the life mask that the last step left pending."""
    sample, cells, cell, inside = locate_cells(height, width, BN)
    state += sample * cells * C
    alive += sample * cells
    living, _ = is_alive(state, alive, cell // width, cell % width, inside, threshold, height, width, C, WRAP)
    store_channels(out + sample * cells * C, cell, inside, load_channels(state, cell, living, C, CP), C, CP)
    if KEEP:
        tl.store(life + (t * batch + sample) * cells + cell, living.to(tl.uint8), mask=inside)


@triton.jit(do_not_specialize=SIZES)
def step_backward(
    gradients, out, output_gradient, tape, life, fire, filters, w1, b1, w2, t, batch, height, width, per_model,
    C: tl.constexpr, CP: tl.constexpr, HP: tl.constexpr, BH: tl.constexpr, BN: tl.constexpr, WRAP: tl.constexpr,
    DOT: tl.constexpr,
):  # fmt: skip
    """Go back one step.

    `gradients` and `out` are [3, batch, cells, C]: gradients by a cell's own state and by both filters' results.
    """
    sample, cells, cell, inside = locate_cells(height, width, BN)
    model = sample // per_model
    size = batch * cells.to(tl.int64) * C
    gradients += sample * cells * C
    out += sample * cells * C
    frame = t * batch + sample
    fire += frame * cells
    if tl.load(fire) == HALTED:
        for block in tl.static_range(3):
            kept = load_channels(gradients + block * size, cell, inside, C, CP)
            store_channels(out + block * size, cell, inside, kept, C, CP)
    else:
        filters += model * 18
        w1 += model * 3 * CP * HP
        b1 += model * HP
        w2 += model * HP * CP
        gradient = gather_gradient(gradients, size, cell, inside, filters, height, width, C, CP, WRAP)
        living = tl.load(life + (frame + batch) * cells + cell, mask=inside, other=0) != 0
        gradient = tl.where(living[:, None], gradient, 0.0)
        active = living & (tl.load(fire + cell, mask=inside, other=0) != 0)
        output = tl.where(active[:, None], gradient, 0.0)
        store_channels(output_gradient + frame * cells * C, cell, inside, output, C, CP)
        first_gradient = tl.zeros((BN, CP), tl.float32)
        second_gradient = tl.zeros((BN, CP), tl.float32)
        if tl.max(active.to(tl.int32), 0) > 0:
            tape += frame * cells * C
            own = load_channels(tape, cell, inside, C, CP)
            first, second = apply_filters(
                tape, cell // width, cell % width, inside, filters, height, width, C, CP, WRAP
            )  # fmt: skip
            for start in range(0, HP, BH):
                unit = start + tl.arange(0, BH)
                _, hidden_gradient = backpropagate_to_hidden(own, first, second, output, w1, b1, w2, unit, CP, HP, DOT)
                gradient += multiply(hidden_gradient, tl.trans(load_hidden_weights(w1, 0, unit, CP, HP)), DOT)
                first_gradient += multiply(hidden_gradient, tl.trans(load_hidden_weights(w1, 1, unit, CP, HP)), DOT)
                second_gradient += multiply(hidden_gradient, tl.trans(load_hidden_weights(w1, 2, unit, CP, HP)), DOT)
        store_channels(out, cell, inside, gradient, C, CP)
        store_channels(out + size, cell, inside, first_gradient, C, CP)
        store_channels(out + 2 * size, cell, inside, second_gradient, C, CP)


@triton.jit(do_not_specialize=SIZES)
def finish_backward(
    gradients, out, filters, batch, height, width, per_model, C: tl.constexpr, CP: tl.constexpr, BN: tl.constexpr,
    WRAP: tl.constexpr,
):  # fmt: skip
    """Write the gradient by the first state, from what `step_backward` left for it."""
    sample, cells, cell, inside = locate_cells(height, width, BN)
    size = batch * cells.to(tl.int64) * C
    filters += sample // per_model * 18
    gradient = gather_gradient(gradients + sample * cells * C, size, cell, inside, filters, height, width, C, CP, WRAP)
    store_channels(out + sample * cells * C, cell, inside, gradient, C, CP)


@triton.jit(do_not_specialize=SIZES)
def sum_weight_gradients(
    output_gradient, tape, fire, filters, w1, b1, w2, sums, t, batch, height, width, per_model, C: tl.constexpr,
    CP: tl.constexpr, HP: tl.constexpr, BH: tl.constexpr, BN: tl.constexpr, PARTS: tl.constexpr, WRAP: tl.constexpr,
    DOT: tl.constexpr,
):  # fmt: skip
    """Sum the gradients by the weights of some hidden units, over one part of the cells of `t` steps.

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
        frame = (block // blocks // per_model * batch + sample).to(tl.int64)
        cell = block % blocks * BN + tl.arange(0, BN)
        inside = tl.load(fire + frame * cells + cell, mask=cell < cells, other=HALTED) != HALTED
        output = load_channels(output_gradient + frame * cells * C, cell, inside, C, CP)
        if tl.max(tl.max(tl.abs(output), 1), 0) != 0:
            state = tape + frame * cells * C
            own = load_channels(state, cell, inside, C, CP)
            first, second = apply_filters(
                state, cell // width, cell % width, inside, filters, height, width, C, CP, WRAP
            )  # fmt: skip
            hidden, hidden_gradient = backpropagate_to_hidden(own, first, second, output, w1, b1, w2, unit, CP, HP, DOT)
            own_sum += multiply(tl.trans(own), hidden_gradient, DOT)
            first_sum += multiply(tl.trans(first), hidden_gradient, DOT)
            second_sum += multiply(tl.trans(second), hidden_gradient, DOT)
            output_sum += multiply(tl.trans(tl.maximum(hidden, 0.0)), output, DOT)
            hidden_bias_sum += tl.sum(hidden_gradient, 0)
            output_bias_sum += tl.sum(output, 0)
    sums += (part.to(tl.int64) * tl.num_programs(2) + model) * (4 * CP * HP + HP + CP)
    pointer = sums + channel[:, None] * HP + unit[None, :]
    tl.store(pointer, own_sum)
    tl.store(pointer + CP * HP, first_sum)
    tl.store(pointer + 2 * CP * HP, second_sum)
    tl.store(sums + 3 * CP * HP + unit[:, None] * CP + channel[None, :], output_sum)
    tl.store(sums + 4 * CP * HP + unit, hidden_bias_sum)
    if tl.program_id(1) == 0:
        tl.store(sums + 4 * CP * HP + HP + channel, output_bias_sum)
