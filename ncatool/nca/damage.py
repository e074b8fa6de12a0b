"""TODO."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool
from torch import Tensor

from ncatool.config.names import Damage
from ncatool.nca.types import Mask

Centre = tuple[float, float]


DamageShape = Callable[..., Mask]
"""Cells of a picture that a kind of damage erases, by (height, width, size, centre=None)."""


def circle_mask(height: int, width: int, y: float, x: float, radius: float) -> Mask:
    """Cells whose centres lie within `radius` of (y, x); all in cells."""
    rows = torch.arange(height).unsqueeze(1) - y
    columns = torch.arange(width) - x
    return rows**2 + columns**2 <= radius**2


def _circle_damage(height: int, width: int, size: float, centre: Centre | None = None) -> Mask:
    y, x = centre or ((height - 1) / 2, (width - 1) / 2)
    return circle_mask(height, width, y, x, size * min(height, width))


def _half_damage(axis: int, second: bool) -> DamageShape:
    def mask(height: int, width: int, size: float, centre: Centre | None = None) -> Mask:
        position = torch.arange((height, width)[axis]) < (height, width)[axis] / 2
        return (position ^ second).unsqueeze(1 - axis).expand(height, width)

    return mask


def _square_damage(height: int, width: int, size: float, centre: Centre | None = None) -> Mask:
    y, x = centre or ((height - 1) / 2, (width - 1) / 2)
    half = size * min(height, width)
    rows = (torch.arange(height) - y).abs() <= half
    columns = (torch.arange(width) - x).abs() <= half
    return rows.unsqueeze(1) & columns


DAMAGE_SHAPES: dict[Damage, DamageShape] = {
    Damage.CIRCLE: _circle_damage,
    Damage.LEFT: _half_damage(1, second=False),
    Damage.RIGHT: _half_damage(1, second=True),
    Damage.TOP: _half_damage(0, second=False),
    Damage.BOTTOM: _half_damage(0, second=True),
    Damage.SQUARE: _square_damage,
}
"""Cells that each shape erases from a picture of this height and width; `size`, where it has one, is
its radius or half side as a share of the shorter side, `centre` its row and column."""


DEFAULT_SIZES = {Damage.CIRCLE: 0.3, Damage.SQUARE: 0.25}
"""Radius and half side by default: the square then has half the picture's side."""


def draw_circle(visible: Mask, generator: torch.Generator, side: int = 0) -> Mask:
    """A circle around one of the `visible` cells, with a radius of 0.1 to 0.4 of `side` cells.

    The side is by default the shorter one of the mask.
    """
    height, width = visible.shape
    cells = visible.nonzero() if visible.any() else torch.ones_like(visible).nonzero()
    y, x = cells[torch.randint(len(cells), (), generator=generator)].tolist()
    radius = 0.1 + 0.3 * torch.rand((), generator=generator).item()
    return circle_mask(height, width, y, x, radius * (side or min(height, width)))


def pad_mask(mask: Mask, padding: int) -> Bool[Tensor, "gridheight gridwidth"]:
    """A mask of the picture as one of the padded grid: damage lands on the picture at every padding."""
    return torch.nn.functional.pad(mask, (padding,) * 4)
