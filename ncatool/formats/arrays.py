"""`.npz`: the weights by name, the kernels, the target and all settings, for numpy."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ncatool.formats.common import Fire, describe_model, run_dense
from ncatool.nca.filters import filter_pair
from ncatool.nca.model_file import ModelData, tensors_to_weights, weights_to_tensors
from ncatool.nca.types import State


def write(model: ModelData, record: Mapping[str, Any], name: str, path: Path) -> None:
    """Arrays as in a model file; `kernels` [2, 3, 3] are the filter and its transpose, `settings` is JSON."""
    arrays: dict[str, Any] = {key: tensor.detach().numpy() for key, tensor in weights_to_tensors(model.weights).items()}
    arrays["kernels"] = filter_pair(model.config.filter).numpy()
    arrays["target"] = model.target.pixels
    arrays["settings"] = np.array(json.dumps(describe_model(model, record, name)))
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def run(model: ModelData, path: Path, fire: Fire) -> State:
    """The weights read back, by the dense rule."""
    with np.load(path, allow_pickle=False) as arrays:
        names = weights_to_tensors(model.weights)
        weights = tensors_to_weights({name: torch.from_numpy(arrays[name]) for name in names})
    return run_dense(dataclasses.replace(model, weights=weights), fire)
