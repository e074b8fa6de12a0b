"""TODO."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ncatool.config.names import Precision
from ncatool.config.schema import ModelConfig
from ncatool.engine.compiled import State
from ncatool.nca.rule import Linear, step
from ncatool.nca.types import Fire, Parameters
from ncatool.nca.weights import Weights


class _RoundedLinear(torch.autograd.Function):
    """A layer whose products take bfloat16 factors and sum in float32, forward and backward."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        values, weight = _round_to_bfloat16(values), _round_to_bfloat16(weight)
        ctx.save_for_backward(values, weight)
        return F.linear(values, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        values, weight = ctx.saved_tensors
        flat, rounded = gradient.flatten(0, -2), _round_to_bfloat16(gradient)
        return rounded @ weight, rounded.flatten(0, -2).T @ values.flatten(0, -2), flat.sum(0)


def _round_to_bfloat16(values: Tensor) -> Tensor:
    return values.to(torch.bfloat16).to(values.dtype)


LINEAR_BY_PRECISION: dict[Precision, Linear] = {
    Precision.FLOAT32: F.linear,
    Precision.BFLOAT16: _RoundedLinear.apply,
}


class _DenseTape(NamedTuple):
    start: State
    final: State
    parameters: Parameters


class DenseEngine:
    """The dense rule and autograd: any device, any dtype."""

    def __init__(
        self,
        model: ModelConfig,
        parameters: Parameters,
        height: int,
        width: int,
        precision: Precision = Precision.FLOAT32,
    ) -> None:
        self._model, self._parameters, self._cells = model, parameters, height * width
        self._linear = LINEAR_BY_PRECISION[precision]

    def step_bytes(self, batch: int) -> int:
        """Perception twice, hidden units before and after relu, a few states and masks."""
        values = 10 * self._model.channels + 2 * self._model.hidden
        return batch * self._cells * values * self._parameters[0].element_size()

    def run(self, state: State, fire: Fire) -> State:
        with torch.no_grad():
            return self._steps(state, Weights(*self._parameters), fire)

    def record(self, state: State, fire: Fire) -> _DenseTape:
        start = state.detach().requires_grad_()
        w1, b1, w2, b2 = (parameter.detach().requires_grad_() for parameter in self._parameters)
        with torch.enable_grad():
            final = self._steps(start, Weights(w1, b1, w2, b2), fire)
        return _DenseTape(start, final, (w1, b1, w2, b2))

    def reverse(self, tape: _DenseTape, gradient: State) -> tuple[State, Parameters]:
        first, w1, b1, w2, b2 = torch.autograd.grad(tape.final, (tape.start, *tape.parameters), gradient)
        return first, (w1, b1, w2, b2)

    def _steps(self, state: State, weights: Weights, fire: Fire) -> State:
        for mask in fire:
            state = step(state, weights, self._model, mask, self._linear)
        return state
