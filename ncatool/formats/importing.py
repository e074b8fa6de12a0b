"""Reads models that other projects trained, and converts them to models of this project.

It reads the seed project's files, chenmingxiang110's, the article's, and state dicts of two layers of 1x1 convolutions.
"""

from __future__ import annotations

import dataclasses
import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ncatool.config.names import Boundary, Filter, Order, SeedCells
from ncatool.config.schema import ModelConfig
from ncatool.data.target import Target
from ncatool.engine.advance import advance
from ncatool.errors import NcatoolError, UsageError, shorten
from ncatool.formats import distill
from ncatool.formats.file_kind import describe_kind
from ncatool.formats.input_order import reorder_inputs
from ncatool.formats.torch_file import MAX_TENSORS, MAX_VALUES, check_size, copy_values, describe, is_plain
from ncatool.nca.model_file import ModelData
from ncatool.nca.picture import Background, compose
from ncatool.nca.seed import check_fit, make_seed
from ncatool.nca.types import Seed
from ncatool.nca.weights import Weights

GROWTH_STEPS = 200
"""Steps from the seed to the picture that becomes the target of a model without one."""
_SEED_PROJECT_PREFIX = "update_module."
_CHEN_NAMES = {"fc0.weight", "fc0.bias", "fc1.weight"}
"""All tensors of the files of chenmingxiang110, whose networks run on [channel, width, height]."""
_HINT = "give the seed project's .pt, the article's .json, or a state dict of two 1x1 convolutions"


@dataclass(frozen=True)
class ForeignModel:
    """A model as read from another project's file; its inputs are still in that project's order."""

    weights: Weights
    order: Order
    boundary: Boundary
    kind: str
    """Name of the project or the kind of file, for people to read."""
    ignored: tuple[str, ...] = ()
    """Names of tensors in the file that do not belong to the network."""

    @property
    def channels(self) -> int:
        return len(self.weights.output_weight)

    @property
    def hidden(self) -> int:
        return len(self.weights.hidden_weight)


def read_model(path: Path) -> ForeignModel:
    """Read the article's `.json` or a torch file; NcatoolError where it is missing, damaged, or holds no such model."""
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is {'a folder' if path.is_dir() else 'no regular file'}", _HINT)
    if not path.exists():
        raise UsageError(f"no such file: {path}", _HINT)
    if path.suffix.lower() == ".json":
        return ForeignModel(distill.read_weights(path), Order.BLOCKED, Boundary.WRAP, "the article's player")
    return _find_network(path, _load_tensors(path))


def _load_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a torch file, at its top or one level below; no code in the file is executed."""
    try:
        check_size(path, _HINT)
        with warnings.catch_warnings(action="ignore"):  # torch's advice is for programmers
            content = torch.load(path, map_location="cpu", weights_only=True)
    except NcatoolError:
        raise
    except Exception as error:  # for a damaged file, torch raises almost any exception
        raise _explain_unreadable(path, error) from None
    if isinstance(content, Mapping):
        nested = [value for value in content.values() if isinstance(value, Mapping)]
        if nested and not any(isinstance(value, Tensor) for value in content.values()):
            content = nested[0]
        return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    raise NcatoolError(f"{path} holds {type(content).__name__}, not tensors by name", _HINT)


def _explain_unreadable(path: Path, error: Exception) -> NcatoolError:
    """Return the error for a file that torch cannot load: what the file is, not torch's advice to programmers."""
    if isinstance(error, MemoryError):
        return NcatoolError(f"{path} needs more memory than there is", "free some memory")
    try:
        kind = describe_kind(path)
    except OSError as failure:
        return NcatoolError(f"{path} cannot be read: {failure.strerror or failure}", "check its permissions")
    return NcatoolError(f"{path} cannot be read as a model: it is {kind}", _HINT)


def _to_matrix(tensor: Tensor) -> Tensor | None:
    """Return the weight of a 1x1 convolution or linear layer as a matrix; None for any other tensor."""
    if not is_plain(tensor):
        return None
    if tensor.ndim == 4 and tensor.shape[2:] == (1, 1):
        tensor = tensor[:, :, 0, 0]
    return tensor if tensor.ndim == 2 else None


def _find_network(path: Path, tensors: dict[str, Tensor]) -> ForeignModel:
    """Return the model of the only two layers that form an update network."""
    if len(tensors) > MAX_TENSORS:
        raise NcatoolError(f"{path} holds {len(tensors)} tensors, but {MAX_TENSORS} is the most", _HINT)
    matrices = {name: matrix for name, tensor in tensors.items() if (matrix := _to_matrix(tensor)) is not None}
    first, second = _find_layers(path, tensors, matrices)
    units = len(matrices[first])
    hidden_bias = _find_bias(path, tensors, first, units)
    output_bias = _find_bias(path, tensors, second, len(matrices[second]))
    if hidden_bias is None:
        hidden_bias = torch.zeros(units)
    used = {first, second, _get_bias_name(first), _get_bias_name(second)}
    order, kind = _guess_project(first, set(tensors))
    return ForeignModel(
        Weights(copy_values(matrices[first]), hidden_bias, copy_values(matrices[second]), output_bias),
        order,
        Boundary.ZERO,
        kind,
        tuple(sorted(set(tensors) - used)),
    )


