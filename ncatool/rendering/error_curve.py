"""The strip below a frame: its step, its error, and the curve of the error so far."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from ncatool.nca.picture import Background, Picture
from ncatool.rendering.drawing import LINE_HEIGHT, TEXT_PIXELS, load_font, measure_text
from ncatool.rendering.timeline import Moment

_POWERS = (0, -3, -6)
"""Powers of ten with a line: that at the top, in the middle and at the bottom."""
_MARGIN = 4
"""Pixels around text."""
LINE_COLOURS = _CURVE_COLOUR, _DAMAGE_COLOUR, _GRID_COLOUR = (31, 119, 180), (214, 39, 40), (128, 128, 128)


class ErrorCurve:
    """A strip with the step, the MSE, and the curve of the MSE so far on a logarithmic axis; damage is a red line."""

    LEFT = int(measure_text("1e-6")) + 2 * _MARGIN
    """Pixels to the left of the curve, for the labels of the axis."""
    TOP = LINE_HEIGHT + TEXT_PIXELS // 2
    """Pixels above the curve, for the line of text and half a label of the axis."""
    _HEIGHT = 56
    """Pixels between the lines of the highest and the lowest power."""

    @classmethod
    def measure_width(cls, steps: int) -> int:
        """Return the width in pixels that the longest line of text takes."""
        return int(measure_text(cls._describe(steps, 1e10))) + 2 * _MARGIN + 1

    @staticmethod
    def _describe(step: int, mse: float) -> str:
        return f"step {step}   MSE {mse:.1e}"

    def __init__(self, width: int, steps: int, background: Background) -> None:
        self._steps, self._background = steps, background
        mode = "RGBA" if background.transparent else "RGB"
        height = self.TOP + self._HEIGHT + TEXT_PIXELS // 2 + _MARGIN
        self._image = Image.new(mode, (max(width, self.measure_width(steps)), height), background.paper)
        self._draw = ImageDraw.Draw(self._image)
        self._last: tuple[int, int] | None = None
        for power in _POWERS:
            y = self._convert_to_y(10.0**power)
            self._draw.line((self.LEFT, y, self._image.width - 1 - _MARGIN, y), fill=_GRID_COLOUR)
            label = f"1e{power}" if power else "1"
            x = self.LEFT - _MARGIN - measure_text(label)
            self._draw.text((x, y), label, fill=background.ink, font=load_font(), anchor="lm")

    def _convert_to_y(self, mse: float) -> int:
        lowest = _POWERS[-1]
        power = math.log10(mse) if 0 < mse < math.inf else (lowest if mse == 0 else 0)
        return self.TOP + round(min(1.0, max(0.0, power / lowest)) * self._HEIGHT)

    def convert_to_x(self, step: int) -> int:
        """Return the column of a step."""
        return self.LEFT + round((self._image.width - 1 - _MARGIN - self.LEFT) * step / self._steps)

    def draw(self, moment: Moment, mse: float) -> Picture:
        """Return the strip up to this moment; moments must come in order."""
        x = self.convert_to_x(moment.step)
        point = x, self._convert_to_y(mse)
        if moment.change:
            self._draw.line((x, self.TOP, x, self.TOP + self._HEIGHT), fill=_DAMAGE_COLOUR)
        self._draw.line((self._last or point, point), fill=_CURVE_COLOUR, width=2)
        self._last = point
        strip = self._image.copy()
        text = self._describe(moment.step, mse)
        ImageDraw.Draw(strip).text((_MARGIN, 0), text, fill=self._background.ink, font=load_font())
        return np.array(strip)
