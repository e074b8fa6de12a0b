"""What every artefact tells of its model, and what it is followed beside."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from ncatool.nca.model_file import Model
from ncatool.nca.rule import step
from ncatool.nca.state import seed
from ncatool.nca.types import State

Fire = Bool[Tensor, "steps 1 height width"]
"""Fire masks of one rollout."""


def tables(model: Model, record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Name, version, model and target; training and its result where the record has them."""
    known = {key: _plain(record[key]) for key in ("train", "result") if isinstance(record.get(key), dict)}
    return {
        "name": name,
        "ncatool": version("ncatool"),
        "model": dataclasses.asdict(model.config),
        "target": _plain(model.target.record()),
        **known,
    }


def _plain(table: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON has them: what is no number becomes null; dates and the like text."""

    def plain(value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return value if isinstance(value, str | int | float | bool | None) else str(value)

    return {str(key): plain(value) for key, value in table.items()}


def start(model: Model) -> State:
    """The state that artefacts are followed from: the seed."""
    return seed(1, *model.target.shape, model.config.channels)


def followed(model: Model, fire: Fire) -> State:
    """The dense rule's own state after these fire masks."""
    state = start(model)
    with torch.no_grad():
        for mask in fire:
            state = step(state, model.weights, model.config, mask)
    return state
