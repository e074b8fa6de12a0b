"""Muon: the momentum of each matrix is made orthogonal before it is added; Adam for all else.

Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024,
https://kellerjordan.github.io/posts/muon. Not `torch.optim.Muon`: torch 2.8 has none, it rounds to bfloat16, and its
package takes a second to load.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ncatool.config.names import Optimiser
from ncatool.training.adam import Adam

MOMENTUM = 0.95
NEWTON_SCHULZ_STEPS = 5
_A, _B, _C = 3.4445, -4.7750, 2.0315
"""Coefficients of the polynomial that moves all singular values near 1, in five steps."""


class Muon:
    """Parameters, the momentum of matrices, and the moments of the rest; there are none before the first step."""

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = list(parameters)
        self._matrices = {i: one for i, one in enumerate(self.parameters) if one.ndim == 2}
        self._others = [i for i in range(len(self.parameters)) if i not in self._matrices]
        self._adam = Adam([self.parameters[i] for i in self._others])
        self._momenta: dict[int, Tensor] = {}

    @staticmethod
    def list_parts(shape: Sequence[int]) -> tuple[str, ...]:
        """Return the names of what is kept for a parameter of this shape."""
        return ("momentum",) if len(shape) == 2 else Adam.list_parts(shape)

    def zero_grad(self) -> None:
        """Remove the gradients of all parameters."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Take one optimiser step with this learning rate."""
        self._adam.step(rate)
        for i, parameter in self._matrices.items():
            momentum = self._momenta.setdefault(i, torch.zeros_like(parameter, requires_grad=False))
            if parameter.grad is not None:
                momentum.lerp_(parameter.grad, 1 - MOMENTUM)
                direction = orthogonalise(parameter.grad.lerp(momentum, MOMENTUM))
                rows, columns = parameter.shape
                parameter.add_(direction, alpha=-rate * max(1, rows / columns) ** 0.5)

    def state_tensors(self) -> dict[str, Tensor]:
        """Return copies of momenta, moments and step counts on the CPU, named `parameter.name`."""
        moments = self._adam.state_tensors().items()
        return {
            **{f"{i}.momentum": momentum.cpu().clone() for i, momentum in self._momenta.items()},
            **{f"{self._others[int(i)]}.{rest}": one for name, one in moments for i, rest in [name.split(".")]},
        }

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what `state_tensors` returned."""
        self._momenta = {
            i: tensors[f"{i}.momentum"].to(parameter.device, copy=True)
            for i, parameter in self._matrices.items()
            if tensors
        }
        others = {str(i): str(j) for j, i in enumerate(self._others)}
        split = {tuple(name.split(".")): tensor for name, tensor in tensors.items()}
        self._adam.load_state({f"{others[i]}.{rest}": one for (i, rest), one in split.items() if i in others})


def orthogonalise(matrix: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    """Return nearly the orthogonal matrix nearest to a matrix: its singular values lie between about 0.7 and 1.2."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return x.T if tall else x


OPTIMISERS: dict[Optimiser, type[Adam] | type[Muon]] = {Optimiser.ADAM: Adam, Optimiser.MUON: Muon}
"""What each name stands for."""
