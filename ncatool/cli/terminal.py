"""Streams of the command line: data, notes, errors, progress bars, tables.

Data goes to stdout, as text or as one JSON object; everything else goes to stderr.
"""

from __future__ import annotations

import os
import sys
import textwrap
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from ncatool.cli.letters import clean_line as clean_line
from ncatool.cli.letters import escape
from ncatool.cli.progress_line import ProgressLine, Rate, format_byte_rate, format_bytes, make_rate_format
from ncatool.cli.table_layout import Cell, lay_out_plain, lay_out_table
from ncatool.errors import NcatoolError
from ncatool.files.text import format_json

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PLAIN_INTERVAL = 10.0
"""Seconds between two lines of progress where there is no terminal."""


@dataclass
class OutputSettings:
    """What the command line asked of the streams of this process."""

    quiet: bool = False
    as_json: bool = False
    traceback: bool = False


settings = OutputSettings()


def stderr_console() -> Console:
    """Return rich's console on stderr."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def print_line(text: str) -> None:
    """Print one line of data on stdout."""
    print(escape(text), flush=True)


def print_text(text: str) -> None:
    """Print lines of our own on stdout, which may hold colours."""
    print(text, flush=True)


def print_note(message: str, wrap: bool = True) -> None:
    """Print one line on stderr, unless `--quiet` was given; see `print_failure`."""
    if not settings.quiet:
        print_failure(message, wrap)


def print_failure(message: str, wrap: bool = True) -> None:
    """Print one line on stderr about a failure that does not end the command, whatever `--quiet` says.

    On a terminal it is broken between words, unless it is to be copied from there.
    """
    line = escape(message)
    if wrap and sys.stderr.isatty():
        width = max(20, _measure_width())
        parts = textwrap.wrap(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
        line = "\n".join(parts)
    print(line, file=sys.stderr, flush=True)


def _measure_width() -> int:
    """Return the columns of the terminal on stderr; rich, which would know them, takes too long for a first line."""
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isdecimal() else os.get_terminal_size(sys.stderr.fileno()).columns or 80


def print_error(error: NcatoolError) -> None:
    """Print a line that says what is wrong, and one that says what to do; on a terminal, `error:` is red."""
    label = "\x1b[1;31merror:\x1b[0m" if has_colours(sys.stderr) else "error:"
    print(f"{label} {escape(error.what)}\nhint: {escape(error.hint)}", file=sys.stderr, flush=True)


def has_colours(stream: TextIO) -> bool:
    """Return whether a stream is a terminal that shows colours, and the user has not turned them off."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_traceback(error: BaseException) -> None:
    """Print where in the code an error and its causes arose, and what they say, each in one line."""
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        print_traceback(cause)
    frames = "".join(traceback.format_tb(error.__traceback__)).split("\n")
    lines = ["Traceback (most recent call last):", *frames[:-1], f"{type(error).__name__}: {error}"]
    print("\n".join(map(escape, lines)), file=sys.stderr, flush=True)


def print_result(values: Mapping[str, Any]) -> None:
    """Print a command's data on stdout: one JSON object, or a line a value."""
    if settings.as_json:
        return print_line(format_json(values))
    width = max(map(len, values))
    for name, value in values.items():
        shown = " ".join(map(str, value)) if isinstance(value, list) else _format_value(value)
        print_line(f"{name:<{width}}  {shown}")
    return None


def print_results(values: Mapping[str, Any], models: Mapping[str, Mapping[str, Any]]) -> None:
    """Print the data of several models: one JSON object, or a table with a row a model."""
    if settings.as_json:
        return print_result({**values, "models": [{"model": name, **row} for name, row in models.items()]})
    headings = ["model", *next(iter(models.values()))]
    return print_table(headings, [[name, *row.values()] for name, row in models.items()])


def _format_value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


Update = Callable[[int, str], None]
"""Called with the amount done and a text about it."""


