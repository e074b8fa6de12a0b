"""The rule of `model`, many steps, forward and backward, fast.

On the CPU the compiled rollout of `native` does the work, through only the cells that live and
fire; on a GPU the kernels of `gpu` do; elsewhere (and where no C compiler or no Triton is at hand) the
dense rule runs under autograd. All give what `model.step` gives, and all bound their memory: where the
steps of a rollout take too much, only some states are kept and the steps between them are repeated in
the backward pass.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from ncatool.config.names import Precision
from ncatool.config.schema import ModelConfig
from ncatool.engine.choose import create_engine
from ncatool.engine.compiled import State
from ncatool.engine.device import memory_limit
from ncatool.engine.interface import Engine
from ncatool.nca.state import has_living_cells
from ncatool.nca.types import Parameters
from ncatool.nca.weights import Weights

MAX_TAPE_BYTES = 512 * 2**20
"""Bytes that the steps kept for a backward pass may take; on a GPU a quarter of its own."""


_MAX_DRAWS = 2**22
"""Random numbers held in memory at a time."""


class _Rollout(torch.autograd.Function):
    """A whole rollout as one node of the graph."""

    @staticmethod
    def forward(
        ctx: Any, state: Tensor, fire: Tensor, engine: Callable[[Parameters], Engine], *parameters: Tensor
    ) -> Tensor:
        w1, b1, w2, b2 = parameters
        ctx.engine = engine((w1, b1, w2, b2))
        length = max(1, memory_limit(state.device, MAX_TAPE_BYTES) // ctx.engine.step_bytes(len(state)))
        ctx.whole = length >= len(fire)
        if ctx.whole:
            ctx.tape = ctx.engine.record(state, fire)
            return ctx.tape.final.detach()
        # As many states as steps between two of them: the least memory for one repetition.
        length = min(length, max(1, round(len(fire) ** 0.5)))
        ctx.parts = fire.split(length)
        ctx.starts = [state]
        for part in ctx.parts:
            ctx.starts.append(ctx.engine.run(ctx.starts[-1], part))
        return ctx.starts.pop()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        if ctx.whole:
            tape, ctx.tape = ctx.tape, None
            gradient, parameters = ctx.engine.reverse(tape, gradient)
            return gradient, None, None, *parameters
        sums: list[Tensor] | None = None
        for start, part in zip(reversed(ctx.starts), reversed(ctx.parts), strict=True):
            gradient, parameters = ctx.engine.reverse(ctx.engine.record(start, part), gradient)
            sums = [a + b for a, b in zip(sums, parameters, strict=True)] if sums else list(parameters)
        return gradient, None, None, *(sums or [])


def draw_fire_masks(
    steps: int, state: State, fire_rate: float, generator: torch.Generator
) -> Bool[Tensor, "steps batch height width"]:
    """Which cells update in which step, on the state's device; drawn where `generator` lives."""
    shape = state.shape[:3]
    fire = torch.empty((steps, *shape), dtype=torch.bool, device=state.device)
    at_once = max(1, _MAX_DRAWS // shape.numel())
    for part in fire.split(at_once):
        part.copy_(torch.rand(part.shape, generator=generator, device=generator.device) < fire_rate)
    return fire


def fill_parameters(weights: Weights) -> Parameters:
    bias = weights.output_bias
    if bias is None:
        bias = weights.output_weight.new_zeros(len(weights.output_weight))
    return weights.hidden_weight, weights.hidden_bias, weights.output_weight, bias


def rollout(
    state: Float[Tensor, "batch height width channel"],
    weights: Weights,
    model: ModelConfig,
    fire: Bool[Tensor, "steps batch height width"],
    precision: Precision = Precision.FLOAT32,
) -> Float[Tensor, "batch height width channel"]:
    """The state after `len(fire)` steps; differentiable once, in the state and the weights."""
    parameters = fill_parameters(weights)
    if len(fire) == 0:
        return state
    if torch.is_grad_enabled() and any(t.requires_grad for t in (state, *parameters)):
        final: Tensor = _Rollout.apply(
            state, fire, lambda own: create_engine(state, model, own, precision), *parameters
        )  # type: ignore[no-untyped-call]
        return final
    return create_engine(state, model, parameters, precision).run(state, fire)


def count_living_steps(
    state: Float[Tensor, "1 height width channel"],
    weights: Weights,
    model: ModelConfig,
    fire: Bool[Tensor, "steps 1 height width"],
    precision: Precision = Precision.FLOAT32,
) -> int:
    """Steps after which a state that dies within `len(fire)` steps still lives.

    Found by bisection: what is dead stays dead, and costs nothing.
    """

    def dies(steps: int) -> bool:
        return not has_living_cells(rollout(state, weights, model, fire[:steps], precision), model.threshold).item()

    with torch.no_grad():
        return max(0, bisect_left(range(len(fire)), True, key=dies) - 1)
