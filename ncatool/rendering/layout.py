"""The layout of frames: the panels of a view, a tile for each model, labels, and the curve of the error."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from ncatool.config.names import View
from ncatool.errors import UsageError
from ncatool.nca.picture import Background, Picture, enlarge
from ncatool.rendering.playback import Frame, Playback
from ncatool.rendering.sheet import DEFAULT_SIDE_PIXELS, arrange_sheet, choose_scale
from ncatool.rendering.timeline import Moment, RenderSettings, plan_moments
from ncatool.rendering.views import VIEWS, Scene, list_view_colours

PANEL_COLUMNS = 4
"""Panels in a row."""
MAX_SIDE_PIXELS = 16383
"""Longest side that a WebP file and an H.264 video can have."""
PANEL_SIDE = DEFAULT_SIDE_PIXELS // 2
"""Approximate length of the longer side of a panel or tile where there are many."""


class Layout:
    """Paints all frames of a rendering in the same way: one picture, or labelled panels, in a tile for each model.

    Raises UsageError for frames that are too large for any format, and for a view that a model does not have.
    """

    def __init__(self, playbacks: Sequence[Playback], settings: RenderSettings) -> None:
        self.playbacks, self.settings = playbacks, settings
        self.moments = plan_moments(settings)
        self.background = settings.background
        scenes = [playback.capture() for playback in playbacks]
        counts = [len(VIEWS[settings.view](scene, self.background, 1)) for scene in scenes]
        side = PANEL_SIDE if max(counts) > 1 or len(playbacks) > PANEL_COLUMNS else DEFAULT_SIDE_PIXELS
        scales = [settings.scale or choose_scale(len(scene.cells), scene.cells.shape[1], side) for scene in scenes]
        _check_size(scenes, scales, counts)
        plain = len(playbacks) == 1 and counts[0] == 1 and not settings.overlay
        self.scale = scales[0] if plain else 1
        """The factor by which a writer enlarges a painted frame: a single picture is painted with one pixel a cell."""
        self._plain, self._scales = plain, scales
        self._target_scenes = [scene._replace(cells=scene.expected) for scene in scenes]
        self._curves: list[ErrorCurve] = []
        if settings.overlay:
            widths = [self._draw_panels(i, scene).shape[1] for i, scene in enumerate(scenes)]
            self._curves = [
                ErrorCurve(max(ErrorCurve.MIN_WIDTH, width), settings.steps, self.background) for width in widths
            ]

    def paint(self, frame: Frame) -> Picture:
        """Return the picture of the next frame, still to be enlarged by `scale`."""
        blocks = [self._draw_panels(i, scene) for i, scene in enumerate(frame.scenes)]
        for i, curve in enumerate(self._curves):
            blocks[i] = _stack(blocks[i], curve.draw(frame.moment, frame.scenes[i].mse), self.background)
        picture = self._arrange_tiles(blocks)
        _check_pixels(picture.shape[0] * self.scale, picture.shape[1] * self.scale)
        return picture

    def paint_targets(self) -> Picture | None:
        """Return a frame that shows the targets instead of the states; None for a view that does not show colours."""
        if self.settings.view is not View.RGBA:
            return None
        return self._arrange_tiles([self._draw_panels(i, scene) for i, scene in enumerate(self._target_scenes)])

    def list_palette_pictures(self) -> list[Picture]:
        """Return pictures of the colours that later frames may have, for a palette that is chosen before them."""
        targets = self.paint_targets()
        return list_view_colours(self.settings.view) if targets is None else [targets]

    def _arrange_tiles(self, blocks: list[Picture]) -> Picture:
        if len(blocks) == 1:
            return blocks[0]
        names = [playback.name for playback in self.playbacks]
        return np.asarray(arrange_sheet(blocks, names, _count_columns(len(blocks)), self.background))

    def _draw_panels(self, i: int, scene: Scene) -> Picture:
        scale = self._scales[i]
        panels = VIEWS[self.settings.view](scene, self.background, scale)
        if self._plain:
            return panels[0].picture
        pictures = [enlarge(panel.picture, scale) for panel in panels]
        if len(panels) == 1:
            return pictures[0]
        return np.asarray(arrange_sheet(pictures, [panel.label for panel in panels], PANEL_COLUMNS, self.background))


def _count_columns(count: int) -> int:
    return count if count <= 3 else math.ceil(math.sqrt(count))


def _check_size(scenes: Sequence[Scene], scales: Sequence[int], counts: Sequence[int]) -> None:
    """Raise UsageError for frames that no format can hold, before memory is allocated for them."""
    columns = _count_columns(len(scenes))
    rows = -(-len(scenes) // columns)
    height = width = 0
    for scene, scale, count in zip(scenes, scales, counts, strict=True):
        height = max(height, rows * -(-count // PANEL_COLUMNS) * len(scene.cells) * scale)
        width = max(width, columns * min(count, PANEL_COLUMNS) * scene.cells.shape[1] * scale)
    _check_pixels(height, width)


def _check_pixels(height: int, width: int) -> None:
    if max(height, width) > MAX_SIDE_PIXELS:
        raise UsageError(
            f"frames of {width} x {height} pixels are too large: {MAX_SIDE_PIXELS} a side are the most",
            "give a smaller scale or grid, or fewer models",
        )


def _stack(upper: Picture, lower: Picture, background: Background) -> Picture:
    """Draw one picture above another, both centred."""
    width = max(upper.shape[1], lower.shape[1])
    mode = "RGBA" if background.transparent else "RGB"
    image = Image.new(mode, (width, len(upper) + len(lower)), background.paper)
    for picture, top in ((upper, 0), (lower, len(upper))):
        image.paste(Image.fromarray(picture), ((width - picture.shape[1]) // 2, top))
    return np.asarray(image)


class ErrorCurve:
    """A strip with the step, the MSE, and the curve of the MSE so far on a logarithmic axis; damage is a red line."""

    MIN_WIDTH = 160
    _TEXT, _HEIGHT = 16, 40
    """Pixels of the line of text, and of the curve below it."""
    _LEFT = 26
    """Pixels to the left of the curve, for the labels of the axis."""
    _LOWEST_POWER = -6
    """Power of ten at the bottom; 1 is at the top."""
    _CURVE_COLOUR, _DAMAGE_COLOUR, _GRID_COLOUR = (31, 119, 180), (214, 39, 40), (128, 128, 128)

    def __init__(self, width: int, steps: int, background: Background) -> None:
        self._steps, self._background = steps, background
        mode = "RGBA" if background.transparent else "RGB"
        self._image = Image.new(mode, (width, self._TEXT + self._HEIGHT), background.paper)
        self._draw = ImageDraw.Draw(self._image)
        self._last: tuple[int, int] | None = None
        for power in (0, -3, -6):
            y = self._convert_to_y(10.0**power)
            self._draw.line((self._LEFT, y, width, y), fill=self._GRID_COLOUR)
            top = min(y - 5, self._TEXT + self._HEIGHT - 11)
            self._draw.text((0, top), f"1e{power}", fill=background.ink, font_size=9)

    def _convert_to_y(self, mse: float) -> int:
        power = math.log10(mse) if 0 < mse < math.inf else (0 if mse > 0 else self._LOWEST_POWER)
        share = min(1.0, max(0.0, power / self._LOWEST_POWER))
        return self._TEXT + 1 + round(share * (self._HEIGHT - 3))

    def draw(self, moment: Moment, mse: float) -> Picture:
        """Return the strip up to this moment; moments must come in order."""
        width = self._image.width
        x = self._LEFT + round((width - 1 - self._LEFT) * moment.step / self._steps)
        point = x, self._convert_to_y(mse)
        if moment.damaged:
            self._draw.line((x, self._TEXT, x, self._TEXT + self._HEIGHT), fill=self._DAMAGE_COLOUR)
        self._draw.line((self._last or point, point), fill=self._CURVE_COLOUR, width=1)
        self._last = point
        self._draw.rectangle((0, 0, width, self._TEXT - 4), fill=self._background.paper)
        self._draw.text((0, 0), f"step {moment.step}   MSE {mse:.1e}", fill=self._background.ink)
        return np.array(self._image)
