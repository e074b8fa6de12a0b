"""A small model of several pictures, for tests; what it grows does not matter."""

import dataclasses

import numpy as np
import torch

from ncatool.config.names import SeedCells
from ncatool.config.schema import ModelConfig
from ncatool.data.target import Target
from ncatool.nca.model_file import ModelData
from ncatool.nca.seed import apply_codes, draw_codes, make_seed
from ncatool.nca.weights import draw_weights

NAMES = ("red", "green", "blue")


def make_several(names=NAMES, side=9, padding=2, channels=8, cells=SeedCells.ONE, train=None, **rule):
    """Return a model of pictures, each of one colour, that differ in their seeds."""
    config = ModelConfig(channels=channels, hidden=8, **rule)
    generator = torch.Generator().manual_seed(3)
    weights = draw_weights(config, generator)
    weights = weights._replace(output_weight=0.02 * torch.randn(channels, 8, generator=generator))
    seeds = apply_codes(make_seed(channels, cells), draw_codes(len(names), channels - 4, generator))
    targets = [_paint(i, name, side, padding) for i, name in enumerate(names)]
    target = dataclasses.replace(targets[0], others=tuple(targets[1:]))
    return ModelData(weights, config, target, train or {}, seeds)


def _paint(i, name, side, padding):
    pixels = np.full((side, side, 4), 255, np.uint8)
    pixels[..., :3] = np.random.default_rng(i).integers(0, 255, 3)
    return Target(pixels, padding, {"source": f"{name}.png"}, name)
