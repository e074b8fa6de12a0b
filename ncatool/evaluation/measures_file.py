"""Measures of a model as a file, so that a comparison that was interrupted goes on where it stopped.

The file of the model `NAME.safetensors` is `.NAME.measures` in the same folder: hidden, and of an ending that neither a
run nor a comparison looks at; a model of several pictures has one for each, `.NAME~HASH.measures`. It holds all
rollouts, and in its header what the measures were made from and by: where anything differs, the model is measured anew,
as where the file is damaged or of another kind.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ncatool.config.names import Damage
from ncatool.errors import NcatoolError
from ncatool.evaluation.measures import Measures, summarise_rollouts
from ncatool.evaluation.protocol import SNAPSHOT_STEPS, Protocol, choose_healing_steps, choose_persistence_step
from ncatool.evaluation.trajectory import DamageResult, Trajectory
from ncatool.evaluation.variation import Variation
from ncatool.nca.tensor_file import check_checksum, open_tensors, pack_tensors, read_header_table, read_tensor

PACKAGES = ("ncatool", "torch", "numpy", "scikit-image")
"""Packages whose versions may change the measures."""

CONTENTS = 3
"""Version of what the file holds: one of an earlier version lacks a measure, and is made anew."""

Basis = dict[str, Any]
"""What measures depend on: the model, the protocol, and what computes them."""


def locate_measures(model: Path, picture: str = "") -> Path:
    """Return the file of a model's measures; of several pictures, those of the one that is named."""
    part = f"~{hashlib.sha256(picture.encode()).hexdigest()[:8]}" if picture else ""
    return model.with_name(f".{model.stem}{part}.measures")


def describe_basis(model: Path, protocol: Protocol, device: str, engine: str) -> Basis:
    """Return what the measures of a model file depend on, as the header of their file keeps it.

    Raises NcatoolError where the model cannot be read.
    """
    try:
        digest = hashlib.sha256(model.read_bytes()).hexdigest()
    except OSError as error:
        raise NcatoolError(f"{model} cannot be read: {error.strerror or error}", "give a file that can") from None
    return {
        "model": digest,
        "contents": CONTENTS,
        "rollouts": protocol.rollouts,
        "steps": protocol.steps,
        "seed": protocol.seed,
        "device": device,
        "engine": engine,
        "machine": platform.machine(),
        **{name: version(name) for name in PACKAGES},
    }


def pack_measures(measures: Measures, basis: Basis) -> bytes:
    """Return the file's bytes."""
    trajectory = measures.trajectory
    arrays = {name: getattr(trajectory, name) for name in ("mse", "change", "dead", "exploded")}
    arrays |= {name: getattr(trajectory, name) for name in ("ssim_grown", "ssim_final")}
    arrays |= {f"snapshot.{step}": picture for step, picture in trajectory.snapshots.items()}
    for shape, result in measures.damage.items():
        arrays |= {f"{shape}.before": result.before, f"{shape}.mse": result.mse, f"{shape}.nearest": result.nearest}
        arrays |= {f"{shape}.snapshot.{i}": picture for i, picture in enumerate(result.snapshots)}
    arrays |= {"variation.mean": measures.variation.mean, "variation.squares": measures.variation.squares}
    return pack_tensors({name: _to_tensor(array) for name, array in arrays.items()}, {"basis": basis})


def _to_tensor(array: np.ndarray) -> Tensor:
    """Return an array as a tensor; float32 as its bits, as files of tensors hold only finite float32 values."""
    bits = array.view(np.int32) if array.dtype == np.float32 else array
    return torch.from_numpy(np.ascontiguousarray(bits))


def has_measures(path: Path, basis: Basis) -> bool:
    """Return whether a file says that it holds the measures of this basis, without reading them."""
    if not path.is_file():
        return False
    try:
        with open_tensors(path) as file:
            return read_header_table(path, file, "basis") == basis
    except NcatoolError:
        return False


def read_measures(path: Path, basis: Basis, grid: tuple[int, int], protocol: Protocol) -> Measures | None:
    """Return the measures of a model with this grid, or None where the file does not hold those of this basis."""
    if not has_measures(path, basis):
        return None
    try:
        with open_tensors(path) as file:
            kinds = _list_kinds(grid, protocol)
            if set(file.keys()) != set(kinds):
                return None
            tensors = {name: read_tensor(path, file, name, *kind) for name, kind in kinds.items()}
            check_checksum(path, file)
    except NcatoolError:
        return None
    arrays = {name: _to_array(tensor) for name, tensor in tensors.items()}
    errors = [array for name, array in arrays.items() if name.endswith(("mse", "before"))]
    return _build_measures(arrays, protocol.rollouts, grid) if all((error >= 0).all() for error in errors) else None


def _list_kinds(grid: tuple[int, int], protocol: Protocol) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return shape and safetensors dtype of each tensor that the file must hold."""
    count, steps = protocol.rollouts, protocol.steps
    picture = (*grid, 4), "I32"
    kinds: dict[str, tuple[tuple[int, ...], str]] = {
        "mse": ((count, steps + 1), "F64"),
        "change": ((count, steps), "I32"),
        **dict.fromkeys(("dead", "exploded"), ((count,), "BOOL")),
        **dict.fromkeys(("ssim_grown", "ssim_final"), ((count,), "F64")),
        **dict.fromkeys(("variation.mean", "variation.squares"), ((*grid, 4), "F64")),
        **{f"snapshot.{step}": picture for step in {*SNAPSHOT_STEPS, steps} if step <= steps},
    }
    for shape in Damage:
        kinds |= {
            f"{shape}.before": ((count,), "F64"),
            f"{shape}.mse": ((count, choose_healing_steps(grid) + 1), "F64"),
        }
        kinds[f"{shape}.nearest"] = (count,), "I64"
        kinds |= {f"{shape}.snapshot.{i}": picture for i in range(2)}
    return kinds


def _to_array(tensor: Tensor) -> np.ndarray:
    array = tensor.numpy()
    return array.view(np.float32) if array.dtype == np.int32 else array


def _build_measures(arrays: Mapping[str, np.ndarray], rollouts: int, grid: tuple[int, int]) -> Measures:
    names = ("mse", "change", "dead", "exploded", "ssim_grown", "ssim_final")
    prefix = "snapshot."
    snapshots = {int(name.removeprefix(prefix)): arrays[name] for name in arrays if name.startswith(prefix)}
    trajectory = Trajectory(**{name: arrays[name] for name in names}, snapshots=dict(sorted(snapshots.items())))
    damage = {
        shape: DamageResult(
            arrays[f"{shape}.before"],
            arrays[f"{shape}.mse"],
            arrays[f"{shape}.nearest"],
            (arrays[f"{shape}.snapshot.0"], arrays[f"{shape}.snapshot.1"]),
        )
        for shape in Damage
    }
    variation = Variation(rollouts, arrays["variation.mean"], arrays["variation.squares"])
    return summarise_rollouts(trajectory, damage, variation, choose_persistence_step(grid))
