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

from ncatool.nca.model_file import ModelData
from ncatool.nca.rule import step
from ncatool.nca.state import make_seed
from ncatool.nca.types import State

Fire = Bool[Tensor, "steps 1 height width"]
"""Fire masks of one rollout."""


def describe_model(model: ModelData, record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Name, version, model and target; training and its result where the record has them."""
    known = {key: _to_json(record[key]) for key in ("train", "result") if isinstance(record.get(key), dict)}
    return {
        "name": name,
        "ncatool": version("ncatool"),
        "model": dataclasses.asdict(model.config),
        "target": _to_json(model.target.describe()),
        **known,
    }


def _to_json(table: Mapping[str, Any]) -> dict[str, Any]:
    """Values as JSON has them: what is no number becomes null; dates and the like text."""

    def plain(value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return value if isinstance(value, str | int | float | bool | None) else str(value)

    return {str(key): plain(value) for key, value in table.items()}


def seed_state(model: ModelData) -> State:
    """The state that artefacts are followed from: the seed."""
    return make_seed(1, *model.target.shape, model.config.channels)


def run_dense(model: ModelData, fire: Fire) -> State:
    """The dense rule's own state after these fire masks."""
    state = seed_state(model)
    with torch.no_grad():
        for mask in fire:
            state = step(state, model.weights, model.config, mask)
    return state
