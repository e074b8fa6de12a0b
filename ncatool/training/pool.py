"""The pool of states that rollouts start from."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from ncatool.nca.types import State


class Pool:
    """States that training draws from and writes back to: [size, height, width, channel]."""

    def __init__(self, states: State) -> None:
        self.states = states

    def draw(
        self, pictures: Int[Tensor, "batch"], count: int, generator: torch.Generator
    ) -> tuple[Int[Tensor, "batch"], State]:
        """Return indices of entries for these pictures, each different, and copies of their states.

        Of `count` pictures, entry i is picture i % count.
        """
        order = torch.randperm(len(self.states), generator=generator)
        if count > 1:
            waiting = {picture: order[order % count == picture].tolist() for picture in set(pictures.tolist())}
            order = torch.tensor([waiting[picture].pop() for picture in pictures.tolist()])
        index = order[: len(pictures)]
        return index, self.states[index.to(self.states.device)]

    def write_back(self, index: Int[Tensor, "batch"], states: State) -> None:
        """Replace the states of these entries."""
        self.states[index.to(self.states.device)] = states.detach().to(self.states)
