"""Where things are in a frame: panels, tiles, labels, the error's curve."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from ncatool.config.names import View
from ncatool.errors import UsageError
from ncatool.nca.picture import Background, Picture, enlarge
from ncatool.rendering.playback import Frame, Playback
from ncatool.rendering.sheet import DEFAULT_SIDE_PIXELS, arrange_sheet, default_scale
from ncatool.rendering.timeline import Moment, RenderSettings, plan_moments
from ncatool.rendering.views import VIEWS, Scene, view_palette

PANEL_COLUMNS = 4
"""Panels beside each other."""
MAX_SIDE_PIXELS = 16383
"""A side of a WebP, and of an H.264 video, at most."""
PANEL_SIDE = DEFAULT_SIDE_PIXELS // 2
"""Pixels that the longer side of one of many panels or tiles takes, about."""


class Layout:
    """Paints frames of the same layout: one picture, or labelled panels, a tile for each model."""

    def __init__(self, films: Sequence[Playback], how: RenderSettings) -> None:
        self.playbacks, self.settings = films, how
        self.moments = plan_moments(how)
        self.background = how.background
        scenes = [film.capture() for film in films]
        counts = [len(VIEWS[how.view](scene, self.background, 1)) for scene in scenes]
        side = PANEL_SIDE if max(counts) > 1 or len(films) > PANEL_COLUMNS else DEFAULT_SIDE_PIXELS
        scales = [how.scale or default_scale(len(scene.cells), scene.cells.shape[1], side) for scene in scenes]
        _check_size(scenes, scales, counts)
        plain = len(films) == 1 and counts[0] == 1 and not how.overlay
        self.scale = scales[0] if plain else 1
        """How much larger than painted a frame is to be shown."""
        self._plain, self._scales = plain, scales
        self._goals = [scene._replace(cells=scene.expected) for scene in scenes]
        self._curves: list[ErrorCurve] = []
        if how.overlay:
            widths = [self._draw_panels(i, scene).shape[1] for i, scene in enumerate(scenes)]
            self._curves = [
                ErrorCurve(max(ErrorCurve.LEAST_WIDTH, width), how.steps, self.background) for width in widths
            ]

    def paint(self, frame: Frame) -> Picture:
        """The next frame; where there are many cells, a pixel each."""
        blocks = [self._draw_panels(i, scene) for i, scene in enumerate(frame.scenes)]
        for i, curve in enumerate(self._curves):
            blocks[i] = _stack(blocks[i], curve.draw(frame.moment, frame.scenes[i].mse), self.background)
        picture = self._arrange_tiles(blocks)
        _check_pixels(picture.shape[0] * self.scale, picture.shape[1] * self.scale)
        return picture

    def paint_targets(self) -> Picture | None:
        """The targets instead of the models, where it is their colours that are shown."""
        if self.settings.view is not View.RGBA:
            return None
        return self._arrange_tiles([self._draw_panels(i, scene) for i, scene in enumerate(self._goals)])

    def palette_pictures(self) -> list[Picture]:
        """Pictures of colours that later frames may have."""
        goal = self.paint_targets()
        return view_palette(self.settings.view) if goal is None else [goal]

    def _arrange_tiles(self, blocks: list[Picture]) -> Picture:
        if len(blocks) == 1:
            return blocks[0]
        names = [film.name for film in self.playbacks]
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
    """Refuses what no format could hold, before memory is asked for it."""
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
            "give a smaller --scale or --grid",
        )


def _stack(picture: Picture, strip: Picture, ground: Background) -> Picture:
    """One picture above another, both in the middle."""
    width = max(picture.shape[1], strip.shape[1])
    image = Image.new("RGBA" if ground.transparent else "RGB", (width, len(picture) + len(strip)), ground.paper)
    for part, top in ((picture, 0), (strip, len(picture))):
        image.paste(Image.fromarray(part), ((width - part.shape[1]) // 2, top))
    return np.asarray(image)


class ErrorCurve:
    """A strip with the step, the MSE, and how it came there, logarithmically."""

    LEAST_WIDTH = 160
    _TEXT, _HEIGHT = 16, 40
    _LEFT = 26
    _LOWEST_POWER = -6
    """Power of ten at the bottom; 1 is at the top."""
    _INK, _WOUND, _GRID = (31, 119, 180), (214, 39, 40), (128, 128, 128)

    def __init__(self, width: int, steps: int, ground: Background) -> None:
        self._steps, self._ground = steps, ground
        mode = "RGBA" if ground.transparent else "RGB"
        self._image = Image.new(mode, (width, self._TEXT + self._HEIGHT), ground.paper)
        self._draw = ImageDraw.Draw(self._image)
        self._last: tuple[int, int] | None = None
        for power in (0, -3, -6):
            y = self._error_to_y(10.0**power)
            self._draw.line((self._LEFT, y, width, y), fill=self._GRID)
            self._draw.text((0, min(y - 5, self._TEXT + self._HEIGHT - 11)), f"1e{power}", fill=ground.ink, font_size=9)

    def _error_to_y(self, mse: float) -> int:
        power = math.log10(mse) if 0 < mse < math.inf else (0 if mse > 0 else self._LOWEST_POWER)
        share = min(1.0, max(0.0, power / self._LOWEST_POWER))
        return self._TEXT + 1 + round(share * (self._HEIGHT - 3))

    def draw(self, moment: Moment, mse: float) -> Picture:
        """The strip up to this moment."""
        width = self._image.width
        x = self._LEFT + round((width - 1 - self._LEFT) * moment.step / self._steps)
        point = x, self._error_to_y(mse)
        if moment.damaged:
            self._draw.line((x, self._TEXT, x, self._TEXT + self._HEIGHT), fill=self._WOUND)
        self._draw.line((self._last or point, point), fill=self._INK, width=1)
        self._last = point
        self._draw.rectangle((0, 0, width, self._TEXT - 4), fill=self._ground.paper)
        self._draw.text((0, 0), f"step {moment.step}   MSE {mse:.1e}", fill=self._ground.ink)
        return np.array(self._image)
