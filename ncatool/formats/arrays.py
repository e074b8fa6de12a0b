"""`.npz`: weights, filters, target and settings as arrays for numpy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ncatool.data.target import Target
from ncatool.formats.common import describe_model
from ncatool.nca.filters import filter_pair
from ncatool.nca.model_file import ModelData, target_to_tensor, weights_to_tensors
from ncatool.nca.numpy_rule import ArrayModel, make_plain_seed, make_seed_array, step_array
from ncatool.nca.seed import is_plain
from ncatool.nca.types import Fire, State


def write(model: ModelData, record: Mapping[str, Any], name: str, path: Path) -> None:
    """Write the weights under the names of a model file, `kernels`, `target` and `settings`.

    `kernels` [2, 3, 3] are the filter and its transpose, `target` is uint8 RGBA [height, width, 4], and `settings` is
    JSON text. Where the seed is more than the plain one cell, `seed` [rows, columns, channels] are the cells that
    growth starts from, laid so that its cell [rows // 2, columns // 2] is the grid's middle. Of several pictures,
    `target` and `seed` have one more axis before these, and `settings` their names.
    """
    arrays: dict[str, Any] = {key: tensor.detach().numpy() for key, tensor in weights_to_tensors(model.weights).items()}
    arrays["kernels"] = filter_pair(model.config.filter).numpy()
    if model.target.others:
        arrays["seed"] = model.seeds.numpy()
    elif not is_plain(model.seed):
        arrays["seed"] = model.seed.numpy()
    arrays["target"] = target_to_tensor(model.target).numpy()
    arrays["settings"] = np.array(json.dumps(describe_model(model, record, name)))
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def run(model: ModelData, path: Path, fire: Fire) -> State:
    """Return the states that NumPy computes from the seeds with the weights in the file."""
    with np.load(path, allow_pickle=False) as arrays:
        weights = {name: arrays[name] for name in weights_to_tensors(model.weights)}
        seed = arrays["seed"] if "seed" in arrays else make_plain_seed(model.config.channels)
        seeds, targets = (array if array.ndim == 4 else array[None] for array in (seed, arrays["target"]))
    states = []
    for i, (seed, pixels) in enumerate(zip(seeds, targets, strict=True)):
        read = ArrayModel(model.config, weights, Target(pixels, model.target.padding), seed)
        state = make_seed_array(read)
        with np.errstate(all="ignore"):  # a model may explode, which the check says
            for mask in fire[:, i].numpy():
                state = step_array(state, read, mask)
        states.append(state)
    return torch.from_numpy(np.stack(states))
