"""What decides the result of a run, by which its files are told from those of another."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncatool.config.schema import RunConfig
from ncatool.errors import NcatoolError
from ncatool.training.checkpoint import read_checkpoint_tables
from ncatool.training.checkpoint_schema import read_facts


@dataclass(frozen=True)
class RunIdentity:
    """What decides the result of a run."""

    config: RunConfig
    picture: Mapping[str, Any]
    """The `[target]` table."""
    start: str = ""
    """SHA-256 of the weights that it starts from; empty for new ones, and in files of earlier versions."""

    def is_same(self, other: RunIdentity) -> bool:
        """Return whether both runs train the same way to the same target, from the same weights as far as known."""
        return (
            is_same_training(self.config, other.config)
            and is_same_target(self.picture, other.picture)
            and is_same_start(self.start, other.start)
        )


def is_same_training(one: RunConfig, other: RunConfig) -> bool:
    """Return whether two configurations train the same way, whatever their targets."""
    own, others = (dataclasses.replace(config.train, threads=0, checkpoint_every=0) for config in (one, other))
    return one.model == other.model and own == others


def is_same_target(record: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two `[target]` tables describe the same pixels on the same grid."""
    return all(record.get(name) == other.get(name) for name in ("sha256", "padding"))


def is_same_start(one: str, other: str) -> bool:
    """Return whether two hashes of weights may be of the same: files of earlier versions do not have one."""
    return one == other or not (one and other)


def read_progress(checkpoint: Path) -> tuple[int, RunIdentity | None]:
    """Return a checkpoint's iteration and what run it is of; (0, None) where it cannot be read."""
    try:
        facts, picture = read_checkpoint_tables(checkpoint)
        checked = read_facts(facts, str(checkpoint))
        return checked.iteration, RunIdentity(checked.config, picture, checked.origin.get("weights_sha256", ""))
    except NcatoolError:
        return 0, None
