"""Adam, computed by torch's own function.

`torch.optim.Adam` computes the same, but loads torch's compiler when it is first used, which takes a second.
Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2014.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam


class Adam:
    """Parameters and the moments of their gradients; there are none before the first step."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = list(parameters)
        self._state: list[dict[str, Tensor]] = []

    def zero_grad(self) -> None:
        """Remove the gradients of all parameters."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Take one optimiser step with this learning rate."""
        if not self._state:
            self._state = [_initial_state(parameter) for parameter in self.parameters]
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        means, squares, steps = (
            [entry[name] for entry in self._state] for name in ("exp_avg", "exp_avg_sq", "step")
        )  # fmt: skip
        adam(
            self.parameters, gradients, means, squares, [], steps, amsgrad=False, beta1=0.9, beta2=0.999, lr=rate,
            weight_decay=0.0, eps=1e-8, maximize=False,
        )  # fmt: skip

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


def _initial_state(parameter: Tensor) -> dict[str, Tensor]:
    """Return the state before the first step; as in torch, the count of steps stays on the CPU."""
    zeros = torch.zeros_like(parameter, requires_grad=False)
    return {"step": torch.tensor(0.0), "exp_avg": zeros, "exp_avg_sq": zeros.clone()}
