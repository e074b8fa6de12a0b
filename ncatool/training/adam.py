"""Adam, by the operations of `torch.optim.Adam` and thus with the same bits on the CPU.

That class loads torch's compiler when it is first used, which takes a second.
Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2014.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

MEAN_DECAY, SQUARE_DECAY = 0.9, 0.999
EPSILON = 1e-8


class Adam:
    """Parameters and the moments of their gradients; there are none before the first step."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = list(parameters)
        self._state: list[dict[str, Tensor]] = []

    @staticmethod
    def list_parts(shape: Sequence[int]) -> tuple[str, ...]:
        """Return the names of what is kept for a parameter of this shape."""
        return ("step", "exp_avg", "exp_avg_sq")

    def zero_grad(self) -> None:
        """Remove the gradients of all parameters."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Take one optimiser step with this learning rate."""
        if not self._state:
            self._state = [_initial_state(parameter) for parameter in self.parameters]
        for parameter, entry in zip(self.parameters, self._state, strict=True):
            if parameter.grad is not None:
                _update(parameter, parameter.grad, entry, rate)

    def state_tensors(self) -> dict[str, Tensor]:
        """Return copies of the moments and step counts on the CPU, named `parameter.name`."""
        return {
            f"{i}.{name}": value.cpu().clone() for i, entry in enumerate(self._state) for name, value in entry.items()
        }

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state_tensors` returned."""
        self._state = [
            {
                name: tensors[f"{i}.{name}"].to(like.device, copy=True)
                for name, like in _initial_state(parameter).items()
            }
            for i, parameter in enumerate(self.parameters)
            if tensors
        ]


def _update(parameter: Tensor, gradient: Tensor, entry: dict[str, Tensor], rate: float) -> None:
    """Update a parameter and its moments in place."""
    mean, square, step = entry["exp_avg"], entry["exp_avg_sq"], entry["step"]
    step += 1
    count = step.item()
    mean.lerp_(gradient, 1 - MEAN_DECAY)
    square.mul_(SQUARE_DECAY).addcmul_(gradient, gradient, value=1 - SQUARE_DECAY)
    denominator = (square.sqrt() / (1 - SQUARE_DECAY**count) ** 0.5).add_(EPSILON)
    parameter.addcdiv_(mean, denominator, value=-rate / (1 - MEAN_DECAY**count))


def _initial_state(parameter: Tensor) -> dict[str, Tensor]:
    """Return the state before the first step; as in torch, the count of steps stays on the CPU."""
    zeros = torch.zeros_like(parameter, requires_grad=False)
    return {"step": torch.tensor(0.0), "exp_avg": zeros, "exp_avg_sq": zeros.clone()}
