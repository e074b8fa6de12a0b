"""TODO."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from ncatool.nca.picture import Background, Picture

DEFAULT_SIDE_PIXELS = 280
"""Pixels that the longer side of a picture takes, about."""


_GAP, _LINE_HEIGHT = 8, 16


def default_scale(height: int, width: int, side: int = DEFAULT_SIDE_PIXELS) -> int:
    """Brings the longer side to about `side` pixels."""
    return max(1, side // max(height, width))


def shorten_label(text: str, width: float, draw: ImageDraw.ImageDraw) -> str:
    """One line of text that fits into a width in pixels."""
    text = "".join(letter if letter.isprintable() else " " for letter in text[:200])
    if draw.textlength(text) <= width:
        return text
    while text and draw.textlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."


def arrange_sheet(pictures: Sequence[Picture], labels: Sequence[str], columns: int, ground: Background) -> Image.Image:
    """Pictures in rows, each in the middle of a tile, with its label below; no line is kept for empty labels."""
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    columns, line = min(columns, len(pictures)), _LINE_HEIGHT if any(labels) else 0
    rows = -(-len(pictures) // columns)
    size = (columns * (width + _GAP) + _GAP, rows * (height + line + _GAP) + _GAP)
    image = Image.new("RGBA" if ground.transparent else "RGB", size, ground.paper)
    draw = ImageDraw.Draw(image)
    for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        x, y = _GAP + i % columns * (width + _GAP), _GAP + i // columns * (height + line + _GAP)
        tall, wide = picture.shape[:2]
        image.paste(Image.fromarray(picture), (x + (width - wide) // 2, y + (height - tall) // 2))
        if label:
            draw.text((x, y + height + 2), shorten_label(label, width, draw), fill=ground.ink)
    return image
