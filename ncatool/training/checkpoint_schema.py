"""What the facts of a checkpoint must be: all of them are checked before any is used, and before a tensor is read."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ncatool.config.names import Filter
from ncatool.config.schema import MAX_SIDE, ModelConfig, RunConfig, TargetConfig, TrainConfig
from ncatool.config.tables import complete_training, is_record_value, read_table
from ncatool.data.target import Target
from ncatool.errors import UsageError, shorten

GENERATOR_BYTES = torch.Generator().get_state().numel()
"""Size of the state of a generator on the CPU."""

MAX_SECONDS = 1e10
"""Longest training time, over all sessions: three centuries."""


@dataclass(frozen=True)
class CheckpointFacts:
    """The facts of a checkpoint, checked."""

    config: RunConfig
    numbers: dict[str, Any]
    """The trainer's numbers."""
    events: dict[int, str]
    """What the guard did, by iteration."""
    seconds: float
    """Training time so far."""
    history: list[dict[str, Any]]
    """The sessions of the run, as in its record."""
    origin: dict[str, str]
    """What the run started from, see `read_origin`."""

    @property
    def iteration(self) -> int:
        """Iterations that are done."""
        return int(self.numbers["iteration"])


def read_facts(facts: Mapping[str, Any], where: str) -> CheckpointFacts:
    """Return the facts of a checkpoint; raise UsageError for one that is missing, of another kind, or out of range."""
    config = read_config(facts, where)
    numbers = _read_numbers(facts, config, where)
    return CheckpointFacts(
        config,
        numbers,
        _read_events(facts, numbers["iteration"], where),
        float(_get_number(facts, "seconds", float, 0, MAX_SECONDS, where)),
        _read_history(facts, where),
        read_origin(facts),
    )


def read_config(facts: Mapping[str, Any], where: str) -> RunConfig:
    """Return the settings in a checkpoint's facts, each of them checked."""
    return RunConfig(
        model=read_table(ModelConfig, _get_table(facts, "model", where), where),
        target=read_table(TargetConfig, _get_table(facts, "target", where), where),
        train=read_table(TrainConfig, complete_training(_get_table(facts, "train", where)), where),
    )


def read_origin(tables: Mapping[str, Any]) -> dict[str, str]:
    """Return the table `[origin]` of a run: the SHA-256 of the weights that it started from.

    It is empty where the run started from new ones, and in files of earlier versions.
    """
    table = tables.get("origin")
    digest = table.get("weights_sha256") if isinstance(table, dict) else None
    return {"weights_sha256": digest} if isinstance(digest, str) and len(digest) == 64 else {}


def check_target(config: RunConfig, target: Target, where: str) -> None:
    """Raise UsageError where the settings describe another grid than that of the checkpoint's target."""
    said, found = (config.target.size, config.target.padding), (max(target.pixels.shape[:2]), target.padding)
    _require(said == found, where, f"its settings say size and padding {said}, but its target has {found}")


def _require(holds: bool, where: str, what: str) -> None:
    """Raise UsageError unless a fact holds."""
    if not holds:
        raise UsageError(f"{where}: {what}", "use another copy of the checkpoint")


def _get_table(facts: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    table = facts.get(name)
    _require(isinstance(table, dict), where, f"{name} is {shorten(table)}, which is no table")
    return table  # type: ignore[return-value]


def _get_list(facts: Mapping[str, Any], name: str, where: str) -> list[Any]:
    entries = facts.get(name, [])
    _require(isinstance(entries, list), where, f"{name} is {shorten(entries)}, which is no list")
    return entries


def _get_number(
    facts: Mapping[str, Any], name: str, kind: type[int] | type[float], low: float, high: float, where: str
) -> Any:
    value = facts.get(name)
    what = f"{name} is {shorten(value)}, not {kind.__name__} from {low:g} to {high:g}"
    _require(type(value) is kind and low <= value <= high, where, what)
    return value


def _get_bool(trainer: Mapping[str, Any], name: str, where: str) -> bool:
    value = trainer.get(name, False)
    _require(type(value) is bool, where, f"{name} is {shorten(value)}, not true or false")
    return bool(value)


def _read_basis(trainer: Mapping[str, Any], filter_: Filter, where: str) -> bool:
    """Return whether the hidden weight is in the basis, which only symmetric filters have."""
    basis = _get_bool(trainer, "basis", where)
    _require(not basis or filter_.is_symmetric, where, f"basis is true, but {filter_} is not symmetric")
    return basis


def _read_seed_size(trainer: Mapping[str, Any], where: str) -> list[int]:
    """Return rows and columns of the seed, and before them, where they are several, the number of seeds.

    Earlier versions had none but the plain one cell, and did not keep it.
    """
    size = _get_list(trainer, "seed", where)
    right = len(size) in (0, 2, 3) and all(type(one) is int and 1 <= one <= MAX_SIDE for one in size)
    _require(right, where, f"seed is {shorten(size)}, not a number of rows and one of columns")
    return size


def _read_numbers(facts: Mapping[str, Any], config: RunConfig, where: str) -> dict[str, Any]:
    """Return the trainer's numbers."""
    trainer = _get_table(facts, "trainer", where)
    iteration = _get_number(trainer, "iteration", int, 0, config.train.iterations, where)
    return {
        "iteration": iteration,
        "bias": _get_bool(trainer, "bias", where),
        "basis": _read_basis(trainer, config.model.filter, where),
        "seed": _read_seed_size(trainer, where),
        "fire_bytes": _get_number({"fire_bytes": GENERATOR_BYTES, **trainer}, "fire_bytes", int, 1, 2**16, where),
        "guard": _read_guard(_get_table(trainer, "guard", where), iteration, where),
    }


def _read_guard(guard: Mapping[str, Any], iteration: int, where: str) -> dict[str, Any]:
    return {
        "failures": _get_number(guard, "failures", int, 0, 100, where),
        "good": _get_number(guard, "good", int, 0, iteration, where),
        "caution": _get_number(guard, "caution", float, sys.float_info.min, 1, where),
        "snapshots": _read_snapshots(guard, iteration, where),
    }


def _read_snapshots(guard: Mapping[str, Any], iteration: int, where: str) -> list[int]:
    """Return the iterations of the guard's snapshots, the older one first."""
    snapshots = _get_list(guard, "snapshots", where)
    right = len(snapshots) in (1, 2) and all(type(one) is int and 0 <= one <= iteration for one in snapshots)
    what = f"snapshots is {shorten(snapshots)}, not one or two of {iteration} iterations"
    _require(right and snapshots == sorted(set(snapshots)), where, what)
    return snapshots


def _read_events(facts: Mapping[str, Any], iteration: int, where: str) -> dict[int, str]:
    events = _get_list(facts, "events", where)
    for event in events:
        _require(_is_event(event, iteration), where, f"an event is {shorten(event)}, not an iteration and a text")
    return dict(events)


def _is_event(event: Any, iteration: int) -> bool:
    if not isinstance(event, list) or [type(part) for part in event] != [int, str]:
        return False
    return 1 <= event[0] <= iteration and is_record_value(event[1])


def _read_history(facts: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    history = _get_list(facts, "history", where)
    for entry in history:
        _require(_is_table_of_values(entry), where, f"a session is {shorten(entry)}, not a table of values")
    return history


def _is_table_of_values(entry: Any) -> bool:
    return isinstance(entry, dict) and all(is_record_value(part) for item in entry.items() for part in item)
