"""What a checkpoint must hold: its facts are checked, and its tensors named, before any tensor is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from ncatool.config.names import Regime
from ncatool.config.schema import ModelConfig, RunConfig, TargetConfig, TrainConfig
from ncatool.config.tables import read_table
from ncatool.data.target import Target
from ncatool.errors import UsageError, shorten
from ncatool.training.checkpoint import ExpectedTensors

_GENERATOR_BYTES = torch.Generator().get_state().numel()


def read_config(facts: Mapping[str, Any], where: str) -> RunConfig:
    """Return the settings in a checkpoint's facts, each of them checked."""
    return RunConfig(
        model=read_table(ModelConfig, _get_table(facts, "model"), where),
        target=read_table(TargetConfig, _get_table(facts, "target"), where),
        train=read_table(TrainConfig, _get_table(facts, "train"), where),
    )


def _get_table(facts: Mapping[str, Any], name: str) -> dict[str, Any]:
    table = facts.get(name)
    if not isinstance(table, dict):
        raise UsageError(f"{name} is {shorten(table)}, which is no table", "use another copy of the file")
    return table


def _check_number(facts: Mapping[str, Any], name: str, kind: type[int] | type[float], low: float, high: float) -> Any:
    value = facts.get(name)
    if not isinstance(value, kind) or isinstance(value, bool) or not low <= value <= high:
        raise UsageError(f"{name} is {shorten(value)}", f"expected {kind.__name__} from {low:g} to {high:g}")
    return value


def check_numbers(facts: Mapping[str, Any], config: RunConfig) -> dict[str, Any]:
    """Return the trainer's numbers; raise UsageError for one that is out of range."""
    trainer = _get_table(facts, "trainer")
    guard = _get_table(trainer, "guard")
    iteration = _check_number(trainer, "iteration", int, 0, config.train.iterations)
    snapshots = guard.get("snapshots")
    if not isinstance(snapshots, list) or len(snapshots) not in (1, 2) or not all(type(i) is int for i in snapshots):
        raise UsageError(f"snapshots is {shorten(snapshots)}", "expected one or two iterations")
    return {
        "iteration": iteration,
        "bias": trainer.get("bias") is True,
        "fire_bytes": _check_number({"fire_bytes": _GENERATOR_BYTES, **trainer}, "fire_bytes", int, 1, 2**16),
        "guard": {
            "failures": _check_number(guard, "failures", int, 0, 100),
            "good": _check_number(guard, "good", int, 0, iteration),
            "caution": _check_number(guard, "caution", float, 0, 1),
            "snapshots": snapshots,
        },
    }


def check_seconds(facts: Mapping[str, Any]) -> float:
    """Return the training time so far, in seconds."""
    return float(_check_number(facts, "seconds", float, 0, math.inf))


def read_origin(tables: Mapping[str, Any]) -> dict[str, str]:
    """Return the table `[origin]` of a run: the SHA-256 of the weights that it started from.

    It is empty where the run started from new ones, and in files of earlier versions.
    """
    table = tables.get("origin")
    digest = table.get("weights_sha256") if isinstance(table, dict) else None
    return {"weights_sha256": digest} if isinstance(digest, str) and len(digest) == 64 else {}


def list_tensors(config: RunConfig, target: Target, numbers: Mapping[str, Any]) -> ExpectedTensors:
    """Return shape and dtype of every tensor that a checkpoint of this run must hold."""
    model, train = config.model, config.train
    weights: dict[str, tuple[int, ...]] = {
        "hidden.weight": (model.hidden, 3 * model.channels),
        "hidden.bias": (model.hidden,),
        "output.weight": (model.channels, model.hidden),
    }
    if numbers["bias"]:
        weights["output.bias"] = (model.channels,)
    shapes = list(weights.values())
    pool = 0 if train.regime is Regime.GROWING else train.pool_size
    iteration, guard = numbers["iteration"], numbers["guard"]
    # Adam has no state before its first step, and none is taken while the first batches are bad.
    has_stepped = iteration > 0 and (guard["failures"] == 0 or guard["good"] > 0 or guard["snapshots"][0] > 0)
    expected: dict[str, tuple[tuple[int, ...], str]] = {
        **{f"weights.{name}": (shape, "F32") for name, shape in weights.items()},
        **(_list_optimiser_tensors("optimiser", shapes) if has_stepped else {}),
        "pool": ((pool, *target.shape, model.channels), "F32"),
        "generator.draws": ((_GENERATOR_BYTES,), "U8"),
        "generator.fire": ((numbers["fire_bytes"],), "U8"),
        "rows": ((iteration, 4), "F64"),
    }
    for j, snapshot in enumerate(guard["snapshots"]):
        expected |= {f"guard.{j}.weights.{i}": (shape, "F32") for i, shape in enumerate(shapes)}
        expected |= _list_optimiser_tensors(f"guard.{j}.optimiser", shapes) if snapshot > 0 else {}
    return expected


def _list_optimiser_tensors(name: str, shapes: list[tuple[int, ...]]) -> dict[str, tuple[tuple[int, ...], str]]:
    return {
        f"{name}.{i}.{part}": (() if part == "step" else shape, "F32")
        for i, shape in enumerate(shapes)
        for part in ("step", "exp_avg", "exp_avg_sq")
    }
