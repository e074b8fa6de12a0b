"""Detection of training that fails (dead cells, exploding states, losses that are not finite), and recovery from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ncatool.errors import NcatoolError
from ncatool.nca.state import has_living_cells
from ncatool.nca.tensor_file import select_prefix
from ncatool.training.adam import Adam
from ncatool.training.muon import Muon

MAX_ABS_TRAINING_STATE = 100.0
"""Largest magnitude of any channel of a state that has not exploded."""


SNAPSHOT_INTERVAL = 25
"""Usable iterations between two snapshots."""


RATE_RECOVERY = 1.01
"""Factor by which a usable iteration raises a lowered learning rate, after two snapshots' worth of them in a row."""

REPLACED, RESTORED = "replaced by the seed", "restored"
"""How the texts of the guard's events end: of states that died, and of a batch that failed."""


MAX_RESTORATIONS = 5
"""Restorations after which training stops, without two snapshots' worth of usable iterations between them."""


@dataclass(frozen=True)
class BatchCheck:
    """Which samples of a batch can be kept, and whether it can be learnt from."""

    rejected: Bool[Tensor, "batch"]
    """Samples that must not be written back to the pool; on the CPU."""
    problem: str
    """Why nothing can be learnt from this batch; empty if it can."""

    @property
    def usable(self) -> bool:
        """Whether the batch can be learnt from."""
        return not self.problem


def check_batch(
    states: Float[Tensor, "batch height width channel"], losses: Float[Tensor, "batch"], threshold: float
) -> BatchCheck:
    """Check the final states of a batch and their losses, with one device synchronisation."""
    # Values that are not finite compare as false, and count as exploded.
    exploding = ~(states.abs().amax(dim=(1, 2, 3)) <= MAX_ABS_TRAINING_STATE)
    flags = torch.stack([~has_living_cells(states, threshold), exploding, torch.isfinite(losses)])
    dead, exploded, finite = flags.cpu()
    problem = ""
    if not finite.all():
        problem = "loss is not finite"
    elif exploded.any():
        problem = f"{int(exploded.sum())} of {len(states)} states exploded"
    elif dead.all():
        problem = "every cell died"
    return BatchCheck(dead | exploded, problem)


class Snapshot(NamedTuple):
    """Weights and optimiser state after a usable iteration."""

    iteration: int
    tensors: dict[str, Tensor]


class Guard:
    """Snapshots of good weights, which are restored with a halved learning rate when a batch fails."""

    def __init__(self, parameters: list[Tensor], optimiser: Adam | Muon) -> None:
        self._parameters, self._optimiser = parameters, optimiser
        self.failures = 0
        self.good_iterations = 0
        self.rate_factor = 1.0
        """Factor on the learning rate."""
        self.snapshots = [self._take_snapshot(0)]

    def _take_snapshot(self, iteration: int) -> Snapshot:
        weights = {f"weights.{i}": tensor.detach().cpu().clone() for i, tensor in enumerate(self._parameters)}
        optimiser = {f"optimiser.{name}": tensor for name, tensor in self._optimiser.state_tensors().items()}
        return Snapshot(iteration, {**weights, **optimiser})

    def handle(self, check: BatchCheck, iteration: int) -> tuple[str, ...]:
        """Take a snapshot or restore one, and return the events for the report.

        Raises NcatoolError after repeated failures, the last good weights restored.
        """
        if check.usable:
            self._record_success(iteration)
            dead = int(check.rejected.sum())
            return (f"{dead} dead state{'s' * (dead > 1)} {REPLACED}",) if dead else ()
        self._roll_back()
        if self.failures > MAX_RESTORATIONS:
            raise NcatoolError(
                f"training failed {self.failures} times, at last in iteration {iteration + 1}: {check.problem}",
                "the last good model is saved; try a lower learning rate or another seed",
            )
        return (f"{check.problem}: weights of iteration {self.snapshots[0].iteration} {RESTORED}",)

    def _record_success(self, iteration: int) -> None:
        self.good_iterations += 1
        if self.good_iterations % SNAPSHOT_INTERVAL == 0:
            # The newest may already be failing, so two are kept and the older one is restored.
            self.snapshots = [self.snapshots[-1], self._take_snapshot(iteration + 1)]
        if self.good_iterations >= 2 * SNAPSHOT_INTERVAL:
            self.failures = 0
            self.rate_factor = min(1.0, self.rate_factor * RATE_RECOVERY)

    def _roll_back(self) -> None:
        self.failures += 1
        self.good_iterations = 0
        self.rate_factor /= 2
        self.snapshots = self.snapshots[:1]
        tensors = self.snapshots[0].tensors
        with torch.no_grad():
            for i, parameter in enumerate(self._parameters):
                parameter.copy_(tensors[f"weights.{i}"])
        self._optimiser.load_state(select_prefix(tensors, "optimiser."))

    def state_tensors(self) -> dict[str, Tensor]:
        """Return the snapshots' tensors, named `snapshot.name`."""
        return {f"{i}.{name}": tensor for i, one in enumerate(self.snapshots) for name, tensor in one.tensors.items()}

    def state_numbers(self) -> dict[str, Any]:
        """Return all other state of the guard."""
        iterations = [snapshot.iteration for snapshot in self.snapshots]
        return {
            "failures": self.failures,
            "good": self.good_iterations,
            "caution": self.rate_factor,
            "snapshots": iterations,
        }

    def restore(self, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> None:
        """Restore what `state_tensors` and `state_numbers` returned."""
        self.failures, self.good_iterations, self.rate_factor = numbers["failures"], numbers["good"], numbers["caution"]
        iterations = enumerate(numbers["snapshots"])
        self.snapshots = [Snapshot(iteration, select_prefix(tensors, f"{i}.")) for i, iteration in iterations]