def can_animate() -> bool:
    """Return whether progress may be drawn: on a terminal, unless the user has turned it off."""
    return sys.stderr.isatty() and not settings.quiet and not os.environ.get("NCATOOL_NO_PROGRESS")


@contextmanager
def show_progress(
    total: int, unit: str, extra: Callable[[], RenderableType | None] | None = None
) -> Iterator[Callable[[int, str], None]]:
    """Yield `update(done, text)`, which draws a bar on a terminal, and elsewhere prints a line now and then.

    `extra` is called for what is drawn above the bar.
    """
    if not can_animate() or not total:
        yield _print_progress_lines(total, unit)
        return
    from rich.console import Group
    from rich.live import Live

    line = ProgressLine(total, make_rate_format(unit))

    # `extra` is called only when the screen is drawn: a picture in each iteration would slow training down.
    def draw() -> RenderableType:
        above = extra() if extra is not None else None
        return line if above is None else Group(above, line)

    with Live(console=stderr_console(), refresh_per_second=8, get_renderable=draw):
        yield lambda done, text: line.update(done, escape(text))


def _print_progress_lines(total: int, unit: str) -> Callable[[int, str], None]:
    rate, last = Rate(), time.monotonic()

    def update(done: int, text: str) -> None:
        nonlocal last
        speed = f"{now:.1f} {unit}/s" if (now := rate.measure(done)) else ""
        if time.monotonic() - last >= PLAIN_INTERVAL:
            last = time.monotonic()
            print_note(f"{done}/{total} {unit}  {text}  {speed}".rstrip())

    return update


@contextmanager
def show_transfer(name: str) -> Iterator[Callable[[int, int | None, str], None]]:
    """Yield `watch(done, total, text)` for bytes, which draws a bar on a terminal, else prints a line now and then.

    With a total, the text says what is being done; without, it is a message.
    """
    if not can_animate():
        yield _print_transfer_lines(name)
        return
    from rich.live import Live

    line, console = ProgressLine(None, format_byte_rate), stderr_console()
    line.format_count = format_bytes
    doing = escape(name)
    with Live(line, console=console, refresh_per_second=8):

        def watch(done: int, total: int | None, text: str) -> None:
            nonlocal doing
            if total is None and text:
                console.print(escape(f"{name}: {text}"), markup=False, emoji=False, soft_wrap=True)
            elif escape(f"{name} {text}".rstrip()) != doing:
                doing = escape(f"{name} {text}".rstrip())
                line.restart()
            line.update(done, doing, total)

        yield watch


def _print_transfer_lines(name: str) -> Callable[[int, int | None, str], None]:
    last = time.monotonic()

    def watch(done: int, total: int | None, text: str) -> None:
        nonlocal last
        if total is None and text:
            print_note(f"{name}: {text}")
        elif time.monotonic() - last >= PLAIN_INTERVAL:
            last = time.monotonic()
            of = f" of {total / 1e6:.1f}" if total else ""
            print_note(f"{name}: {done / 1e6:.1f}{of} MB  {text}".rstrip())

    return watch


def print_table(
    headings: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    format_number: Callable[[float], str] = _format_value,
    decimals: Mapping[str, int] | None = None,
) -> None:
    """Print rows under headings on stdout: on a terminal as it fits there, elsewhere a line a row.

    `format_number` is for the latter; on a terminal, the numbers of a column share a notation, with so many `decimals`
    where they have its heading.
    """
    from rich.console import Console

    if not sys.stdout.isatty():
        for line in lay_out_plain(headings, rows, format_number):
            print(line)
        return
    console = Console(highlight=False)
    for text in lay_out_table(headings, rows, console.width, decimals):
        console.print(text)


def track(frames: Iterable[Any], total: int, unit: str) -> Iterator[Any]:
    """Yield the frames, and show how many have passed."""
    with show_progress(total, unit) as update:
        for done, frame in enumerate(frames, 1):
            update(done, "")
            yield frame
