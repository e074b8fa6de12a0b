"""What the tensors of a checkpoint must be: named before any is read, and their values checked before any is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ncatool.config.names import Optimiser, Regime
from ncatool.config.schema import RunConfig
from ncatool.data.target import Target
from ncatool.errors import NcatoolError
from ncatool.nca.seed import fits_grid
from ncatool.nca.tensor_file import WHOLE_FILE_HINT
from ncatool.training.checkpoint import ExpectedTensors
from ncatool.training.checkpoint_schema import GENERATOR_BYTES
from ncatool.training.muon import OPTIMISERS


def list_tensors(config: RunConfig, target: Target, numbers: Mapping[str, Any]) -> ExpectedTensors:
    """Return shape and dtype of every tensor that a checkpoint of this run must hold."""
    model, train = config.model, config.train
    weights: dict[str, tuple[int, ...]] = {
        "hidden.weight": (model.hidden, (2 if numbers["basis"] else 3) * model.channels),
        "hidden.bias": (model.hidden,),
        "output.weight": (model.channels, model.hidden),
    }
    if numbers["bias"]:
        weights["output.bias"] = (model.channels,)
    shapes = list(weights.values())
    pool = 0 if train.regime is Regime.GROWING else train.pool_size
    iteration, guard = numbers["iteration"], numbers["guard"]
    # An optimiser has no state before its first step, and none is taken while the first batches are bad.
    has_stepped = iteration > 0 and (guard["failures"] == 0 or guard["good"] > 0 or guard["snapshots"][0] > 0)
    expected: dict[str, tuple[tuple[int, ...], str]] = {
        **{f"weights.{name}": (shape, "F32") for name, shape in weights.items()},
        **(_list_optimiser_tensors("optimiser", shapes, train.optimiser) if has_stepped else {}),
        "pool": ((pool, *target.shape, model.channels), "F32"),
        "generator.draws": ((GENERATOR_BYTES,), "U8"),
        "generator.fire": ((numbers["fire_bytes"],), "U8"),
        "rows": ((iteration, 4), "F64"),
    }
    if numbers["seed"]:
        expected["seed"] = ((*numbers["seed"], model.channels), "F32")
    for j, snapshot in enumerate(guard["snapshots"]):
        expected |= {f"guard.{j}.weights.{i}": (shape, "F32") for i, shape in enumerate(shapes)}
        optimiser = f"guard.{j}.optimiser"
        expected |= _list_optimiser_tensors(optimiser, shapes, train.optimiser) if snapshot > 0 else {}
    return expected


def _list_optimiser_tensors(
    name: str, shapes: list[tuple[int, ...]], optimiser: Optimiser
) -> dict[str, tuple[tuple[int, ...], str]]:
    return {
        f"{name}.{i}.{part}": (() if part == "step" else shape, "F32")
        for i, shape in enumerate(shapes)
        for part in OPTIMISERS[optimiser].list_parts(shape)
    }


def check_tensors(tensors: Mapping[str, Tensor], iteration: int, where: str) -> None:
    """Raise NcatoolError for values that no run of so many iterations leaves.

    That weights, moments and pool are finite was checked when they were read.
    """
    for name, tensor in tensors.items():
        if name.endswith(".step"):
            right = bool((tensor >= 1) & (tensor <= iteration) & (tensor == tensor.round()))
            _require(right, where, f"{name} is {float(tensor):g}, not a step from 1 to {iteration}")
        elif name.endswith(".exp_avg_sq"):
            _require(not (tensor < 0).any(), where, f"{name} holds negative values, though it is a mean of squares")
    if "seed" in tensors:
        _check_seed(tensors["seed"], tensors["pool"].shape[1:3], where)
    _check_rows(tensors["rows"], iteration, where)


def _check_seed(seeds: Tensor, grid: Sequence[int], where: str) -> None:
    height, width = grid
    for seed in seeds.reshape(-1, *seeds.shape[-3:]):
        _require(bool(seed.any()), where, "seed has no cell that is not 0, so nothing can grow")
        fits = fits_grid(seed, height, width)
        _require(fits, where, f"seed lies beyond the edge of a grid of {height}x{width} cells")


def _check_rows(rows: Tensor, iteration: int, where: str) -> None:
    counted = torch.arange(1, iteration + 1, dtype=rows.dtype)
    _require(torch.equal(rows[:, 0], counted), where, f"rows are not those of iterations 1 to {iteration}")
    right = (rows[:, 3] >= 0) & torch.isfinite(rows[:, 3])
    _require(bool(right.all()), where, "rows hold learning rates that are negative or not finite")


def _require(holds: bool, where: str, what: str) -> None:
    """Raise NcatoolError unless a tensor is what it should be."""
    if not holds:
        raise NcatoolError(f"{where}: {what}", WHOLE_FILE_HINT)
