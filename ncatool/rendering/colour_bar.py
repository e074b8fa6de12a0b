"""Colour bars, which say what the colours of a map mean."""

from __future__ import annotations

import numpy as np

from ncatool.nca.picture import Background, Picture
from ncatool.rendering.drawing import LINE_HEIGHT, TEXT_PIXELS, Drawing, measure_text
from ncatool.rendering.views import ColourScale, list_colours

_BAR_WIDTH, _GAP = 12, 4
"""Pixels: of the bar, and on both of its sides."""


def measure_colour_bar(scale: ColourScale) -> int:
    """Return the width in pixels of a bar with its labels, and of the gap to the map beside it."""
    longest = max(measure_text(label) for _, label in scale.ticks)
    return _GAP + _BAR_WIDTH + _GAP + int(longest) + 1


def draw_colour_bar(scale: ColourScale, height: int, background: Background) -> Drawing:
    """Draw an upright bar with the values of its ends, and of those between them that have room."""
    height = max(height, 2 * LINE_HEIGHT)
    drawing = Drawing(measure_colour_bar(scale), height, background)
    drawing.place(_paint_gradient(scale, height, background), _GAP, 0)
    room = height - TEXT_PIXELS - 2
    ticks = scale.ticks if room >= (len(scale.ticks) - 1) * LINE_HEIGHT else (scale.ticks[0], scale.ticks[-1])
    for share, label in ticks:
        drawing.write(label, _GAP + _BAR_WIDTH + _GAP, round((1 - share) * room))
    return drawing


def _paint_gradient(scale: ColourScale, height: int, background: Background) -> Picture:
    shares = np.linspace(255, 0, height).round().astype(int)
    gradient = np.repeat(list_colours(scale.colormap)[shares][:, None], _BAR_WIDTH, axis=1)
    if background.transparent:
        return np.concatenate([gradient, np.full((*gradient.shape[:2], 1), 255, np.uint8)], axis=-1)
    return gradient


def attach_colour_bar(picture: Picture, scale: ColourScale | None, room: int, background: Background) -> Drawing:
    """Draw a picture with `room` pixels for a colour bar at its right, and the bar in it where there is a scale."""
    drawing = Drawing(picture.shape[1] + room, max(len(picture), 2 * LINE_HEIGHT), background)
    drawing.place(picture, 0, 0)
    if scale is not None:
        drawing.place(draw_colour_bar(scale, len(picture), background), picture.shape[1], 0)
    return drawing
