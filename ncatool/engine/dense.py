"""The dense rule under autograd, as an engine: for every device and dtype, where nothing faster runs."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ncatool.config.names import Precision
from ncatool.config.schema import ModelConfig
from ncatool.engine.interface import Tape
from ncatool.nca.rule import Linear, step
from ncatool.nca.types import Fire, Parameters, State
from ncatool.nca.weights import Weights


class _RoundedLinear(torch.autograd.Function):
    """A layer whose products have bfloat16 factors and float32 sums, forward and backward."""

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


class _Graph(NamedTuple):
    """The ends of autograd's graph of a rollout."""

    start: State
    parameters: Parameters
    final: State


class DenseEngine:
    """The dense rule under autograd, for one model, its weights and one size of grid."""

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
        """Estimate the memory of one step: perception twice, hidden units before and after relu, states and masks."""
        values = 10 * self._model.channels + 2 * self._model.hidden
        return batch * self._cells * values * self._parameters[0].element_size()

    def run(self, state: State, fire: Fire) -> State:
        """Return the state after all steps of `fire`."""
        with torch.no_grad():
            return self._steps(state, Weights(*self._parameters), fire)

    def record(self, state: State, fire: Fire) -> Tape[_Graph]:
        """Run all steps of `fire`, and keep what `reverse` needs."""
        start = state.detach().requires_grad_()
        w1, b1, w2, b2 = (parameter.detach().requires_grad_() for parameter in self._parameters)
        with torch.enable_grad():
            final = self._steps(start, Weights(w1, b1, w2, b2), fire)
        return Tape(final.detach(), _Graph(start, (w1, b1, w2, b2), final))

    def reverse(self, tape: Tape[_Graph], gradient: State) -> tuple[State, Parameters]:
        """Return the gradients by the first state and by the parameters, from the gradient by the final state."""
        graph = tape.release()
        first, w1, b1, w2, b2 = torch.autograd.grad(graph.final, (graph.start, *graph.parameters), gradient)
        return first, (w1, b1, w2, b2)

    def _steps(self, state: State, weights: Weights, fire: Fire) -> State:
        for mask in fire:
            state = step(state, weights, self._model, mask, self._linear)
        return state
