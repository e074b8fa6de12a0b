"""Notices training that goes wrong and brings it back: dead cells, losses that are not finite, explosions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ncatool.errors import NcatoolError
from ncatool.nca.state import living
from ncatool.nca.tensor_file import below
from ncatool.training.adam import Adam

EXPLODED = 100.0
"""A value beyond this in any channel: the state has exploded."""


EVERY = 25
"""Good iterations between two snapshots."""


RECOVERY = 1.01
"""Factor by which a good iteration raises a lowered learning rate again, once good ones have lasted."""


PATIENCE = 5
"""Restorations, without two snapshots' worth of good iterations between them, after which training stops."""


@dataclass(frozen=True)
class Verdict:
    """What came out of a rollout."""

    bad: Bool[Tensor, "batch"]
    """Samples that must not go back to the pool; on the CPU."""
    trouble: str
    """What forbids to learn from this batch; empty where nothing does."""

    @property
    def good(self) -> bool:
        return not self.trouble


def judge(
    states: Float[Tensor, "batch height width channel"], losses: Float[Tensor, "batch"], threshold: float
) -> Verdict:
    """Looks at the final states of a batch and their losses, once: a look makes a GPU wait."""
    # One that is not finite compares false, and counts as exploded.
    exploding = ~(states.abs().amax(dim=(1, 2, 3)) <= EXPLODED)
    looked_at = torch.stack([~living(states, threshold), exploding, torch.isfinite(losses)])
    dead, exploded, finite = looked_at.cpu()
    trouble = ""
    if not finite.all():
        trouble = "loss is not finite"
    elif exploded.any():
        trouble = f"{int(exploded.sum())} of {len(states)} states exploded"
    elif dead.all():
        trouble = "every cell died"
    return Verdict(dead | exploded, trouble)


class Snapshot(NamedTuple):
    """Weights and optimiser of a good moment."""

    iteration: int
    tensors: dict[str, Tensor]


class Guard:
    """Keeps the last good weights, and restores them with a halved learning rate when a batch goes wrong."""

    def __init__(self, parameters: list[Tensor], optimiser: Adam) -> None:
        self._parameters, self._optimiser = parameters, optimiser
        self.failures = 0
        self.good = 0
        self.caution = 1.0
        """Factor on the learning rate."""
        self.snapshots = [self._snapshot(0)]

    def _snapshot(self, iteration: int) -> Snapshot:
        weights = {f"weights.{i}": tensor.detach().cpu().clone() for i, tensor in enumerate(self._parameters)}
        optimiser = {f"optimiser.{name}": tensor for name, tensor in self._optimiser.tensors().items()}
        return Snapshot(iteration, {**weights, **optimiser})

    def act(self, verdict: Verdict, iteration: int) -> tuple[str, ...]:
        """Answers a verdict; the events are for the report.

        Raises NcatoolError after repeated failures, the last good weights restored.
        """
        if verdict.good:
            self._praise(iteration)
            bad = int(verdict.bad.sum())
            return (f"{bad} dead state{'s' * (bad > 1)} replaced by the seed",) if bad else ()
        self._roll_back()
        if self.failures > PATIENCE:
            raise NcatoolError(
                f"training failed {self.failures} times, at last in iteration {iteration + 1}: {verdict.trouble}",
                "the last good model is saved; try a lower --learning-rate or another --seed",
            )
        return (f"{verdict.trouble}: weights of iteration {self.snapshots[0].iteration} restored",)

    def _praise(self, iteration: int) -> None:
        self.good += 1
        if self.good % EVERY == 0:
            # The newest may already be on the way to failure: two are kept, the older is restored.
            self.snapshots = [self.snapshots[-1], self._snapshot(iteration + 1)]
        if self.good >= 2 * EVERY:
            self.failures = 0
            self.caution = min(1.0, self.caution * RECOVERY)

    def _roll_back(self) -> None:
        self.failures += 1
        self.good = 0
        self.caution /= 2
        self.snapshots = self.snapshots[:1]
        tensors = self.snapshots[0].tensors
        with torch.no_grad():
            for i, parameter in enumerate(self._parameters):
                parameter.copy_(tensors[f"weights.{i}"])
        self._optimiser.load(below(tensors, "optimiser."))

    def tensors(self) -> dict[str, Tensor]:
        """The snapshots' tensors, by `snapshot.name`."""
        return {f"{i}.{name}": tensor for i, kept in enumerate(self.snapshots) for name, tensor in kept.tensors.items()}

    def numbers(self) -> dict[str, Any]:
        """Everything else that the guard remembers."""
        iterations = [snapshot.iteration for snapshot in self.snapshots]
        return {"failures": self.failures, "good": self.good, "caution": self.caution, "snapshots": iterations}

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Goes back to the moment that `tensors` and `numbers` are of."""
        self.failures, self.good, self.caution = numbers["failures"], numbers["good"], numbers["caution"]
        iterations = enumerate(numbers["snapshots"])
        self.snapshots = [Snapshot(iteration, below(tensors, f"{i}.")) for i, iteration in iterations]
