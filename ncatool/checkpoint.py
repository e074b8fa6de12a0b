"""The files that a run leaves, and what is believed of one that is read."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ncatool.config import FORMAT, MAX_SIDE, ModelConfig, from_table
from ncatool.errors import NcatoolError, UsageError
from ncatool.files import read_toml, write, write_toml
from ncatool.model import Weights
from ncatool.target import Target

SUFFIX = ".safetensors"
_WEIGHTS = {
    "hidden.weight": "hidden_weight",
    "hidden.bias": "hidden_bias",
    "output.weight": "output_weight",
    "output.bias": "output_bias",
}


@dataclass(frozen=True)
class Model:
    """Everything that a model file holds."""

    weights: Weights
    config: ModelConfig
    target: Target


@dataclass(frozen=True)
class RunFiles:
    """The names of a run's files."""

    model: Path

    def __post_init__(self) -> None:
        if self.model.suffix != SUFFIX:
            raise UsageError(f"{self.model} does not end in {SUFFIX}", f"give --out NAME{SUFFIX}")

    @property
    def record(self) -> Path:
        return self.model.with_suffix(".toml")

    @property
    def checkpoint(self) -> Path:
        return self.model.with_suffix(".checkpoint" + SUFFIX)

    @property
    def curve(self) -> Path:
        return self.model.with_suffix(".csv")

    @property
    def picture(self) -> Path:
        return self.model.with_suffix(".png")

    def all(self) -> list[Path]:
        return [self.model, self.record, self.checkpoint, self.curve, self.picture]


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Writes the run's TOML."""
    write_toml(path, {"format": FORMAT, **record})


def named_weights(weights: Weights) -> dict[str, Tensor]:
    """Weights under the names that they have in a file."""
    named = {name: getattr(weights, field) for name, field in _WEIGHTS.items()}
    return {name: tensor for name, tensor in named.items() if tensor is not None}


def target_tensor(target: Target) -> Tensor:
    """The target's pixels as a tensor."""
    return torch.from_numpy(np.array(target.pixels))


def _metadata(tables: Mapping[str, Any]) -> dict[str, str]:
    """One key, for safetensors writes several in an order that changes from run to run."""
    return {"ncatool": json.dumps({"format": FORMAT, **tables}, sort_keys=True)}


def save_model(path: Path, model: Model) -> None:
    """Writes the model file."""
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in named_weights(model.weights).items()}
    tensors = {**weights, "target": target_tensor(model.target)}
    tables = {"model": dataclasses.asdict(model.config), "target": model.target.record()}
    write(path, save(tensors, _metadata(tables)))


@contextmanager
def reading(path: Path) -> Iterator[Any]:
    """An open safetensors file, with every way that it can be broken as one NcatoolError."""
    mend = "give a model that ncatool has written, whole"
    try:
        if path.is_file() and path.stat().st_size == 0:
            raise NcatoolError(f"{path} is empty (0 bytes)", mend)
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise UsageError(f"no such model: {path}", "give the name of a .safetensors file") from None
    except SafetensorError as error:
        raise NcatoolError(f"{path} is truncated or not a safetensors file ({error})", mend) from None
    except OSError as error:
        raise NcatoolError(f"{path} cannot be read: {error.strerror or error}", mend) from None


def header_table(path: Path, file: Any, name: str) -> dict[str, Any]:
    """One table of the header's metadata."""
    try:
        table = json.loads((file.metadata() or {})["ncatool"])[name]
    except (KeyError, ValueError, TypeError):
        table = None
    if not isinstance(table, dict):
        raise NcatoolError(f"{path} has no [{name}] table in its header", "give a model that ncatool has written")
    return table


def take(path: Path, file: Any, name: str, shape: tuple[int, ...], dtype: str = "F32") -> Tensor:
    """A tensor whose shape and dtype are what they should be, checked before it is read."""
    mend = "the file is damaged or not a model of ncatool; use another copy"
    if name not in file.keys():  # noqa: SIM118 - safe_open is no mapping
        raise NcatoolError(f"{path} lacks the tensor {name} of shape {list(shape)}", mend)
    found = file.get_slice(name)
    if tuple(found.get_shape()) != shape or found.get_dtype() != dtype:
        raise NcatoolError(
            f"{path}: {name} should be {dtype} {list(shape)}, but is {found.get_dtype()} {found.get_shape()}", mend
        )
    tensor: Tensor = file.get_tensor(name)
    if not torch.isfinite(tensor.float()).all():
        raise NcatoolError(f"{path}: {name} holds values that are not finite", mend)
    return tensor


def take_weights(path: Path, file: Any, config: ModelConfig) -> Weights:
    """The weights of a model of this configuration."""
    shapes = {
        "hidden.weight": (config.hidden, 3 * config.channels),
        "hidden.bias": (config.hidden,),
        "output.weight": (config.channels, config.hidden),
        "output.bias": (config.channels,),
    }
    present = [name for name in shapes if name != "output.bias" or name in file.keys()]  # noqa: SIM118
    return Weights(**{_WEIGHTS[name]: take(path, file, name, shapes[name]) for name in present})


def take_target(path: Path, file: Any) -> Target:
    """The target and where it is from."""
    table = header_table(path, file, "target")
    shape = tuple(file.get_slice("target").get_shape()) if "target" in file.keys() else ()  # noqa: SIM118
    expected = (*shape[:2], 4) if len(shape) == 3 and min(shape) > 0 and max(shape) <= MAX_SIDE else (1, 1, 4)
    pixels = take(path, file, "target", expected, "U8").numpy()
    padding = table.get("padding")
    if type(padding) is not int or not 0 <= padding <= MAX_SIDE:
        raise NcatoolError(f"{path}: padding is {padding!r} in the header", "use another copy of the file")
    origin = {key: value for key, value in table.items() if key not in ("size", "padding", "sha256")}
    return Target(pixels, padding, origin)


def load_model(path: Path) -> Model:
    """A model file, checked against its sidecar where there is one.

    Raises NcatoolError for a file that is missing, truncated, not a model, or contradicted by its sidecar.
    """
    with reading(path) as file:
        table = header_table(path, file, "model")
        config = from_table(ModelConfig, table, str(path))
        _compare(path, path.with_suffix(".toml"), dataclasses.asdict(config))
        return Model(take_weights(path, file, config), config, take_target(path, file))


def _compare(path: Path, sidecar: Path, header: dict[str, Any]) -> None:
    if not sidecar.exists():
        return
    table = read_toml(sidecar).get("model", {})
    if not isinstance(table, dict):
        raise NcatoolError(f"{sidecar} says model = {table!r}, which is no table", "mend or remove that file")
    for name, value in header.items():
        if name in table and table[name] != value:
            raise NcatoolError(
                f"{sidecar} says {name} = {table[name]!r}, but the header of {path.name} says {value!r}",
                "put the right record beside the model, or remove the wrong one",
            )


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], target: Target, facts: Mapping[str, Any]) -> None:
    """Writes what `resume` needs: the trainer's tensors, the target, and `facts` as JSON."""
    content = {**{name: tensor.contiguous() for name, tensor in tensors.items()}, "target": target_tensor(target)}
    tables = {"facts": facts, "target": target.record()}
    write(path, save(content, _metadata(tables)))


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], Target, dict[str, Any]]:
    """What `save_checkpoint` wrote."""
    with reading(path) as file:
        facts = header_table(path, file, "facts")
        target = take_target(path, file)
        return {name: file.get_tensor(name) for name in file.keys()}, target, facts  # noqa: SIM118