def _guess_project(first: str, names: set[str]) -> tuple[Order, str]:
    """Return the order of a network's inputs, and whose it is, by the names of its tensors."""
    if first.startswith(_SEED_PROJECT_PREFIX):
        return Order.INTERLEAVED, "erikhelmut/neural-cellular-automata"
    if names == _CHEN_NAMES:
        return Order.TRANSPOSED, "chenmingxiang110/Growing-Neural-Cellular-Automata"
    return Order.BLOCKED, "a state dict"


def _find_layers(path: Path, tensors: dict[str, Tensor], matrices: dict[str, Tensor]) -> tuple[str, str]:
    """Return the names of the two weights, 3 x channels -> hidden -> channels; NcatoolError if not exactly one pair."""
    pairs = [
        (first, second)
        for first, hidden in matrices.items()
        for second, output in matrices.items()
        if hidden.shape[1] == 3 * output.shape[0] and hidden.shape[0] == output.shape[1] and first != second
    ]
    if len(pairs) != 1:
        shapes = ", ".join(describe(name, tensor) for name, tensor in tensors.items())
        raise NcatoolError(
            f"{path} has {len(pairs) or 'no'} pairs of layers from 3 x channels to channels: {shorten(shapes)}", _HINT
        )
    for name in pairs[0]:
        if matrices[name].numel() > MAX_VALUES:
            shape = list(matrices[name].shape)
            raise NcatoolError(f"{path}: {shorten(name)} is {shape}, larger than any layer of a model", _HINT)
    return pairs[0]


def _get_bias_name(weight: str) -> str:
    return f"{weight.removesuffix('weight')}bias"


def _find_bias(path: Path, tensors: dict[str, Tensor], weight: str, size: int) -> Tensor | None:
    """Return the bias that belongs to a weight, or None; NcatoolError where its shape is wrong."""
    bias = tensors.get(_get_bias_name(weight))
    if bias is not None and (not is_plain(bias) or tuple(bias.shape) != (size,)):
        what = f"{shorten(describe(_get_bias_name(weight), bias))} should be [{size}]"
        raise NcatoolError(f"{path}: {what}, of floating-point numbers", _HINT)
    return None if bias is None else copy_values(bias)


def guess_filter(path: Path) -> Filter | None:
    """Return the filter that the file's name contains; None where it contains none or several."""
    names = [name for name in Filter if name in path.stem.lower()]
    return names[0] if len(names) == 1 else None


def convert_model(
    foreign: ForeignModel, config: ModelConfig, order: Order, target: Target | None, side: int, seed: Seed | None = None
) -> ModelData:
    """Return the model with its inputs reordered; it grows from the seed, or else from the plain one cell.

    Without a target, the target is what the model grows in 200 steps on a grid of `side` x `side` cells.
    Raises NcatoolError where a weight is not finite, and UsageError where nothing grows.
    """
    weights = reorder_inputs(foreign.weights, order)
    for name, tensor in weights._asdict().items():
        if tensor is not None and not torch.isfinite(tensor).all():
            raise NcatoolError(
                f"{name.replace('_', ' ')} holds values that are not finite", "give another copy of the file"
            )
    grid = Target(np.zeros((side, side, 4), np.uint8), 0)
    model = ModelData(weights, config, target or grid, own_seed=seed)
    return model if target is not None else dataclasses.replace(model, target=_grow_target(model))


def make_imported_seed(channels: int, train: Mapping[str, Any], grid: tuple[int, int]) -> Seed | None:
    """Return the seed that a table `[train]` describes, or None where it describes none.

    Raises UsageError for a seed that does not fit the grid.
    """
    if not train:
        return None
    seed = make_seed(channels, SeedCells(train["seed_cells"]), train["seed_radius"])
    check_fit(seed, *grid)
    return seed


def _grow_target(model: ModelData) -> Target:
    """Return the picture that a model grows on the grid of its target."""
    state = advance(model, model.place_seeds(1), GROWTH_STEPS, torch.Generator().manual_seed(0))
    pixels = compose(state[0, ..., :4].numpy(), Background(transparent=True))
    if not pixels[..., 3].any():
        raise UsageError(
            f"nothing grows in {GROWTH_STEPS} steps",
            "check --filter, --order, --boundary and --seed-cells, or give the picture by --target",
        )
    return Target(pixels, 0, {"source": f"grown in {GROWTH_STEPS} steps"})


def describe_origin(path: Path, foreign: ForeignModel, order: Order) -> dict[str, Any]:
    """Return the record's table `[origin]`: file name, SHA-256 of the file, kind, and order of its inputs."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"file": path.name, "sha256": digest, "kind": foreign.kind, "order": order.value}
