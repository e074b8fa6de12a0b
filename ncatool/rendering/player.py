"""The player, which shows models while they grow in the terminal: q stops it, d damages them, space pauses."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ncatool.errors import UsageError
from ncatool.nca.picture import BLACK, Picture, enlarge
from ncatool.rendering.damage_script import DamageEvent
from ncatool.rendering.half_blocks import draw_half_blocks
from ncatool.rendering.keys import read_keys
from ncatool.rendering.playback import Frame, Playback, play_frames
from ncatool.rendering.timeline import RenderSettings
from ncatool.rendering.views import VIEWS

if TYPE_CHECKING:
    from rich.console import RenderableType

KEYS = "q stop   d damage   space pause"
_GAP_PIXELS = 1
"""Pixels between pictures; a pixel is half a character high."""
_MAX_SCALE = 3
"""Largest side of a cell in pixels, because terminals draw slowly."""
_MIN_PAUSE = 0.02
"""Seconds that a frame is shown at least, so that keys are always read."""


def play(playbacks: Sequence[Playback], settings: RenderSettings) -> None:
    """Show the models on stderr until the last step or until q is pressed.

    Raises UsageError where stderr is not a terminal.
    """
    if not sys.stderr.isatty():
        raise UsageError("there is no output file, and no terminal to play in", "name an output, such as OUT.gif")
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True, highlight=False)
    with read_keys() as wait_for_key, Live(console=console, screen=True, auto_refresh=False) as live:
        due = time.monotonic()
        for frame in play_frames(playbacks, settings):
            width, height = max(1, console.width), max(1, console.height - 2)
            live.update(_draw_frame(frame, settings, width, height), refresh=True)
            due = max(due, time.monotonic()) + frame.moment.pause / 1000
            if not _wait_for_frame(playbacks, wait_for_key, due):
                return


def _wait_for_frame(playbacks: Sequence[Playback], wait_for_key: Callable[[float], str], due: float) -> bool:
    """Handle keys until the next frame is due; return False to stop."""
    paused = False
    while True:
        key = wait_for_key(1.0 if paused else max(_MIN_PAUSE, due - time.monotonic()))
        if key == "q":
            return False
        if key == "d":
            for playback in playbacks:
                playback.erase(DamageEvent(playback.step))
        paused ^= key == " "
        if not paused and time.monotonic() >= due:
            return True


def _draw_frame(frame: Frame, settings: RenderSettings, width: int, height: int) -> RenderableType:
    """Draw all models beside each other, and a line with the step, the errors and the keys."""
    from rich.console import Group
    from rich.text import Text

    background = BLACK if settings.background.transparent else settings.background
    panels = [VIEWS[settings.view](scene, background, 1) for scene in frame.scenes]
    errors = "  ".join(f"{scene.mse:.1e}" for scene in frame.scenes)
    status = Text(f"step {frame.moment.step}   MSE {errors}   {KEYS}", no_wrap=True, overflow="ellipsis")
    picture = _arrange([_arrange([panel.picture for panel in one]) for one in panels])
    scale = min(width // picture.shape[1], 2 * height // picture.shape[0], _MAX_SCALE)
    return Group(draw_half_blocks(enlarge(picture, max(1, scale)), width, height), status)


def _arrange(pictures: Sequence[Picture]) -> Picture:
    """Arrange pictures in rows, so that the whole is about twice as wide as high, as a terminal is."""
    height, width = (max(picture.shape[axis] for picture in pictures) + _GAP_PIXELS for axis in (0, 1))
    columns = max(1, min(len(pictures), round((2 * len(pictures) * height / width) ** 0.5)))
    rows = -(-len(pictures) // columns)
    canvas = np.zeros((rows * height - _GAP_PIXELS, columns * width - _GAP_PIXELS, 3), np.uint8)
    for i, picture in enumerate(pictures):
        y, x = i // columns * height, i % columns * width
        canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return canvas
