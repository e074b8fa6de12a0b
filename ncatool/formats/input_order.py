"""The orders in which networks of other projects take their inputs, and which of them grows a target."""

from __future__ import annotations

import math

import torch

from ncatool.config.names import Order
from ncatool.config.schema import ModelConfig
from ncatool.data.target import Target
from ncatool.engine.advance import measure_mse
from ncatool.nca.model_file import ModelData
from ncatool.nca.types import Seed
from ncatool.nca.weights import Weights

MEASURED_STEPS = (96, 200)
"""Steps at which a rollout is compared with the target: models that do not persist are at their best at the first."""
_ROLLOUTS = 4
_CLEARLY_BETTER = 0.5
"""Share of another order's MSE, and of an empty picture's, below which an MSE decides for an order."""


def reorder_inputs(weights: Weights, order: Order) -> Weights:
    """Return weights with their inputs in blocks: all channels' identity, then filter, then transposed filter.

    The seed project interleaves them: input 3 · channel + k, with k = 0 identity, 1 filter, 2 transposed filter.
    A network that ran on [channel, width, height] has the last two blocks in the opposite order.
    """
    hidden, inputs = weights.hidden_weight.shape
    blocks = weights.hidden_weight.reshape(hidden, 3, inputs // 3)
    if order is Order.INTERLEAVED:
        blocks = weights.hidden_weight.reshape(hidden, inputs // 3, 3).transpose(1, 2)
    elif order is Order.TRANSPOSED:
        blocks = blocks[:, [0, 2, 1]]
    return weights._replace(hidden_weight=blocks.reshape(hidden, inputs).contiguous())


def measure_orders(
    weights: Weights, config: ModelConfig, target: Target, seed: Seed | None = None
) -> dict[Order, float]:
    """Return the lowest median MSE that each order of a network's inputs leads to; infinite if it explodes.

    Without a seed, it grows from the plain one cell.
    """
    errors = {}
    for order in Order:
        model = ModelData(reorder_inputs(weights, order), config, target, own_seed=seed)
        measured = measure_mse(model, MEASURED_STEPS, _ROLLOUTS, torch.Generator().manual_seed(0))
        medians = measured.nan_to_num(nan=math.inf, posinf=math.inf).median(dim=1).values
        errors[order] = medians.min().item()
    return errors


def choose_order(errors: dict[Order, float], assumed: Order, target: Target) -> tuple[Order, bool]:
    """Return an order, and whether it grows the target: the best if it is clearly better, else the assumed one.

    Growing means an MSE well below that of an empty picture.
    """
    grown = _CLEARLY_BETTER * float((target.premultiply() ** 2).mean())
    best = min(errors, key=lambda order: (errors[order], order is not assumed))
    if errors[best] <= min(grown, _CLEARLY_BETTER * errors[assumed]):
        return best, True
    return assumed, errors[assumed] <= grown
