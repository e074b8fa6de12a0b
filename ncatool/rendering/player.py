"""The player, which shows models while they grow in the terminal, and obeys keys: q stops it, d damages them."""

from __future__ import annotations

import sys
import textwrap
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from ncatool.config.names import Damage, View
from ncatool.errors import UsageError
from ncatool.nca.damage import DEFAULT_SIZES
from ncatool.nca.picture import BLACK, Picture
from ncatool.rendering.damage_script import DamageEvent
from ncatool.rendering.half_blocks import draw_half_blocks, fit_picture
from ncatool.rendering.keys import read_keys
from ncatool.rendering.playback import Frame, Playback, play_frames
from ncatool.rendering.timeline import RenderSettings
from ncatool.rendering.views import VIEWS

if TYPE_CHECKING:
    from rich.live import Live

KEYS = ("q stop", "d damage", "space pause", "r restart", "+/- speed", "v view", "b brush")
BRUSHES: tuple[Damage | None, ...] = (None, *Damage)
"""What d erases: a circle at a random place, or a shape in the middle."""
SPEEDS = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0)
"""Below 1, frames are shown for longer; above, frames are left out."""
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
        player = _Player(playbacks, settings, live, wait_for_key)
        while player.play_once():
            for playback in playbacks:
                playback.restart()


class _Player:
    """What the keys have chosen, and the frame that is shown."""

    def __init__(
        self, playbacks: Sequence[Playback], settings: RenderSettings, live: Live, wait_for_key: Callable[[float], str]
    ) -> None:
        self._playbacks, self._settings, self._live, self._wait_for_key = playbacks, settings, live, wait_for_key
        self._views, self._brushes, self._speeds = _Choice(VIEWS, settings.view), _Choice(BRUSHES), _Choice(SPEEDS, 1.0)
        self._is_paused = False
        self._key = ""
        """The last key that was pressed."""

    def play_once(self) -> bool:
        """Play from the seed to the last step; return whether to do so again."""
        due = time.monotonic()
        for i, frame in enumerate(play_frames(self._playbacks, self._settings)):
            speed = self._speeds.value
            if speed > 1 and i % speed and not frame.moment.change:
                continue
            self._draw(frame)
            due = max(due, time.monotonic()) + frame.moment.pause / 1000 / min(1.0, speed)
            if not self._wait(frame, due):
                return self._key == "r"
        return False

    def _wait(self, frame: Frame, due: float) -> bool:
        """Handle keys until the next frame is due; return False to end this rollout."""
        while True:
            self._key = self._wait_for_key(1.0 if self._is_paused else max(_MIN_PAUSE, due - time.monotonic()))
            if self._key in ("q", "r"):
                return False
            self._handle(self._key)
            if self._key:
                self._draw(frame)
            if not self._is_paused and time.monotonic() >= due:
                return True

    def _handle(self, key: str) -> None:
        if key == "d":
            brush = self._brushes.value
            for playback in self._playbacks:
                playback.erase(DamageEvent(playback.step, brush, DEFAULT_SIZES.get(brush, 0.0) if brush else 0.0))
        self._is_paused ^= key == " "
        for choice, forward, backward in ((self._views, "v", "V"), (self._brushes, "b", "B")):
            choice.turn((key == forward) - (key == backward))
        self._speeds.move((key in ("+", "=")) - (key in ("-", "_")))

    def _draw(self, frame: Frame) -> None:
        """Draw all models beside each other, and below them what is known and the keys."""
        from rich.console import Group
        from rich.text import Text

        size = self._live.console.size
        lines = self._arrange_status(frame, size.width, max(1, size.height // 2))
        picture, height = self._draw_picture(frame), max(1, size.height - len(lines) - 1)
        shown = draw_half_blocks(fit_picture(picture, size.width, height, _MAX_SCALE), size.width, height)
        self._live.update(Group(shown, *(Text(line, no_wrap=True) for line in lines)), refresh=True)

    def _draw_picture(self, frame: Frame) -> Picture:
        background = BLACK if self._settings.background.transparent else self._settings.background
        panels = [VIEWS[self._choose_view(frame)](scene, background, 1) for scene in frame.scenes]
        return _arrange([_arrange([panel.picture for panel in one]) for one in panels])

    def _choose_view(self, frame: Frame) -> View:
        """Return the view; a model without hidden channels has none of them."""
        if self._views.value is View.HIDDEN and any(scene.cells.shape[-1] == 4 for scene in frame.scenes):
            self._views.turn(1)
        return self._views.value

    def _arrange_status(self, frame: Frame, width: int, most: int) -> list[str]:
        errors = "  ".join(f"{scene.mse:.1e}" for scene in frame.scenes)
        speed, brush = self._speeds.value, self._brushes.value
        facts = [
            f"step {frame.moment.step}",
            f"MSE {errors}",
            f"view {self._views.value}",
            f"brush {brush or 'circle anywhere'}",
            f"speed {f'1/{round(1 / speed)}' if speed < 1 else f'{speed:.0f}'}",
            *(["paused"] if self._is_paused else []),
        ]
        return wrap_parts([*facts, *KEYS], width)[:most]


Option = TypeVar("Option")


class _Choice(Generic[Option]):
    """One of several values, chosen by keys."""

    def __init__(self, values: Iterable[Option], first: Option | None = None) -> None:
        self._values = list(values)
        self._at = self._values.index(first) if first in self._values else 0

    @property
    def value(self) -> Option:
        return self._values[self._at]

    def turn(self, by: int) -> None:
        """Go on by some values; after the last comes the first."""
        self._at = (self._at + by) % len(self._values)

    def move(self, by: int) -> None:
        """Go on by some values, and no further than the ends."""
        self._at = min(len(self._values) - 1, max(0, self._at + by))


def wrap_parts(parts: Sequence[str], width: int, gap: str = "   ") -> list[str]:
    """Return parts as lines of at most so many letters; a part is broken only where it is longer than a line."""
    lines: list[str] = []
    for piece in (piece for part in parts for piece in textwrap.wrap(part, width, drop_whitespace=False)):
        longer = f"{lines[-1]}{gap}{piece}" if lines else piece
        lines[max(0, len(lines) - 1) :] = [longer] if len(longer) <= width else [*lines[-1:], piece]
    return lines


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
