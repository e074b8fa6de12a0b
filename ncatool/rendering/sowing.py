"""Seeds of pictures, and where and when they are sown: `--at 10,20=lizard`, `--morph ladybug@300`, `--blend a:b`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ncatool.config.names import Boundary
from ncatool.errors import UsageError, shorten
from ncatool.nca.model_file import ModelData
from ncatool.nca.pictures import find_picture
from ncatool.nca.seed import fits_grid, list_cells
from ncatool.nca.types import Seed

Place = tuple[int, int]
"""Row and column of a grid."""

BLEND_COUNT = 9
"""Seeds from one picture to another, both included."""


@dataclass(frozen=True)
class Sowing:
    """The seed of a picture, and where and when it is put on the grid."""

    model: ModelData
    """The model of this picture."""
    at: Place | None = None
    """Row and column of the seed's middle; None: the middle of the grid."""
    step: int = 0
    """It comes after this step; at 0 growth starts from it."""


def parse_morphs(texts: Iterable[str], model: ModelData, steps: int) -> tuple[Sowing, ...]:
    """Return the seeds that are sown into what has grown, from texts as `ladybug@300,lizard@500`.

    Raises UsageError for a picture that the model does not have, and for a step that is none or beyond the last.
    """
    sown = []
    for part in (part.strip() for text in texts for part in text.split(",")):
        name, _, digits = part.rpartition("@")
        if not name or not digits.isdecimal() or len(digits) > 9 or not int(digits):
            raise UsageError(f"--morph {shorten(part)} is no picture and step", "write NAME@STEP, such as ladybug@300")
        if int(digits) > steps:
            raise UsageError(
                f"--morph {shorten(part)} comes after the end: the last step is {steps}",
                f"give --steps {digits} or more",
            )
        sown.append(Sowing(_find_one(model, name), step=int(digits)))
    return tuple(sorted(sown, key=lambda one: one.step))


def name_places(places: Sequence[Place], names: Sequence[str], model: ModelData) -> tuple[Sowing, ...]:
    """Return seeds of the named pictures at these places.

    Raises UsageError where only some are named, or the model does not have a picture.
    """
    unnamed = [place for place, name in zip(places, names, strict=True) if not name]
    if unnamed:
        row, column = unnamed[0]
        raise UsageError(f"--at {row},{column} names no picture, but others do", f"write --at {row},{column}=NAME")
    return tuple(Sowing(_find_one(model, name), place) for place, name in zip(places, names, strict=True))


def _find_one(model: ModelData, name: str) -> ModelData:
    if not model.target.others:
        raise UsageError(f"{shorten(name)} is to grow, but this is a model of one picture", "leave the name out")
    return find_picture(model, name)


def blend_seeds(model: ModelData, text: str) -> list[ModelData]:
    """Return models whose seeds lead from one picture's to another's in equal steps, from text as `lizard:ladybug`.

    Each has the nearer picture as its target. Raises UsageError for a picture that the model does not have.
    """
    first, separator, last = text.partition(":")
    if not separator or first == last:
        raise UsageError(f"--blend is {shorten(text)}", "give two pictures, as NAME:NAME")
    ends = [_find_one(model, first), _find_one(model, last)]
    shares = [i / (BLEND_COUNT - 1) for i in range(BLEND_COUNT)]
    return [
        dataclasses.replace(ends[share > 0.5], own_seed=(1 - share) * ends[0].seed + share * ends[1].seed)
        for share in shares
    ]


def check_places(model: ModelData, places: Iterable[Place], grid: tuple[int, int]) -> None:
    """Raise UsageError for a seed whose middle, or any cell where the grid does not wrap, lies outside the grid."""
    for y, x in places:
        if not (0 <= y < grid[0] and 0 <= x < grid[1]):
            raise UsageError(
                f"a seed at row {y}, column {x} lies outside the grid of {grid[0]}x{grid[1]} cells",
                f"rows go from 0 to {grid[0] - 1}, columns from 0 to {grid[1] - 1}",
            )
        if model.config.boundary is not Boundary.WRAP and not fits_grid(model.seed, *grid, (y, x)):
            raise UsageError(
                f"a seed at row {y}, column {x} reaches beyond the edge of the grid of {grid[0]}x{grid[1]} cells",
                _list_places(model.seed, grid),
            )


def _list_places(seed: Seed, grid: tuple[int, int]) -> str:
    """Return in words where on a grid all cells of a seed have room."""
    rows, columns = zip(*list_cells(seed), strict=True)
    top, bottom = -min(rows), grid[0] - 1 - max(rows)
    left, right = -min(columns), grid[1] - 1 - max(columns)
    if top > bottom or left > right:
        return "give a larger --grid"
    return f"the cells of this seed have room from row {top} to {bottom} and from column {left} to {right}"
