"""The model file: how a model is written, and what is checked when one is read."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ncatool.config.names import Boundary
from ncatool.config.schema import MAX_SIDE, ModelConfig, TrainConfig
from ncatool.config.tables import is_record_value, read_table
from ncatool.data.target import PICTURE_FACTS, Target
from ncatool.errors import NcatoolError, UsageError, shorten
from ncatool.files.atomic import write_bytes
from ncatool.files.toml import read_toml
from ncatool.nca.model_header import SEED_SETTINGS
from ncatool.nca.model_name import find_record
from ncatool.nca.seed import fits_grid, is_plain, list_cells, make_seed, place_seed
from ncatool.nca.tensor_file import (
    WHOLE_FILE_HINT,
    check_checksum,
    open_tensors,
    pack_tensors,
    read_header_table,
    read_tensor,
)
from ncatool.nca.types import Seed, Seeds, State
from ncatool.nca.weights import Weights

_TENSOR_FIELDS = {
    "hidden.weight": "hidden_weight",
    "hidden.bias": "hidden_bias",
    "output.weight": "output_weight",
    "output.bias": "output_bias",
}
"""Names of tensors in the file, and the fields of `Weights` that they fill."""


@dataclass(frozen=True)
class ModelData:
    """Everything that a model file holds."""

    weights: Weights
    config: ModelConfig
    target: Target
    train: Mapping[str, Any] = field(default_factory=dict)
    """The `[train]` table: the settings of training that made it what it is; empty where they are not known."""
    own_seed: Seed | Seeds | None = None
    """What growth starts from, where that is more than the plain one cell; of several pictures one for each."""

    @property
    def seeds(self) -> Seeds:
        """The seed of each picture, on the CPU."""
        own = make_seed(self.config.channels) if self.own_seed is None else self.own_seed
        return own if own.ndim == 4 else own[None]

    @property
    def seed(self) -> Seed:
        """The cells that growth starts from, on the CPU; of several pictures those of the first."""
        return self.seeds[0]

    @property
    def pictures(self) -> list[ModelData]:
        """The model of each picture: the same weights, that picture as the target, and its seed."""
        targets = self.target.pictures
        if len(targets) == 1:
            return [self]
        return [
            dataclasses.replace(self, target=target, own_seed=seed)
            for target, seed in zip(targets, self.seeds, strict=True)
        ]

    @property
    def has_direction(self) -> bool:
        """Whether something tells cells one direction from another: the filter, or a seed of several cells."""
        return not self.config.filter.is_symmetric or len(list_cells(self.seed)) > 1

    @property
    def device(self) -> torch.device:
        """The device that the weights are on, and rollouts run on."""
        return self.weights.hidden_weight.device

    def move_to(self, device: torch.device) -> ModelData:
        """Return this model with its weights on a device."""
        weights = (None if tensor is None else tensor.to(device) for tensor in self.weights)
        return dataclasses.replace(self, weights=Weights(*weights))  # type: ignore[arg-type]

    def place_seeds(self, count: int, grid: tuple[int, int] | None = None) -> State:
        """Return `count` states that growth starts from, on the model's device.

        The seed lies in the middle of the grid, by default that of the target.
        """
        return place_seed(self.seed, count, *(grid or self.target.shape)).to(self.device)


def weights_to_tensors(weights: Weights) -> dict[str, Tensor]:
    """Return the weights by the names that they have in a file."""
    tensors = {name: getattr(weights, field) for name, field in _TENSOR_FIELDS.items()}
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def tensors_to_weights(tensors: Mapping[str, Tensor]) -> Weights:
    """Return weights from tensors named as in a file; the opposite of `weights_to_tensors`."""
    return Weights(**{_TENSOR_FIELDS[name]: tensor for name, tensor in tensors.items()})


def pack_arrays(model: ModelData) -> dict[str, np.ndarray]:
    """Return a model's weights and seed as arrays, by the names that they have in a file, for another process."""
    tensors = {**weights_to_tensors(model.weights), "seed": _squeeze_one(model.seeds)}
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def unpack_arrays(arrays: Mapping[str, np.ndarray]) -> tuple[Weights, Seed | Seeds]:
    """Return weights and seeds from the arrays that `pack_arrays` made."""
    tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    seed = tensors.pop("seed")
    return tensors_to_weights(tensors), seed


