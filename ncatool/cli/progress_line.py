"""A line of progress that fits its terminal: the bar shrinks, then words get shorter, before any number is cut."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ncatool.cli.letters import clean_line

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.progress_bar import ProgressBar

GAP = 2
"""Spaces between two parts."""
MIN_BAR = 4
"""Columns of the shortest bar."""
COMFORTABLE_BAR = 16
"""Columns of the bar for which the rate's unit is left out."""


class Rate:
    """The units a second since the first call."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._first: tuple[float, int] | None = None

    def measure(self, done: int) -> float:
        """Return the units a second until now; 0 where that is not known yet."""
        now = self._clock()
        if self._first is None or done < self._first[1]:
            self._first = now, done
        elapsed, count = now - self._first[0], done - self._first[1]
        return count / elapsed if count and elapsed > 0 else 0.0


class ProgressLine:
    """Text, bar, count, rate and time left, as wide as the terminal."""

    def __init__(
        self,
        total: int | None,
        format_rate: Callable[[float], tuple[str, str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total, self.done, self.text = total, 0, ""
        self._format_rate = format_rate
        self.format_count: Callable[[int, int | None], str] = format_count
        self._clock, self._rate = clock, Rate(clock)
        self._speed = 0.0

    def update(self, done: int, text: str, total: int | None = None) -> None:
        """Show a new state."""
        self.done, self.text = done, text
        self.total = self.total if total is None else total
        self._speed = self._rate.measure(done)

    def restart(self) -> None:
        """Measure the rate anew."""
        self._rate = Rate(self._clock)

    def arrange(self, width: int) -> tuple[str, int, list[str]]:
        """Return the text, the columns of the bar (0: none) and what stands to its right, for a line of this width."""
        count, left = self.format_count(self.done, self.total), self._format_left()
        long, short = self._format_rate(self._speed) if self._speed else ("", "")
        for bar, parts in (
            (COMFORTABLE_BAR, [count, long, left]),
            (MIN_BAR, [count, short, left]),
            (MIN_BAR, [count.lstrip(), short, left]),
            (0, [count.lstrip(), short, left]),
            (0, [count.lstrip(), left]),
        ):
            kept = [part for part in parts if part]
            room = width - sum(len(part) + GAP for part in kept) - (len(self.text) + GAP if self.text else 0)
            if room >= bar:
                return self.text, room if room >= MIN_BAR else 0, kept
        return clean_line(self.text, max(0, width - len(count) - GAP)), 0, [count.lstrip()]

    def _format_left(self) -> str:
        if not self._speed or not self.total:
            return "-:--:--"
        return format_seconds((self.total - self.done) / self._speed)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the line; called by rich."""
        from rich.table import Table
        from rich.text import Text

        text, width, parts = self.arrange(options.max_width)
        cells: list[RenderableType] = [*([Text(text)] if text else []), *([self._make_bar(width)] if width else [])]
        grid = Table.grid(*[""] * (len(cells) + len(parts)), padding=(0, GAP, 0, 0), pad_edge=False)
        grid.add_row(*cells, *(Text(part, no_wrap=True) for part in parts))
        yield grid

    def _make_bar(self, width: int) -> ProgressBar:
        from rich.progress_bar import ProgressBar

        return ProgressBar(self.total, self.done, width, pulse=self.total is None)


def format_count(done: int, total: int | None) -> str:
    """Return how many of how many, aligned so that the line does not jump."""
    whole = "?" if total is None else f"{total:,}"
    return f"{done:,}/{whole}".rjust(2 * len(whole) + 1)


def format_bytes(done: int, total: int | None) -> str:
    """Return bytes of bytes in the unit of the larger."""
    size, unit = choose_unit(total or done)
    return f"{done / size:.1f}/{total / size:.1f} {unit}" if total else f"{done / size:.1f} {unit}"


def choose_unit(size: float) -> tuple[float, str]:
    """Return the bytes and the name of the unit in which a size is readable."""
    return next(((unit, name) for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")) if size >= unit), (1.0, "B"))


def format_byte_rate(speed: float) -> tuple[str, str]:
    """Return bytes a second in full, and in short."""
    size, unit = choose_unit(speed)
    return f"{speed / size:.1f} {unit}/s", f"{speed / size:.0f} {unit}/s"


def make_rate_format(unit: str) -> Callable[[float], tuple[str, str]]:
    """Return the function that writes units a second in full, and in short."""
    return lambda speed: (f"{speed:.1f} {unit}/s", f"{speed:.1f}/s" if speed < 100 else f"{speed:.0f}/s")


def format_seconds(seconds: float) -> str:
    """Return a time as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def format_duration(seconds: float) -> str:
    """Return a time in a unit that gives a readable number."""
    for size, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.3g} s"
