"""States as pictures: colours on a background, views of what carries no colour, labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageColor, ImageDraw

from ncatool.config import View
from ncatool.errors import UsageError

Picture = UInt8[np.ndarray, "_height _width _colours"]
"""RGB, or RGBA that is not premultiplied. The underscores: one call may take pictures of several sizes."""
Values = Float[np.ndarray, "height width"]

SIDE = 280
"""Pixels that the longer side of a picture takes, about."""
_MOST = 1.0
"""Of a hidden channel: what is above is drawn like this; 98 % of a trained model's values are below."""
_DECADES = 3
"""Powers of ten, up to 1, that changes and errors are drawn on."""
_CHECKER = (153, 102)
_CHECKER_PIXELS = 8
_GAP, _LINE = 8, 16


@dataclass(frozen=True)
class Background:
    """What shows through transparent cells: a colour, a checkerboard, or nothing."""

    colour: tuple[int, int, int] = (255, 255, 255)
    """Of the paper around pictures, too."""
    checker: bool = False
    transparent: bool = False

    @property
    def paper(self) -> tuple[int, ...]:
        """What lies around pictures."""
        return (*self.colour, 0) if self.transparent else self.colour

    @property
    def ink(self) -> tuple[int, ...]:
        """A colour to write with; on nothing, one that is legible on light and dark."""
        if self.transparent:
            return (128, 128, 128, 255)
        return (0, 0, 0) if sum(self.colour) > 382 else (255, 255, 255)

    def behind(self, height: int, width: int, scale: int) -> UInt8[np.ndarray, "height width 3"]:
        """What is behind a picture whose cells are drawn with this scale."""
        if not self.checker:
            return np.broadcast_to(np.asarray(self.colour, np.uint8), (height, width, 3))
        cells = max(1, _CHECKER_PIXELS // scale)
        odd = (np.arange(height)[:, None] // cells + np.arange(width) // cells) % 2
        return np.repeat(np.asarray(_CHECKER, np.uint8)[odd][..., None], 3, axis=2)


WHITE, BLACK = Background(), Background((0, 0, 0))


def background(name: str) -> Background:
    """A colour by name (`white`) or code (`#1e1e2e`), `checker` or `transparent`."""
    if name == "checker":
        return Background(checker=True)
    if name == "transparent":
        return Background(transparent=True)
    try:
        red, green, blue = ImageColor.getrgb(name)[:3]
        if not 0 <= min(red, green, blue) <= max(red, green, blue) <= 255:
            raise ValueError(name)
    except ValueError:
        mend = "give a name such as white, a code such as #1e1e2e, checker, or transparent"
        raise UsageError(f"{name!r} is not a colour", mend) from None
    return Background((red, green, blue))


def coloured(visible: Float[np.ndarray, "height width 4"], ground: Background, scale: int = 1) -> Picture:
    """Premultiplied RGBA over a background, clipped to what a screen can show."""
    visible = np.clip(np.nan_to_num(visible), 0, 1)
    alpha = visible[..., 3:]
    if ground.transparent:
        plain = np.divide(visible[..., :3], alpha, out=np.zeros_like(visible[..., :3]), where=alpha > 0)
        mixed = np.concatenate([plain, alpha], axis=-1)
    else:
        mixed = visible[..., :3] + (1 - alpha) * (
            ground.behind(visible.shape[0], visible.shape[1], scale) / np.float32(255)
        )
    return np.round(np.clip(mixed, 0, 1) * 255).astype(np.uint8)


@cache
def _colours(name: str) -> UInt8[np.ndarray, "256 3"]:
    """A map of matplotlib's."""
    from matplotlib import colormaps

    return colormaps[name](np.arange(256), bytes=True)[:, :3]


def _mapped(values: Values, name: str) -> Picture:
    """Values in [0, 1] through a map; what is no number as the top."""
    return _colours(name)[np.round(np.clip(np.nan_to_num(values, nan=1), 0, 1) * 255).astype(np.uint8)]


def _decades(values: Values) -> Picture:
    """Values in [0.001, 1], logarithmically."""
    with np.errstate(divide="ignore"):
        return _mapped(1 + np.log10(values) / _DECADES, "inferno")


class Scene(NamedTuple):
    """What there is to see of a model."""

    cells: Float[np.ndarray, "height width channels"]
    before: Float[np.ndarray, "height width channels"]
    """The cells one frame before."""
    wanted: Float[np.ndarray, "height width 4"]
    """What the first four channels should be."""
    mse: float = 0
    """Of the whole grid, over RGBA."""


class Panel(NamedTuple):
    """A labelled picture, a pixel a cell."""

    label: str
    picture: Picture


def _rgba(scene: Scene, ground: Background, scale: int) -> list[Panel]:
    return [Panel("RGBA", coloured(scene.cells[..., :4], ground, scale))]


def _alpha(scene: Scene, ground: Background, scale: int) -> list[Panel]:
    return [Panel("alpha, 0 to 1", _mapped(scene.cells[..., 3], "gray"))]


def _hidden(scene: Scene, ground: Background, scale: int) -> list[Panel]:
    hidden = np.moveaxis(scene.cells[..., 4:], -1, 0)
    if not len(hidden):
        raise UsageError("this model has no hidden channels to show", "choose another --view")
    pictures = [_mapped((values / _MOST + 1) / 2, "RdBu_r") for values in hidden]
    return [Panel(f"channel {i}, -1 to 1" if i == 4 else f"{i}", picture) for i, picture in enumerate(pictures, 4)]


def _change(scene: Scene, ground: Background, scale: int) -> list[Panel]:
    return [Panel("change, 0.001 to 1", _decades(np.abs(scene.cells - scene.before).mean(-1)))]


def _error(scene: Scene, ground: Background, scale: int) -> list[Panel]:
    return [Panel("error, 0.001 to 1", _decades(np.abs(scene.cells[..., :4] - scene.wanted).mean(-1)))]


def _all(scene: Scene, ground: Background, scale: int) -> list[Panel]:
    hidden = [_hidden] if scene.cells.shape[-1] > 4 else []
    return [panel for view in (_rgba, _alpha, _change, _error, *hidden) for panel in view(scene, ground, scale)]


VIEWS: dict[View, Callable[[Scene, Background, int], list[Panel]]] = {
    View.RGBA: _rgba,
    View.ALPHA: _alpha,
    View.HIDDEN: _hidden,
    View.CHANGE: _change,
    View.ERROR: _error,
    View.ALL: _all,
}
"""Panels that each view shows of a scene, over a background, drawn with so many pixels a cell."""


def palette_of(view: View) -> list[Picture]:
    """The colour maps that a view draws with, as pictures."""
    maps = {View.ALPHA: ["gray"], View.HIDDEN: ["RdBu_r"], View.CHANGE: ["inferno"], View.ERROR: ["inferno"]}
    return [_colours(name).reshape(16, 16, 3) for name in maps.get(view, ["gray", "inferno", "RdBu_r"])]


def enlarged(picture: UInt8[np.ndarray, "height width ..."], scale: int) -> UInt8[np.ndarray, "tall wide ..."]:
    """Each cell as a square of scale × scale pixels."""
    return picture.repeat(scale, axis=0).repeat(scale, axis=1)


def default_scale(height: int, width: int, side: int = SIDE) -> int:
    """Brings the longer side to about `side` pixels."""
    return max(1, side // max(height, width))


def shortened(text: str, width: float, draw: ImageDraw.ImageDraw) -> str:
    """One line of text that fits into a width in pixels."""
    text = "".join(letter if letter.isprintable() else " " for letter in text[:200])
    if draw.textlength(text) <= width:
        return text
    while text and draw.textlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."


def sheet(pictures: Sequence[Picture], labels: Sequence[str], columns: int, ground: Background) -> Image.Image:
    """Pictures in rows, each in the middle of a tile, with its label below; no line is kept for empty labels."""
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    columns, line = min(columns, len(pictures)), _LINE if any(labels) else 0
    rows = -(-len(pictures) // columns)
    size = (columns * (width + _GAP) + _GAP, rows * (height + line + _GAP) + _GAP)
    image = Image.new("RGBA" if ground.transparent else "RGB", size, ground.paper)
    draw = ImageDraw.Draw(image)
    for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        x, y = _GAP + i % columns * (width + _GAP), _GAP + i // columns * (height + line + _GAP)
        tall, wide = picture.shape[:2]
        image.paste(Image.fromarray(picture), (x + (width - wide) // 2, y + (height - tall) // 2))
        if label:
            draw.text((x, y + height + 2), shortened(label, width, draw), fill=ground.ink)
    return image
