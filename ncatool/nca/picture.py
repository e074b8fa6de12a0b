"""Pictures of states: visible channels over a background, as 8-bit RGB or RGBA."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import ImageColor

from ncatool.errors import UsageError

Picture = UInt8[np.ndarray, "_height _width _colours"]
"""RGB, or RGBA that is not premultiplied. Axes with an underscore may differ between the pictures of one call."""


MAX_TILES_ASPECT = 1.6
"""Width of pictures in rows, divided by their height."""
_LINE_GREY = 204
"""Grey of the lines between them."""
_CHECKER_GREYS = (153, 102)
_CHECKER_PIXELS = 8
"""Side of a square of the checkerboard."""


@dataclass(frozen=True)
class Background:
    """What shows through transparent cells: a colour, a checkerboard, or nothing."""

    colour: tuple[int, int, int] = (255, 255, 255)
    """Also the colour around pictures."""
    checker: bool = False
    transparent: bool = False

    @property
    def paper(self) -> tuple[int, ...]:
        """The colour around pictures: RGB, or RGBA where it is transparent."""
        return (*self.colour, 0) if self.transparent else self.colour

    @property
    def ink(self) -> tuple[int, ...]:
        """The colour of text: black or white; a grey that is legible on both where the background is transparent."""
        if self.transparent:
            return (128, 128, 128, 255)
        return (0, 0, 0) if sum(self.colour) > 382 else (255, 255, 255)

    def fill(self, height: int, width: int, scale: int) -> UInt8[np.ndarray, "height width 3"]:
        """Return the pixels behind a picture, one a cell; later each is drawn as scale × scale pixels."""
        if not self.checker:
            return np.broadcast_to(np.asarray(self.colour, np.uint8), (height, width, 3))
        cells = max(1, _CHECKER_PIXELS // scale)
        odd = (np.arange(height)[:, None] // cells + np.arange(width) // cells) % 2
        return np.repeat(np.asarray(_CHECKER_GREYS, np.uint8)[odd][..., None], 3, axis=2)


WHITE, BLACK = Background(), Background((0, 0, 0))


def parse_background(name: str) -> Background:
    """Return the background for a colour's name (`white`) or code (`#1e1e2e`), `checker` or `transparent`.

    Raises UsageError for anything else.
    """
    if name == "checker":
        return Background(checker=True)
    if name == "transparent":
        return Background(transparent=True)
    try:
        red, green, blue = ImageColor.getrgb(name)[:3]
        if not 0 <= min(red, green, blue) <= max(red, green, blue) <= 255:
            raise ValueError(name)
    except ValueError:
        hint = "give a name such as white, a code such as #1e1e2e, checker, or transparent"
        raise UsageError(f"{name!r} is not a colour", hint) from None
    return Background((red, green, blue))


def compose(visible: Float[np.ndarray, "height width 4"], background: Background, scale: int = 1) -> Picture:
    """Draw premultiplied RGBA over a background, clipped to 0 to 1; the picture has one pixel a cell."""
    visible = np.clip(np.nan_to_num(visible), 0, 1)
    alpha = visible[..., 3:]
    if background.transparent:
        colour = np.divide(visible[..., :3], alpha, out=np.zeros_like(visible[..., :3]), where=alpha > 0)
        mixed = np.concatenate([colour, alpha], axis=-1)
    else:
        behind = background.fill(visible.shape[0], visible.shape[1], scale) / np.float32(255)
        mixed = visible[..., :3] + (1 - alpha) * behind
    return np.round(np.clip(mixed, 0, 1) * 255).astype(np.uint8)


def enlarge(picture: UInt8[np.ndarray, "height width ..."], scale: int) -> UInt8[np.ndarray, "tall wide ..."]:
    """Return a picture that shows each cell as a square of scale × scale pixels."""
    return picture.repeat(scale, axis=0).repeat(scale, axis=1)


def arrange_tiles(pictures: Sequence[Picture]) -> Picture:
    """Return RGB pictures of one size as tiles in rows, a grey line apart; a single picture stays as it is."""
    height, width = pictures[0].shape[:2]
    count = len(pictures)
    fitting = (rows for rows in range(1, count) if -(-count // rows) * width <= MAX_TILES_ASPECT * rows * height)
    rows = next(fitting, count)
    columns = -(-count // rows)
    canvas = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, 3), _LINE_GREY, np.uint8)
    for i in range(rows * columns):
        top, left = i // columns * (height + 1), i % columns * (width + 1)
        canvas[top : top + height, left : left + width] = pictures[i] if i < count else 255
    return canvas
