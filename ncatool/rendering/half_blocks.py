"""Pictures in the terminal, two pixels a character."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8
from PIL import Image

if TYPE_CHECKING:
    from rich.text import Text


def fit_picture(
    picture: UInt8[np.ndarray, "height width 3"], width: int, height: int, largest: float = 8
) -> UInt8[np.ndarray, "newheight newwidth 3"]:
    """Return a picture as large as fits into so many columns and lines, at most `largest` times its size.

    By a whole number each cell is a square; else its edges are smooth, as squares of two sizes would be seen.
    """
    scale = min(width / picture.shape[1], 2 * height / picture.shape[0], largest)
    size = [max(1, int(side * scale)) for side in (picture.shape[1], picture.shape[0])]
    if scale >= 1 and scale == int(scale):
        return picture.repeat(int(scale), axis=0).repeat(int(scale), axis=1)
    way = Image.Resampling.BILINEAR if scale > 1 else Image.Resampling.BOX
    return np.asarray(Image.fromarray(picture).resize((size[0], size[1]), way))


def draw_half_blocks(picture: UInt8[np.ndarray, "height width 3"], width: int, height: int = 1000) -> Text:
    """Return a picture as text of half blocks, reduced to fit into `width` columns and `height` lines.

    The upper pixel of a character is its foreground colour, the lower one its background colour.
    """
    from rich.text import Text

    stride = max(1, -(-picture.shape[1] // width), -(-picture.shape[0] // (2 * height)))
    picture = np.asarray(Image.fromarray(picture).reduce(stride))
    if len(picture) % 2:
        picture = np.concatenate([picture, picture[-1:]])
    text = Text(no_wrap=True)
    for upper, lower in zip(picture[::2], picture[1::2], strict=True):
        for ((a, b, c), (d, e, f)), run in groupby(zip(upper.tolist(), lower.tolist(), strict=True)):
            text.append("▀" * sum(1 for _ in run), f"rgb({a},{b},{c}) on rgb({d},{e},{f})")
        text.append("\n")
    return text
