"""What several pictures ask of the settings of a run, checked before anything starts."""

from __future__ import annotations

import torch

from ncatool.config.names import Regime
from ncatool.config.schema import RunConfig, TrainConfig
from ncatool.errors import UsageError
from ncatool.nca.seed import draw_codes
from ncatool.nca.state import ALPHA


def check_pictures(config: RunConfig, pictures: int) -> None:
    """Raise UsageError where so many pictures have no place in the pool, or where there are not so many codes."""
    train, hidden = config.train, config.model.channels - ALPHA - 1
    if pictures == 1:
        return
    draw_codes(pictures, hidden, torch.Generator())
    least = count_pool_states(train, pictures)
    if train.regime is not Regime.GROWING and train.pool_size < least:
        raise UsageError(
            f"{pictures} pictures and a batch of {train.batch_size} need a pool of {least} states, "
            f"but pool-size is {train.pool_size}",
            f"give --pool-size {least} or more",
        )


def count_pool_states(train: TrainConfig, pictures: int) -> int:
    """Return the states that the pool must hold at least: of each picture as many as a batch takes of it."""
    return pictures * -(-train.batch_size // pictures) if pictures > 1 else train.batch_size
