"""The rule of `nca.rule` in NumPy, for one picture: slower than an engine, but it starts in a tenth of torch's time."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from safetensors import safe_open

from ncatool.config.names import Boundary
from ncatool.config.schema import ModelConfig
from ncatool.config.tables import read_table
from ncatool.data.target import Target
from ncatool.nca.stencils import STENCILS

ArrayState = Float[np.ndarray, "height width channel"]
"""The state of one grid: RGB premultiplied by alpha, alpha, hidden channels."""

ALPHA = 3
"""Index of the alpha channel."""


@dataclass(frozen=True)
class ArrayModel:
    """A model as arrays, read without torch."""

    config: ModelConfig
    weights: dict[str, Any]
    """By the names in a model file."""
    target: Target
    seed: Float[np.ndarray, "rows columns channel"]
    """The cells that growth starts from; see `nca.seed`."""


def read_arrays(path: Path) -> ArrayModel:
    """Read a model file that is known to be whole: nothing is checked, unlike in `nca.model_file`."""
    with safe_open(path, "numpy") as file:
        tables = json.loads(file.metadata()["ncatool"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    target = Target(arrays.pop("target"), tables["target"]["padding"])
    config = read_table(ModelConfig, tables["model"], str(path))
    seed = arrays.pop("seed", None)
    return ArrayModel(config, arrays, target, make_plain_seed(config.channels) if seed is None else seed)


def make_plain_seed(channels: int) -> Float[np.ndarray, "1 1 channel"]:
    """Return the seed of a model file without one: one cell with alpha and hidden channels 1; see `nca.seed`."""
    seed = np.ones((1, 1, channels), np.float32)
    seed[..., :ALPHA] = 0
    return seed


def make_seed_array(model: ArrayModel) -> ArrayState:
    """Return the state that growth starts from: the seed in the middle of the grid; see `nca.seed.place_seed`."""
    height, width = model.target.shape
    rows, columns = model.seed.shape[:2]
    state = np.zeros((height, width, model.config.channels), np.float32)
    for row, column in np.argwhere(model.seed.any(axis=-1)):
        y, x = height // 2 - rows // 2 + row, width // 2 - columns // 2 + column
        state[y % height, x % width] = model.seed[row, column]
    return state


def step_array(state: ArrayState, model: ArrayModel, fire: Bool[np.ndarray, "height width"]) -> ArrayState:
    """Return the state after one step; see `nca.rule.step`."""
    weights = model.weights
    hidden = np.maximum(_perceive(state, model.config) @ weights["hidden.weight"].T + weights["hidden.bias"], 0)
    change = hidden @ weights["output.weight"].T + weights.get("output.bias", np.float32(0))
    updated = state + change * fire[..., None]
    return updated * (_find_alive(state, model.config) & _find_alive(updated, model.config))[..., None]


def _shift(values: np.ndarray, boundary: Boundary) -> Iterator[np.ndarray]:
    """Yield the array as seen from each cell's nine neighbours, row by row."""
    height, width = values.shape[:2]
    around = [(1, 1), (1, 1), *[(0, 0)] * (values.ndim - 2)]
    padded = np.pad(values, around, mode="wrap" if boundary is Boundary.WRAP else "constant")
    for y, x in itertools.product(range(3), range(3)):
        yield padded[y : y + height, x : x + width]


def _find_alive(state: ArrayState, config: ModelConfig) -> Bool[np.ndarray, "height width"]:
    return np.max(list(_shift(state[..., ALPHA], config.boundary)), axis=0) > config.threshold


def _perceive(state: ArrayState, config: ModelConfig) -> Float[np.ndarray, "height width perception"]:
    rows, divisor = STENCILS[config.filter]
    stencil = np.array(rows, np.float32) / np.float32(divisor)
    seen = np.stack(list(_shift(state, config.boundary)))
    filtered = [np.tensordot(one.ravel(), seen, 1) for one in (stencil, stencil.T)]
    return np.concatenate([state, *filtered], axis=-1)
