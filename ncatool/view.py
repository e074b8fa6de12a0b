"""States as pictures: colours on a background, palettes, labels."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageColor, ImageDraw

from ncatool.errors import UsageError

Picture = UInt8[np.ndarray, "height width 3"]


def colour(name: str) -> tuple[int, int, int]:
    """A colour by name (`white`) or code (`#1e1e2e`)."""
    try:
        return ImageColor.getrgb(name)[:3]
    except ValueError:
        raise UsageError(f"{name!r} is not a colour", "give a name such as white or a code such as #1e1e2e") from None


def on_background(visible: Float[np.ndarray, "height width 4"], background: tuple[int, int, int]) -> Picture:
    """Premultiplied RGBA over a background, clipped to what a screen can show."""
    alpha = np.clip(visible[..., 3:], 0, 1)
    mixed = np.clip(visible[..., :3], 0, 1) + (1 - alpha) * (np.asarray(background, np.float32) / 255)
    return np.round(np.clip(np.nan_to_num(mixed), 0, 1) * 255).astype(np.uint8)


def enlarged(picture: UInt8[np.ndarray, "height width ..."], scale: int) -> UInt8[np.ndarray, "tall wide ..."]:
    """Each cell as a square of scale × scale pixels."""
    return picture.repeat(scale, axis=0).repeat(scale, axis=1)


def default_scale(height: int, width: int) -> int:
    """Brings the longer side to about 280 pixels."""
    return max(1, 280 // max(height, width))


def sheet(pictures: list[Picture], labels: list[str], columns: int, background: tuple[int, int, int]) -> Image.Image:
    """Pictures of one size in rows, each with its label below."""
    height, width = pictures[0].shape[:2]
    gap, line = 8, 16
    rows = -(-len(pictures) // columns)
    size = (columns * (width + gap) + gap, rows * (height + line + gap) + gap)
    image = Image.new("RGB", size, background)
    draw = ImageDraw.Draw(image)
    ink = "black" if sum(background) > 382 else "white"
    for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        x, y = gap + i % columns * (width + gap), gap + i // columns * (height + line + gap)
        image.paste(Image.fromarray(picture), (x, y))
        draw.text((x, y + height + 2), label, fill=ink)
    return image
