"""The check that decides whether an engine is trusted: it must agree with the dense rule."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ncatool.config.names import Precision
from ncatool.config.schema import ModelConfig
from ncatool.engine.dense import DenseEngine
from ncatool.engine.interface import Engine
from ncatool.nca.weights import draw_weights

DEFAULT_MODEL = ModelConfig()

ENGINE_TOLERANCE = {Precision.FLOAT32: 1e-4, Precision.BFLOAT16: 2e-2}
"""Largest difference from the dense rule in an engine that is trusted, as a share of the largest value."""


@torch.inference_mode(mode=False)  # a caller's inference mode must not keep the dense rule from its gradients
def agrees_with_dense(
    engine: Callable[..., Engine],
    device: torch.device,
    model: ModelConfig = DEFAULT_MODEL,
    precision: Precision = Precision.FLOAT32,
) -> bool:
    """Return whether an engine computes the dense rule's states and gradients, on a small grid of living cells.

    `engine` makes it from a model, parameters, height, width and precision.
    """
    generator = torch.Generator().manual_seed(0)
    weights = draw_weights(model, generator)
    output = 0.02 * torch.randn(weights.output_weight.shape, generator=generator)
    w1, b1, w2, b2 = (t.to(device, torch.float32) for t in (*weights[:2], output, torch.zeros(model.channels)))
    state = (0.4 * torch.randn(2, 9, 7, model.channels, generator=generator)).to(device, torch.float32)
    fire = (torch.rand(3, 2, 9, 7, generator=generator) < model.fire_rate).to(device)
    outcomes = []
    for make in (engine, DenseEngine):
        one = make(model, (w1, b1, w2, b2), 9, 7, precision)
        tape = one.record(state, fire)
        first, gradients = one.reverse(tape, state)
        outcomes.append((tape.final.detach(), first, *gradients))
    return all(
        (a - b).abs().max() <= ENGINE_TOLERANCE[precision] * b.abs().max() for a, b in zip(*outcomes, strict=True)
    )
