"""Other people's models as ours: the seed project's, the article's, and plain networks of 1x1 convolutions."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ncatool.config.names import Boundary, Filter, Order
from ncatool.config.schema import ModelConfig
from ncatool.data.target import Target
from ncatool.engine.advance import advance
from ncatool.errors import NcatoolError, UsageError, shorten
from ncatool.formats import distill
from ncatool.nca.model_file import ModelData
from ncatool.nca.picture import Background, compose
from ncatool.nca.state import make_seed
from ncatool.nca.weights import Weights

GROWTH_STEPS = 200
"""Steps after which a model without a target is taken at its word."""
_SEED_PROJECT = "update_module."
_HINT = "give the seed project's .pt, the article's .json, or a state dict of two 1x1 convolutions"


@dataclass(frozen=True)
class ForeignModel:
    """What a file of somebody else's holds."""

    weights: Weights
    order: Order
    boundary: Boundary
    kind: str
    """Where it comes from, in words."""
    ignored: tuple[str, ...] = ()
    """Tensors that are no part of the network."""

    @property
    def channels(self) -> int:
        return len(self.weights.output_weight)

    @property
    def hidden(self) -> int:
        return len(self.weights.hidden_weight)


def read_model(path: Path) -> ForeignModel:
    """A file by its content. NcatoolError for one that is missing, broken, or no such model."""
    if not path.is_file():
        raise UsageError(f"no such file: {path}", _HINT)
    if path.suffix.lower() == ".json":
        return ForeignModel(distill.read_weights(path), Order.BLOCKED, Boundary.WRAP, "the article's player")
    return _find_network(path, _load_tensors(path))


def _load_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a torch file, also one level down; nothing in it is executed."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler lets through whatever a broken file makes it meet
        reason = shorten(str(error).splitlines()[0] if str(error) else type(error).__name__)
        raise NcatoolError(f"{path} cannot be read as tensors: {reason}", _HINT) from None
    if isinstance(found, Mapping):
        nested = [value for value in found.values() if isinstance(value, Mapping)]
        if nested and not any(isinstance(value, Tensor) for value in found.values()):
            found = nested[0]
        return {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
    raise NcatoolError(f"{path} holds {type(found).__name__}, not tensors by name", _HINT)


def _to_matrix(tensor: Tensor) -> Tensor | None:
    """A 1x1 convolution or linear layer as a matrix."""
    if tensor.ndim == 4 and tensor.shape[2:] == (1, 1):
        tensor = tensor[:, :, 0, 0]
    return tensor.float() if tensor.ndim == 2 and tensor.is_floating_point() else None


def _find_network(path: Path, tensors: dict[str, Tensor]) -> ForeignModel:
    matrices = {name: m for name, tensor in tensors.items() if (m := _to_matrix(tensor)) is not None}
    pairs = [
        (a, b)
        for a, first in matrices.items()
        for b, second in matrices.items()
        if first.shape[1] == 3 * second.shape[0] and first.shape[0] == second.shape[1] and a != b
    ]
    if len(pairs) != 1:
        shapes = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in tensors.items())
        raise NcatoolError(
            f"{path} has {len(pairs) or 'no'} pairs of layers from 3 x channels to channels: {shorten(shapes)}", _HINT
        )
    (first, second), *_ = pairs
    bias = _find_bias(path, tensors, first, len(matrices[first]))
    last = _find_bias(path, tensors, second, len(matrices[second]))
    if bias is None:
        bias = torch.zeros(len(matrices[first]))
    used = {first, second, _bias_name(first), _bias_name(second)}
    of_the_seed_project = first.startswith(_SEED_PROJECT)
    return ForeignModel(
        Weights(matrices[first], bias, matrices[second], last),
        Order.INTERLEAVED if of_the_seed_project else Order.BLOCKED,
        Boundary.ZERO,
        "erikhelmut/neural-cellular-automata" if of_the_seed_project else "a state dict",
        tuple(sorted(set(tensors) - used)),
    )


def _bias_name(weight: str) -> str:
    return f"{weight.removesuffix('weight')}bias"


def _find_bias(path: Path, tensors: dict[str, Tensor], weight: str, size: int) -> Tensor | None:
    found = tensors.get(_bias_name(weight))
    if found is not None and tuple(found.shape) != (size,):
        raise NcatoolError(f"{path}: {_bias_name(weight)} should be [{size}], but is {list(found.shape)}", _HINT)
    return None if found is None else found.float()


def guess_filter(path: Path) -> Filter | None:
    """The one filter that a file's name holds."""
    named = [name for name in Filter if name in path.stem.lower()]
    return named[0] if len(named) == 1 else None


def reorder_inputs(weights: Weights, order: Order) -> Weights:
    """Inputs ordered as ours: all channels' identity, then filter, then transposed filter.

    The seed project's index is 3 channel + k, with k 0 for identity, 1 for filter, 2 for transposed.
    """
    if order is Order.BLOCKED:
        return weights
    hidden, inputs = weights.hidden_weight.shape
    ours = weights.hidden_weight.reshape(hidden, inputs // 3, 3).transpose(1, 2).reshape(hidden, inputs)
    return weights._replace(hidden_weight=ours.contiguous())


def convert_model(
    foreign: ForeignModel, config: ModelConfig, order: Order, target: Target | None, side: int
) -> ModelData:
    """One of our models; without a target it is taken to grow what it grows, on a grid of this side."""
    weights = reorder_inputs(foreign.weights, order)
    for name, tensor in weights._asdict().items():
        if tensor is not None and not torch.isfinite(tensor).all():
            plain = name.replace("_", " ")
            raise NcatoolError(f"{plain} holds values that are not finite", "give another copy of the file")
    if target is not None:
        return ModelData(weights, config, target)
    unknown = ModelData(weights, config, Target(np.zeros((side, side, 4), np.uint8), 0))
    grown = advance(unknown, make_seed(1, side, side, config.channels), GROWTH_STEPS, torch.Generator().manual_seed(0))
    pixels = compose(grown[0, ..., :4].numpy(), Background(transparent=True))
    if not pixels[..., 3].any():
        raise UsageError(
            f"nothing grows in {GROWTH_STEPS} steps",
            "check --filter, --order and --boundary, or give the picture by --target",
        )
    return ModelData(weights, config, Target(pixels, 0, {"source": f"grown in {GROWTH_STEPS} steps"}))


def describe_origin(path: Path, foreign: ForeignModel, order: Order) -> dict[str, Any]:
    """The record's table of where a model comes from."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"file": path.name, "sha256": digest, "kind": foreign.kind, "order": order.value}
