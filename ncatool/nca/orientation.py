"""The orientation of what a model grows: its picture mirrored and turned, by its weights, its seed, or both.

A filter with a direction gives one to the cells, so the weights are turned. A symmetric filter gives none: there it
comes from the seed, where that has several cells.
"""

from __future__ import annotations

import dataclasses
import math

import torch

from ncatool.errors import UsageError
from ncatool.nca.model_file import ModelData
from ncatool.nca.seed import turn_seed
from ncatool.nca.weights import Weights


def turn_model(model: ModelData, degrees: float, mirror: bool = False) -> ModelData:
    """Return a model that grows the picture turned counter-clockwise, after it is mirrored left to right where asked.

    Both are about the cell in the middle. With a symmetric filter right angles are exact, others near: the turned seed
    is rounded to the grid. Raises UsageError where that filter comes with a seed of one cell.
    """
    if not degrees and not mirror:
        return model
    if not model.has_direction:
        flag = "--rotate" if degrees else "--mirror"
        raise UsageError(
            f"the {model.config.filter} filter is symmetric, and the seed is one cell: nothing has a direction",
            f"leave {flag} out, or train a model with a direction: ncatool train --seed-cells three",
        )
    symmetric = model.config.filter.is_symmetric
    turned = torch.stack([turn_seed(seed, degrees, mirror) for seed in model.seeds])
    return dataclasses.replace(
        model,
        weights=model.weights if symmetric else turn_weights(model.weights, degrees, mirror),
        own_seed=None if model.own_seed is None else turned if len(turned) > 1 else turned[0],
    )


def turn_weights(weights: Weights, degrees: float, mirror: bool = False) -> Weights:
    """Return weights, for a filter with a direction, that grow the picture turned counter-clockwise.

    The article (https://distill.pub/2020/growing-ca) turns what a cell perceives: the two filtered values (a, b) become
    (a cos t - b sin t, a sin t + b cos t). The hidden layer is linear in them, so its weights can be turned instead.
    To mirror the picture before, a is negated, which is the horizontal derivative.
    """
    own, first, second = weights.hidden_weight.chunk(3, dim=1)
    if mirror:
        first = -first
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    turned = torch.cat([own, cos * first + sin * second, cos * second - sin * first], dim=1)
    return weights._replace(hidden_weight=turned)
