"""What all formats share: the description of a model that a file carries, and the states that a check starts from."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch

from ncatool.nca.model_file import ModelData
from ncatool.nca.rule import step
from ncatool.nca.seed import is_plain, list_cells
from ncatool.nca.state import middle_cell
from ncatool.nca.types import Fire, Seed, State


def describe_model(model: ModelData, record: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return name, version, model and target as JSON values; training and result where the record has them.

    Where the seed is more than the plain one cell, `seed` lists its cells; see `list_seed_cells`. Of several pictures,
    `seeds` holds such a list for each, by its name.
    """
    tables = {key: _to_json(record[key]) for key in ("train", "result") if isinstance(record.get(key), dict)}
    return {
        "name": name,
        "ncatool": version("ncatool"),
        "model": dataclasses.asdict(model.config),
        "target": _to_json(model.target.describe()),
        **_describe_seeds(model),
        **tables,
    }


def _describe_seeds(model: ModelData) -> dict[str, Any]:
    if model.target.others:
        return {"seeds": {one.target.name: list_seed_cells(one.seed) for one in model.pictures}}
    return {} if is_plain(model.seed) else {"seed": list_seed_cells(model.seed)}


def list_seed_cells(seed: Seed) -> list[dict[str, Any]]:
    """Return each cell of a seed: its row and column from the cell [height // 2, width // 2], and its channels."""
    y, x = middle_cell(*seed.shape[:2])
    return [
        {"row": row, "column": column, "channels": seed[y + row, x + column].tolist()}
        for row, column in list_cells(seed)
    ]


def _to_json(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a table of JSON values: numbers that are not finite become null; dates and other types become text."""

    def convert(value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if isinstance(value, list):
            return [convert(one) for one in value]
        return value if isinstance(value, str | int | float | bool | None) else str(value)

    return {str(key): convert(value) for key, value in table.items()}


def make_seed_states(model: ModelData) -> State:
    """Return the seed of each picture on the model's grid, from which exported files are checked."""
    return torch.cat([one.place_seeds(1) for one in model.pictures])


def run_dense(model: ModelData, fire: Fire) -> State:
    """Return the states that the dense rule computes from the seeds with these fire masks."""
    state = make_seed_states(model)
    with torch.no_grad():
        for mask in fire:
            state = step(state, model.weights, model.config, mask)
    return state
