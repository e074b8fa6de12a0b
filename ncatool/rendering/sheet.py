"""Sheets: labelled pictures in rows."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw

from ncatool.nca.picture import Background, Picture

DEFAULT_SIDE_PIXELS = 280
"""Approximate length of a picture's longer side."""

_GAP, _LINE_HEIGHT = 8, 16
"""Pixels between pictures, and of a line of text."""


def choose_scale(height: int, width: int, side: int = DEFAULT_SIDE_PIXELS) -> int:
    """Return the pixels a cell, at least 1, at which a picture's longer side takes at most `side` pixels."""
    return max(1, side // max(height, width))


def shorten_label(text: str, width: float, draw: ImageDraw.ImageDraw) -> str:
    """Return one line of text that fits into `width` pixels, ending in dots where it was cut."""
    text = "".join(character if character.isprintable() else " " for character in text[:200])
    if draw.textlength(text) <= width:
        return text
    while text and draw.textlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."


def arrange_sheet(
    pictures: Sequence[Picture], labels: Sequence[str], columns: int, background: Background
) -> Image.Image:
    """Draw pictures in rows, each in the middle of a tile with its label below.

    Tiles are as large as the largest picture, and without any label there is no line of text.
    """
    height, width = (max(picture.shape[axis] for picture in pictures) for axis in (0, 1))
    columns, line_height = min(columns, len(pictures)), _LINE_HEIGHT if any(labels) else 0
    rows = -(-len(pictures) // columns)
    size = (columns * (width + _GAP) + _GAP, rows * (height + line_height + _GAP) + _GAP)
    image = Image.new("RGBA" if background.transparent else "RGB", size, background.paper)
    draw = ImageDraw.Draw(image)
    for i, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        x, y = _GAP + i % columns * (width + _GAP), _GAP + i // columns * (height + line_height + _GAP)
        left, top = x + (width - picture.shape[1]) // 2, y + (height - picture.shape[0]) // 2
        image.paste(Image.fromarray(picture), (left, top))
        if label:
            draw.text((x, y + height + 2), shorten_label(label, width, draw), fill=background.ink)
    return image
