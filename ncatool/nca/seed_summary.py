"""A seed in a few words, for people; without torch, as `ncatool info` reads it from a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

Place = tuple[int, int]
"""Row and column from the middle of a seed."""

_ALPHA = 3


def read_places(path: Path) -> list[Place]:
    """Return the places of the seed's cells in a model or checkpoint; none where it is the plain one cell.

    Of several pictures they are those of the first, whose places the others share. A seed that is damaged counts as
    none: `nca.model_file` says what is wrong with it.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            seed = file.get_tensor("seed")
        seed = seed[0] if seed.ndim == 4 else seed
        rows, columns, channels = seed.shape
        if seed.dtype != "float32":
            return []
    except (SafetensorError, OSError, TypeError, ValueError):
        return []
    places = [(int(y) - rows // 2, int(x) - columns // 2) for y, x in zip(*seed.any(axis=-1).nonzero(), strict=True)]
    plain = [0.0] * _ALPHA + [1.0] * (channels - _ALPHA)
    is_plain = places == [(0, 0)] and seed[rows // 2, columns // 2].tolist() == plain
    return [] if is_plain else places


def describe_places(places: Sequence[Place]) -> str:
    """Return how many cells a seed has and how far they lie from its middle: `3 cells, 2 to 2.2 from the middle`."""
    if [*places] == [(0, 0)]:
        return "1 cell, other than the plain one"
    distances = [f"{math.hypot(*place):.2g}" for place in sorted(places, key=lambda place: math.hypot(*place))]
    reach = distances[0] if distances[0] == distances[-1] else f"{distances[0]} to {distances[-1]}"
    return f"{len(places)} cell{'s' if len(places) > 1 else ''}, {reach} from the middle"
