"""The layout of frames: the panels of a view with their colour bars, and a tile for each model, labelled."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ncatool.config.names import View
from ncatool.errors import UsageError
from ncatool.nca.picture import Background, Picture, enlarge
from ncatool.rendering.colour_bar import attach_colour_bar, measure_colour_bar
from ncatool.rendering.drawing import Drawing
from ncatool.rendering.error_curve import LINE_COLOURS, ErrorCurve
from ncatool.rendering.playback import Frame, Playback
from ncatool.rendering.sheet import DEFAULT_SIDE_PIXELS, arrange_drawing, arrange_sheet, choose_scale
from ncatool.rendering.timeline import RenderSettings, plan_moments
from ncatool.rendering.views import VIEWS, Panel, Scene, list_view_colours

PANEL_COLUMNS = 4
"""Panels in a row."""
MAX_SIDE_PIXELS = 16383
"""Longest side that a WebP file and an H.264 video can have."""
PANEL_SIDE, TILE_SIDE = DEFAULT_SIDE_PIXELS // 2, 280
"""Approximate length of the longer side of a panel, or of a tile where there are many; of one of a few tiles."""


class Layout:
    """Paints all frames of a rendering in the same way: one picture, or labelled panels, in a tile for each model.

    Raises UsageError for frames that are too large for any format, and for a view that a model does not have.
    """

    def __init__(self, playbacks: Sequence[Playback], settings: RenderSettings, for_sheet: bool = False) -> None:
        """Choose sizes; frames of a sheet of stages are smaller, and leave a single panel's colour bar to the sheet."""
        self.playbacks, self.settings = playbacks, settings
        self.moments = plan_moments(settings)
        self.background = settings.background
        scenes = [playback.capture() for playback in playbacks]
        panels = [VIEWS[settings.view](scene, self.background, 1) for scene in scenes]
        counts = [len(ones) for ones in panels]
        few = DEFAULT_SIDE_PIXELS if len(playbacks) == 1 else TILE_SIDE
        side = PANEL_SIDE if for_sheet or max(counts) > 1 or len(playbacks) > PANEL_COLUMNS else few
        scales = [settings.scale or choose_scale(len(scene.cells), scene.cells.shape[1], side) for scene in scenes]
        _check_size(scenes, scales, counts)
        self.colour_scale = panels[0][0].scale if for_sheet and max(counts) == 1 else None
        """What the colours of a sheet's pictures mean, which its frames then do not say."""
        self.colour_label = panels[0][0].label
        self._barred = self.colour_scale is None and any(panel.scale for panel in panels[0])
        plain = len(playbacks) == 1 and counts[0] == 1 and not settings.overlay and not self._barred
        self.scale = scales[0] if plain else 1
        """The factor by which a writer enlarges a painted frame: a single picture is painted with one pixel a cell."""
        self._plain, self._scales = plain, scales
        self._scenes = scenes
        """Those of the last frame."""
        self._curves: list[ErrorCurve] = []
        if settings.overlay:
            widths = [self._draw_panels(i, scene).shape[1] for i, scene in enumerate(scenes)]
            self._curves = [ErrorCurve(width, settings.steps, self.background) for width in widths]

    def paint(self, frame: Frame) -> Picture:
        """Return the picture of the next frame, still to be enlarged by `scale`."""
        self._scenes = frame.scenes
        blocks = [self._draw_panels(i, scene) for i, scene in enumerate(frame.scenes)]
        for i, curve in enumerate(self._curves):
            blocks[i] = _stack(blocks[i], curve.draw(frame.moment, frame.scenes[i].mse), self.background)
        picture = self._arrange_tiles(blocks)
        _check_pixels(picture.shape[0] * self.scale, picture.shape[1] * self.scale)
        return picture

    def paint_targets(self) -> Picture | None:
        """Return the last frame with targets instead of the states; None for a view that does not show colours."""
        if self.settings.view is not View.RGBA:
            return None
        targets = [scene._replace(cells=scene.expected) for scene in self._scenes]
        return self._arrange_tiles([self._draw_panels(i, scene) for i, scene in enumerate(targets)])

    def list_palette_pictures(self) -> list[Picture]:
        """Return pictures of the colours that later frames may have, for a palette that is chosen before them."""
        targets = self.paint_targets()
        if targets is None:
            return list_view_colours(self.settings.view)
        sown = [one.model.target.premultiply() for one in self.settings.sow if one.step > 0]
        return [targets, *(self._draw_panels(0, self._scenes[0]._replace(cells=one, expected=one)) for one in sown)]

    def list_line_colours(self) -> list[tuple[int, int, int]]:
        """Return the colours of thin lines, which a palette that is chosen from pixels would miss."""
        return [*LINE_COLOURS] if self._curves else []

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
        if len(panels) == 1 and not self._barred:
            return pictures[0]
        blocks: Sequence[Picture | Drawing] = self._attach_bars(panels, pictures) if self._barred else pictures
        labels = [panel.label for panel in panels]
        return np.asarray(arrange_drawing(blocks, labels, PANEL_COLUMNS, self.background).paint())

    def _attach_bars(self, panels: Sequence[Panel], pictures: Sequence[Picture]) -> list[Drawing]:
        """Draw a colour bar beside each map, unless the next one in its row has the same."""
        room = max(measure_colour_bar(panel.scale) for panel in panels if panel.scale)
        scales = [panel.scale for panel in panels]
        for j in range(len(panels) - 1):
            if (j + 1) % PANEL_COLUMNS and panels[j + 1].scale == panels[j].scale:
                scales[j] = None
        return [
            attach_colour_bar(picture, scale, room, self.background)
            for picture, scale in zip(pictures, scales, strict=True)
        ]


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
