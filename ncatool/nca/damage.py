"""Damage: which cells of a picture each shape erases, and what training erases at random."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool
from torch import Tensor

from ncatool.config.names import Damage
from ncatool.nca.types import Mask

Centre = tuple[float, float]
"""Row and column, in cells."""

DamageShape = Callable[..., Mask]
"""A function of (height, width, size, centre=None) that returns the erased cells; see `DAMAGE_SHAPES`."""


def circle_mask(height: int, width: int, y: float, x: float, radius: float) -> Mask:
    """Return the cells whose centres lie within `radius` of (y, x); all in cells."""
    rows = torch.arange(height).unsqueeze(1) - y
    columns = torch.arange(width) - x
    return rows**2 + columns**2 <= radius**2


def _select_circle(height: int, width: int, size: float, centre: Centre | None = None) -> Mask:
    y, x = centre or ((height - 1) / 2, (width - 1) / 2)
    return circle_mask(height, width, y, x, size * min(height, width))


def _make_half_damage(axis: int, second: bool) -> DamageShape:
    """Return the shape that erases the first or the second half along an axis: 0 for rows, 1 for columns."""

    def select_half(height: int, width: int, size: float, centre: Centre | None = None) -> Mask:
        position = torch.arange((height, width)[axis]) < (height, width)[axis] / 2
        return (position ^ second).unsqueeze(1 - axis).expand(height, width)

    return select_half


def _select_square(height: int, width: int, size: float, centre: Centre | None = None) -> Mask:
    y, x = centre or ((height - 1) / 2, (width - 1) / 2)
    half = size * min(height, width)
    rows = (torch.arange(height) - y).abs() <= half
    columns = (torch.arange(width) - x).abs() <= half
    return rows.unsqueeze(1) & columns


DAMAGE_SHAPES: dict[Damage, DamageShape] = {
    Damage.CIRCLE: _select_circle,
    Damage.LEFT: _make_half_damage(1, second=False),
    Damage.RIGHT: _make_half_damage(1, second=True),
    Damage.TOP: _make_half_damage(0, second=False),
    Damage.BOTTOM: _make_half_damage(0, second=True),
    Damage.SQUARE: _select_square,
}
"""The function of each shape.

`size` is the radius of a circle or half the side of a square, as a share of the picture's shorter side, and `centre`
its middle, by default that of the picture. Halves ignore both.
"""


DEFAULT_SIZES = {Damage.CIRCLE: 0.3, Damage.SQUARE: 0.25}
"""Default sizes; a square then has half the side of the picture."""


def draw_circle(visible: Mask, generator: torch.Generator, side: int = 0) -> Mask:
    """Draw a circle around one of the `visible` cells, or around any cell where none is visible.

    Its radius is 0.1 to 0.4 times `side` cells, by default the shorter side of the mask.
    """
    height, width = visible.shape
    cells = visible.nonzero() if visible.any() else torch.ones_like(visible).nonzero()
    y, x = cells[torch.randint(len(cells), (), generator=generator)].tolist()
    radius = 0.1 + 0.3 * torch.rand((), generator=generator).item()
    return circle_mask(height, width, y, x, radius * (side or min(height, width)))


HALVES = (Damage.LEFT, Damage.RIGHT, Damage.TOP, Damage.BOTTOM)

HALF_SHARE = 0.15
"""Share of the damage in training that is a half of the picture, by measurement: without, some models do not learn to
heal halves; with twice as many, phantoms, whose halves mirror each other, come out shifted."""


def draw_damage(visible: Mask, generator: torch.Generator) -> Mask:
    """Draw what training erases: one of the four halves of the picture, or a circle as `draw_circle` does."""
    if torch.rand((), generator=generator).item() >= HALF_SHARE:
        return draw_circle(visible, generator)
    shape = HALVES[int(torch.randint(len(HALVES), (), generator=generator))]
    return DAMAGE_SHAPES[shape](*visible.shape, 0)


def pad_mask(mask: Mask, padding: int) -> Bool[Tensor, "gridheight gridwidth"]:
    """Return a mask of the picture as a mask of the padded grid; cells of the padding are False."""
    return torch.nn.functional.pad(mask, (padding,) * 4)
