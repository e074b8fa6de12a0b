"""Sheets: labelled pictures in rows."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from ncatool.nca.picture import Background, Picture
from ncatool.rendering.drawing import LINE_HEIGHT, Drawing, measure_text, shorten_text

DEFAULT_SIDE_PIXELS = 400
"""Approximate length of a picture's longer side."""
MAX_LABEL_PIXELS = 280
"""Width of a label up to which it widens its tile instead of being cut."""

_GAP = 8
"""Pixels between pictures."""


def choose_scale(height: int, width: int, side: int = DEFAULT_SIDE_PIXELS) -> int:
    """Return the pixels a cell, at least 1, at which a picture's longer side is nearest to `side` pixels."""
    return max(1, round(side / max(height, width)))


def arrange_drawing(
    contents: Sequence[Picture | Drawing], labels: Sequence[str], columns: int, background: Background
) -> Drawing:
    """Return pictures or drawings in rows, each in the middle of a tile with its label above; a column is left-aligned.

    Tiles are as large as the largest content and the longest label, up to a limit; without any label there is no line
    of text.
    """
    sizes = [_measure(content) for content in contents]
    longest = max(measure_text(label[:200]) for label in labels)
    width = max(min(MAX_LABEL_PIXELS, int(longest) + 1), *(size[0] for size in sizes))
    height = max(size[1] for size in sizes)
    columns, line_height = min(columns, len(contents)), LINE_HEIGHT if any(labels) else 0
    rows = -(-len(contents) // columns)
    drawing = Drawing(
        columns * (width + _GAP) + _GAP, rows * (height + line_height + _GAP) + _GAP, background
    )  # fmt: skip
    for i, (content, label, size) in enumerate(zip(contents, labels, sizes, strict=True)):
        x, y = _GAP + i % columns * (width + _GAP), _GAP + i // columns * (height + line_height + _GAP)
        left = x if columns == 1 else x + (width - size[0]) // 2
        drawing.place(content, left, y + line_height + (height - size[1]) // 2)
        if label:
            text = shorten_text(label, width)
            drawing.write(text, min(left, x + width - int(measure_text(text)) - 1), y)
    return drawing


def arrange_sheet(
    pictures: Sequence[Picture], labels: Sequence[str], columns: int, background: Background
) -> Image.Image:
    """Return the drawing of `arrange_drawing` as an image."""
    return arrange_drawing(pictures, labels, columns, background).paint()


def join_drawings(left: Drawing, right: Drawing) -> Drawing:
    """Return two drawings beside each other, both at the top."""
    joined = Drawing(left.width + right.width, max(left.height, right.height), left.background)
    joined.place(left, 0, 0)
    joined.place(right, left.width, 0)
    return joined


def _measure(content: Picture | Drawing) -> tuple[int, int]:
    """Return width and height in pixels."""
    if isinstance(content, Drawing):
        return content.width, content.height
    return content.shape[1], content.shape[0]
