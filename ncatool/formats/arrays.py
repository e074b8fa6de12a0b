"""`.npz`: the weights by name, the kernels, the target and all settings, for numpy."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ncatool.formats.common import Fire, followed, tables
from ncatool.nca.filters import kernels
from ncatool.nca.model_file import Model, named_weights, weights_named
from ncatool.nca.types import State


def write(model: Model, record: Mapping[str, Any], name: str, path: Path) -> None:
    """Arrays as in a model file; `kernels` [2, 3, 3] are the filter and its transpose, `settings` is JSON."""
    arrays: dict[str, Any] = {key: tensor.detach().numpy() for key, tensor in named_weights(model.weights).items()}
    arrays["kernels"] = kernels(model.config.filter).numpy()
    arrays["target"] = model.target.pixels
    arrays["settings"] = np.array(json.dumps(tables(model, record, name)))
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def run(model: Model, path: Path, fire: Fire) -> State:
    """The weights read back, by the dense rule."""
    with np.load(path, allow_pickle=False) as arrays:
        names = named_weights(model.weights)
        weights = weights_named({name: torch.from_numpy(arrays[name]) for name in names})
    return followed(dataclasses.replace(model, weights=weights), fire)
