"""Models growing in the terminal, live: q stops, d damages, space waits."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from ncatool.errors import UsageError
from ncatool.nca.picture import BLACK, Picture, enlarge
from ncatool.rendering.damage_script import DamageEvent
from ncatool.rendering.playback import Frame, Playback, play_frames
from ncatool.rendering.half_blocks import draw_half_blocks
from ncatool.rendering.timeline import RenderSettings
from ncatool.rendering.views import VIEWS

if TYPE_CHECKING:
    from rich.console import RenderableType

KEYS = "q stop   d damage   space pause"
_GAP_PIXELS = 1
"""Pixels, which are half a character high, between pictures."""
_MAX_SCALE = 3
"""Pixels a cell and side, at most: a terminal draws slowly."""
_MIN_PAUSE = 0.02


@contextmanager
def _read_keys() -> Iterator[Callable[[float], str]]:
    """Gives a function that waits so many seconds for a key; "" where none came. Keys do not show while it lasts."""
    if not sys.stdin.isatty() or os.name != "posix":
        yield _wait_without_keys
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def key(seconds: float) -> str:
        ready, _, _ = select.select([descriptor], [], [], seconds)
        return os.read(descriptor, 1).decode(errors="ignore") if ready else ""

    tty.setcbreak(descriptor)
    try:
        yield key
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _wait_without_keys(seconds: float) -> str:
    time.sleep(seconds)
    return ""


def play(films: Sequence[Playback], how: RenderSettings) -> None:
    """Shows the films to their end, or until q is pressed."""
    if not sys.stderr.isatty():
        raise UsageError("there is no output file, and no terminal to play in", "name an output, such as OUT.gif")
    from rich.console import Console
    from rich.live import Live

    screen = Console(stderr=True, highlight=False)
    with _read_keys() as key, Live(console=screen, screen=True, auto_refresh=False) as live:
        due = time.monotonic()
        for frame in play_frames(films, how):
            live.update(_draw_frame(frame, how, max(1, screen.width), max(1, screen.height - 2)), refresh=True)
            due = max(due, time.monotonic()) + frame.moment.pause / 1000
            if not _wait_for_frame(films, key, due):
                return


def _wait_for_frame(films: Sequence[Playback], key: Callable[[float], str], due: float) -> bool:
    """Heeds keys until it is time for the next frame; False when it is to stop."""
    paused = False
    while True:
        pressed = key(1.0 if paused else max(_MIN_PAUSE, due - time.monotonic()))
        if pressed == "q":
            return False
        if pressed == "d":
            for film in films:
                film.erase(DamageEvent(film.step))
        paused ^= pressed == " "
        if not paused and time.monotonic() >= due:
            return True


def _draw_frame(frame: Frame, how: RenderSettings, width: int, height: int) -> RenderableType:
    """All models beside each other, and a line that says where they are."""
    from rich.console import Group
    from rich.text import Text

    ground = BLACK if how.background.transparent else how.background
    blocks = [_arrange([panel.picture for panel in VIEWS[how.view](scene, ground, 1)]) for scene in frame.scenes]
    errors = "  ".join(f"{scene.mse:.1e}" for scene in frame.scenes)
    status = Text(f"step {frame.moment.step}   MSE {errors}   {KEYS}", no_wrap=True, overflow="ellipsis")
    picture = _arrange(blocks)
    larger = min(width // picture.shape[1], 2 * height // picture.shape[0], _MAX_SCALE)
    return Group(draw_half_blocks(enlarge(picture, max(1, larger)), width, height), status)


def _arrange(pictures: Sequence[Picture]) -> Picture:
    """In as many rows as make a screen that is about twice as wide as high."""
    height, width = (max(picture.shape[axis] for picture in pictures) + _GAP_PIXELS for axis in (0, 1))
    columns = max(1, min(len(pictures), round((2 * len(pictures) * height / width) ** 0.5)))
    rows = -(-len(pictures) // columns)
    whole = np.zeros((rows * height - _GAP_PIXELS, columns * width - _GAP_PIXELS, 3), np.uint8)
    for i, picture in enumerate(pictures):
        y, x = i // columns * height, i % columns * width
        whole[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return whole
