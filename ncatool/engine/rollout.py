"""The rule of `nca.rule`, many steps, forward and backward, fast.

On the CPU the compiled rollout visits only the cells that live and fire; on a GPU kernels do the work; elsewhere, and
where there is no C compiler or no Triton, the dense rule runs under autograd. All compute what `nca.rule.step` does, in
bounded memory: where the steps of a rollout take too much, only some states are kept, and the steps between them are
repeated in the backward pass.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from ncatool.config.names import Precision
from ncatool.config.schema import ModelConfig
from ncatool.engine.choose import create_engine
from ncatool.engine.device import memory_limit
from ncatool.engine.interface import Engine
from ncatool.nca.state import has_living_cells
from ncatool.nca.types import Fire, Parameters, State
from ncatool.nca.weights import Weights

MAX_TAPE_BYTES = 512 * 2**20
"""Bytes that the steps kept for a backward pass may take; on a GPU a quarter of its own."""

_MAX_DRAWS = 2**22
"""Random numbers held in memory at a time."""


class RolloutFunction(torch.autograd.Function):
    """A whole rollout as one node of autograd's graph."""

    @staticmethod
    def forward(
        ctx: Any, state: Tensor, fire: Tensor, make_engine: Callable[[Parameters], Engine], *parameters: Tensor
    ) -> Tensor:
        """Return the final state of `state` and `fire`; `make_engine` makes the engine from the parameters."""
        w1, b1, w2, b2 = parameters
        ctx.engine = make_engine((w1, b1, w2, b2))
        length = max(1, memory_limit(state.device, MAX_TAPE_BYTES) // ctx.engine.step_bytes(len(state)))
        ctx.whole = length >= len(fire)
        if ctx.whole:
            ctx.tape = ctx.engine.record(state, fire)
            return ctx.tape.final.detach()
        # As many states as steps between two of them: the least memory with each step repeated once.
        length = min(length, max(1, round(len(fire) ** 0.5)))
        ctx.parts = fire.split(length)
        ctx.starts = [state]
        for part in ctx.parts:
            ctx.starts.append(ctx.engine.run(ctx.starts[-1], part))
        return ctx.starts.pop()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients by the state and the parameters; RuntimeError where they were computed before."""
        if ctx.whole:
            gradient, parameters = ctx.engine.reverse(ctx.tape, gradient)
            return gradient, None, None, *parameters
        sums: list[Tensor] | None = None
        for start, part in zip(reversed(ctx.starts), reversed(ctx.parts), strict=True):
            gradient, parameters = ctx.engine.reverse(ctx.engine.record(start, part), gradient)
            sums = [a + b for a, b in zip(sums, parameters, strict=True)] if sums else list(parameters)
        return gradient, None, None, *(sums or [])


def draw_fire_masks(steps: int, state: State, fire_rate: float, generator: torch.Generator) -> Fire:
    """Draw which cells update in which step, for the device of `state`; drawn on the device of `generator`."""
    shape = state.shape[:3]
    fire = torch.empty((steps, *shape), dtype=torch.bool, device=state.device)
    steps_at_once = max(1, _MAX_DRAWS // shape.numel())
    for part in fire.split(steps_at_once):
        part.copy_(torch.rand(part.shape, generator=generator, device=generator.device) < fire_rate)
    return fire


def fill_parameters(weights: Weights) -> Parameters:
    """Return the four tensors of the weights, with zeros where there is no output bias."""
    bias = weights.output_bias
    if bias is None:
        bias = weights.output_weight.new_zeros(len(weights.output_weight))
    return weights.hidden_weight, weights.hidden_bias, weights.output_weight, bias


def rollout(
    state: State, weights: Weights, model: ModelConfig, fire: Fire, precision: Precision = Precision.FLOAT32
) -> State:
    """Return the state after `len(fire)` steps; differentiable once, in the state and the weights."""
    parameters = fill_parameters(weights)
    if len(fire) == 0:
        return state

    def make_engine(tensors: Parameters) -> Engine:
        return create_engine(state, model, tensors, precision)

    if torch.is_grad_enabled() and any(t.requires_grad for t in (state, *parameters)):
        final: Tensor = RolloutFunction.apply(state, fire, make_engine, *parameters)  # type: ignore[no-untyped-call]
        return final
    return make_engine(parameters).run(state, fire)


def count_living_steps(
    state: Float[Tensor, "1 height width channel"],
    weights: Weights,
    model: ModelConfig,
    fire: Fire,
    precision: Precision = Precision.FLOAT32,
) -> int:
    """Return after how many steps a state still lives that dies within `len(fire)` steps.

    Found by bisection: a dead state stays dead, and its steps cost nothing.
    """

    def dies(steps: int) -> bool:
        return not has_living_cells(rollout(state, weights, model, fire[:steps], precision), model.threshold).item()

    with torch.no_grad():
        return max(0, bisect_left(range(len(fire)), True, key=dies) - 1)