def hash_weights(weights: Weights) -> str:
    """Return the SHA-256 of names, shapes and values of weights, as hexadecimal digits."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights_to_tensors(weights).items()):
        digest.update(f"{name} {list(tensor.shape)} ".encode())
        digest.update(tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()


def target_to_tensor(target: Target) -> Tensor:
    """Return the target's pixels, uint8 [height, width, 4]; of several pictures [pictures, height, width, 4]."""
    return torch.from_numpy(_squeeze_one(np.stack([one.pixels for one in target.pictures])))


def _squeeze_one(stacked: Any) -> Any:
    """Return the array or tensor of one picture without its first axis, and that of several as it is."""
    return stacked[0] if len(stacked) == 1 else stacked


def save_model(path: Path, model: ModelData) -> None:
    """Write a model file, whole or not at all."""
    tensors = {**weights_to_tensors(model.weights), "target": target_to_tensor(model.target)}
    if len(model.seeds) > 1 or not is_plain(model.seed):
        tensors["seed"] = _squeeze_one(model.seeds)
    write_bytes(path, pack_tensors(tensors, {**list_tables(model), "environment": {"ncatool": version("ncatool")}}))


def list_tables(model: ModelData) -> dict[str, Any]:
    """Return what a model says of itself: the tables of its header, by name."""
    tables = {"model": dataclasses.asdict(model.config), "target": model.target.describe(), "train": model.train}
    return {name: dict(table) for name, table in tables.items() if table}


def read_weights(path: Path, file: Any, config: ModelConfig) -> Weights:
    """Read the weights of a model with this configuration.

    Raises NcatoolError for a tensor that is missing, or whose shape, type or values are wrong.
    """
    shapes = {
        "hidden.weight": (config.hidden, 3 * config.channels),
        "hidden.bias": (config.hidden,),
        "output.weight": (config.channels, config.hidden),
        "output.bias": (config.channels,),
    }
    present = [name for name in shapes if name != "output.bias" or name in file.keys()]  # noqa: SIM118
    return tensors_to_weights({name: read_tensor(path, file, name, shapes[name]) for name in present})


def read_target(path: Path, file: Any) -> Target:
    """Read the target, one picture or several, and its origin.

    Raises NcatoolError for pixels or a padding that no target can have, and for names that are not those of pictures.
    """
    table = read_header_table(path, file, "target")
    shape = tuple(file.get_slice("target").get_shape()) if "target" in file.keys() else ()  # noqa: SIM118
    is_right = len(shape) in (3, 4) and min(shape) > 0 and max(shape[-3:]) <= MAX_SIDE
    expected = (*shape[:-1], 4) if is_right else (1, 1, 4)
    padding = _get_padding(path, table, expected[-3:])
    origin = {key: value for key, value in table.items() if key not in ("size", "padding", "sha256")}
    for name, value in origin.items():
        _require(is_record_value(name) and is_record_value(value), path, f"{shorten(name)} is {shorten(value)}")
    pixels = read_tensor(path, file, "target", expected, "U8").numpy()
    return Target(pixels, padding, origin) if pixels.ndim == 3 else _split_target(path, pixels, padding, origin)


def _split_target(path: Path, pixels: NDArray[np.uint8], padding: int, origin: dict[str, Any]) -> Target:
    """Return the target of several pictures, each with its part of what the table says."""
    lists = {f"{name}s": name for name in ("name", *PICTURE_FACTS)}
    for name in lists.keys() & origin.keys():
        value = origin[name]
        is_list = isinstance(value, list) and len(value) == len(pixels) and all(isinstance(one, str) for one in value)
        _require(is_list, path, f"{name} is {shorten(value)}, not a text for each of {len(pixels)} pictures")
    names = origin.get("names", [])
    _require(len(set(names)) == len(pixels), path, f"names is {shorten(names)}, not a name for each picture")
    shared = {name: value for name, value in origin.items() if name not in lists}
    targets = []
    for i, one in enumerate(pixels):
        own = {name: origin[key][i] for key, name in lists.items() if key in origin}
        targets.append(Target(one, padding, {**shared, **own}, own.pop("name")))
    return dataclasses.replace(targets[0], others=tuple(targets[1:]))


def _get_padding(path: Path, table: Mapping[str, Any], shape: tuple[int, ...]) -> int:
    """Return the padding of a target of this shape, whose grid is bounded as by the flags."""
    padding: Any = table.get("padding")
    _require(type(padding) is int and 0 <= padding <= MAX_SIDE, path, f"padding is {shorten(padding)}")
    side = max(shape[:2]) + 2 * padding
    grid = f"{shape[0]}x{shape[1]} with padding {padding} makes {side} cells a side, but {MAX_SIDE} is the most"
    _require(side <= MAX_SIDE, path, grid)
    return padding


