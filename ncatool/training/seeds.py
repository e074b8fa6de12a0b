"""The seeds from which a run's pictures grow."""

from __future__ import annotations

import numpy as np
import torch

from ncatool.config.flat import choose_seed_cells
from ncatool.config.schema import RunConfig
from ncatool.data.target import Target
from ncatool.nca.seed import apply_codes, check_fit, choose_radius, draw_codes, make_seed
from ncatool.nca.state import ALPHA
from ncatool.nca.types import Seed, Seeds


def prepare_seeds(config: RunConfig, target: Target, given: Seed | Seeds | None, generator: torch.Generator) -> Seeds:
    """Return the seed of each picture: those given where they are as many, or else new ones as configured.

    The seeds of several pictures differ by a code in their hidden channels; with one seed given, that is what they are
    made of. Raises UsageError for a seed that does not fit the grid.
    """
    count, channels = len(target.pictures), config.model.channels
    if given is None:
        cells = choose_seed_cells(config.train.seed_cells, config.model.filter, count)
        opaque = np.all([one.pixels[..., ALPHA] > 255 * config.model.threshold for one in target.pictures], axis=0)
        given = make_seed(channels, cells, config.train.seed_radius or choose_radius(opaque))
    seeds = given.reshape(-1, *given.shape[-3:])
    if len(seeds) != count:
        seeds = apply_codes(seeds[0], draw_codes(count, channels - ALPHA - 1, generator))
    for seed in seeds:
        check_fit(seed, *target.shape)
    return seeds
