"""The states that a batch starts from: how many of the pool's the seed replaces, and which are damaged."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from ncatool.nca.damage import draw_damage, pad_mask
from ncatool.nca.types import State

REPLACEMENT_INTERVAL = 8
"""States drawn from the pool for each one that the seed replaces."""

EARLY_REPLACEMENT_INTERVAL = 4
"""The same early in the training of a symmetric filter."""


def count_replaced(size: int, done: int, early: bool) -> int:
    """Return how many states of a batch the seed replaces, after `done` batches: on average one in eight.

    As in the article. With more, states that have not healed yet are the worst of their batch and never get the time
    to heal. `early` is whether the other interval holds.
    """
    interval = EARLY_REPLACEMENT_INTERVAL if early else REPLACEMENT_INTERVAL
    return (done + 1) * size // interval - done * size // interval


def damage_last(
    states: State,
    grown: Bool[Tensor, "batch"],
    count: int,
    visible: Sequence[Bool[Tensor, "_ _"]],
    padding: int,
    generator: torch.Generator,
) -> None:
    """Erase a circle or a half of each of the last `count` states that has grown, in place.

    `visible` are the cells that show something in the picture of each state, without `padding`.
    """
    has_grown = grown.tolist()
    for i in range(len(states) - count, len(states)):
        erased = draw_damage(visible[i], generator)
        if has_grown[i]:
            states[i, pad_mask(erased, padding).to(states.device)] = 0