def _require(holds: bool, path: Path, what: str) -> None:
    """Raise NcatoolError unless something holds of the header's table of the target."""
    if not holds:
        raise NcatoolError(f"{path}: {what} in the header's target", "use another copy of the file")


def read_seed(path: Path, file: Any, channels: int, pictures: int) -> Seed | Seeds | None:
    """Read the seed, or those of several pictures; return None where the model grows from the plain one cell.

    Raises NcatoolError for a seed that is no seed: of another shape, too large, or without a cell.
    """
    if "seed" not in file.keys() and pictures == 1:  # noqa: SIM118
        return None
    shape = tuple(file.get_slice("seed").get_shape()) if "seed" in file.keys() else ()  # noqa: SIM118
    several = () if pictures == 1 else (pictures,)
    is_right = len(shape) == 3 + len(several) and min(shape) > 0 and max(shape[-3:-1]) <= MAX_SIDE
    if not is_right or shape[-1] != channels or shape[:-3] != several:
        expected = f"[{''.join(f'{one}, ' for one in several)}rows, columns, {channels}]"
        raise NcatoolError(
            f"{path}: seed should be {expected} of at most {MAX_SIDE} rows and columns, but is {list(shape)}",
            WHOLE_FILE_HINT,
        )
    seed = read_tensor(path, file, "seed", shape)
    if not seed.flatten(-3).any(dim=-1).all():
        raise NcatoolError(f"{path}: its seed has no cell that is not 0, so nothing can grow", WHOLE_FILE_HINT)
    return seed


def _check_seed(path: Path, model: ModelData) -> None:
    """Raise NcatoolError for a seed beyond the edge of a grid that does not wrap, or for wrong settings of a seed.

    Training that starts from the model adopts these, which its header's table `[train]` holds.
    """
    height, width = model.target.shape
    if model.config.boundary is Boundary.ZERO and not all(fits_grid(seed, height, width) for seed in model.seeds):
        rows, columns = model.seed.shape[:2]
        what = f"its seed of {rows}x{columns} cells lies beyond the edge of its grid of {height}x{width}"
        raise NcatoolError(f"{path}: {what}", WHOLE_FILE_HINT)
    try:
        read_table(TrainConfig, _select_seed_settings(model), str(path))
    except UsageError as error:
        raise NcatoolError(error.what, WHOLE_FILE_HINT) from None


def _select_seed_settings(model: ModelData) -> dict[str, Any]:
    return {name: model.train[name] for name in SEED_SETTINGS if name in model.train}


def load_model(path: Path) -> ModelData:
    """Read a model file, and compare it with its record (NAME.toml) where there is one.

    Raises NcatoolError for a file that is missing, truncated or not a model, or whose record contradicts it.
    """
    with open_tensors(path) as file:
        table = read_header_table(path, file, "model")
        config = read_table(ModelConfig, table, str(path))
        train = read_header_table(path, file, "train", required=False)
        weights, target = read_weights(path, file, config), read_target(path, file)
        seed = read_seed(path, file, config.channels, len(target.pictures))
        model = ModelData(weights, config, target, train, seed)
        _check_seed(path, model)
        check_checksum(path, file)
    _check_record(path, find_record(path), model)
    return model


def read_record(path: Path, model: ModelData) -> dict[str, Any]:
    """Return the tables of the record beside a model file; where there is none, those of the model's header."""
    record = find_record(path)
    return read_toml(record) if record.exists() else list_tables(model)


def _check_record(path: Path, record: Path, model: ModelData) -> None:
    """Raise NcatoolError where a record says something else of the rule or the seed than the model's header."""
    if not record.exists():
        return
    tables = read_toml(record)
    for title, header in (("model", dataclasses.asdict(model.config)), ("train", _select_seed_settings(model))):
        if header:
            _check_table(path, record, title, tables.get(title, {}), header)


def _check_table(path: Path, record: Path, title: str, table: Any, header: Mapping[str, Any]) -> None:
    if not isinstance(table, dict):
        raise NcatoolError(f"{record} says {title} = {shorten(table)}, which is no table", "fix or remove that file")
    for name, value in header.items():
        if name in table and table[name] != value:
            raise NcatoolError(
                f"{record} says {name} = {shorten(table[name])}, but the header of {path.name} says {value!r}",
                "put the right record beside the model, or remove the wrong one",
            )
