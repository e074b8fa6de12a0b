"""Streams of the command line: data, notes, errors, progress bars, tables.

Data goes to stdout, as text or as one JSON object; everything else goes to stderr.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

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


def escape(text: object) -> str:
    """Return text of any origin as one line that a terminal only shows: letters that act on it become escapes.

    These are control characters, line breaks, marks that change the direction of writing, and bytes of a file's name
    that are no text.
    """
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in str(text))


def clean_line(text: str, most: int) -> str:
    """Return text of any origin for use within a line: escaped, at most `most` characters."""
    plain = escape(text[: most + 1])
    return plain if len(plain) <= most else f"{plain[: most - 1]}…"


def print_line(text: str) -> None:
    """Print one line of data on stdout."""
    print(escape(text), flush=True)


def print_note(message: str) -> None:
    """Print one line on stderr, unless `--quiet` was given."""
    if not settings.quiet:
        print_failure(message)


def print_failure(message: str) -> None:
    """Print one line on stderr about a failure that does not end the command, whatever `--quiet` says."""
    print(escape(message), file=sys.stderr, flush=True)


def print_error(error: NcatoolError) -> None:
    """Print a line that says what is wrong, an empty one, and what to do."""
    print(f"error: {escape(error.what)}\n\nhint: {escape(error.hint)}", file=sys.stderr, flush=True)


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
    return print_table(headings, [[name, *map(_format_value, row.values())] for name, row in models.items()])


def _format_value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


Update = Callable[[int, str], None]
"""Called with the amount done and a text about it."""


def can_animate() -> bool:
    """Return whether progress may be drawn: on a terminal, unless the user has turned it off."""
    return sys.stderr.isatty() and not settings.quiet and not os.environ.get("NCATOOL_NO_PROGRESS")


@contextmanager
def show_progress(
    total: int, unit: str, extra: Callable[[], RenderableType] | None = None
) -> Iterator[Callable[[int, str], None]]:
    """Yield `update(done, text)`, which draws a bar on a terminal, and elsewhere prints a line now and then.

    `extra` is called for what is drawn above the bar.
    """
    if not can_animate():
        yield _print_progress_lines(total, unit)
        return
    from rich.console import Group
    from rich.live import Live
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=stderr_console(),
    )
    task = bar.add_task("", total=total, rate="")
    rate = _Rate(unit)
    # `extra` is called only when the screen is drawn: a picture in each iteration would slow training down.
    with Live(console=bar.console, refresh_per_second=8, get_renderable=lambda: Group(extra(), bar) if extra else bar):
        yield lambda done, text: bar.update(task, completed=done, description=escape(text), rate=rate(done))


class _Rate:
    """The units a second since the first call, as text."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._first: tuple[float, int] | None = None

    def __call__(self, done: int) -> str:
        now = time.monotonic()
        if self._first is None:
            self._first = now, done
        elapsed, count = now - self._first[0], done - self._first[1]
        return f"{count / elapsed:.1f} {self._unit}/s" if count and elapsed > 0 else ""


def _print_progress_lines(total: int, unit: str) -> Callable[[int, str], None]:
    rate, last = _Rate(unit), time.monotonic()

    def update(done: int, text: str) -> None:
        nonlocal last
        speed = rate(done)
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
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (BarColumn(bar_width=None), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(TextColumn("{task.description}", markup=False), *columns, console=stderr_console()) as bar:
        task = bar.add_task(escape(name), total=None)
        doing = ""

        def watch(done: int, total: int | None, text: str) -> None:
            nonlocal doing
            if total is None and text:
                bar.console.print(escape(f"{name}: {text}"), markup=False, emoji=False, soft_wrap=True)
            elif text != doing:
                doing = text
                bar.reset(task, description=escape(f"{name} {text}".rstrip()))
            bar.update(task, completed=done, total=total)

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


Cell = str | list[str]
"""Text of a table; as a list, the lines of a cell."""


def print_table(headings: Sequence[str], rows: Sequence[Sequence[Cell]], *, best: bool = False) -> None:
    """Print rows under headings on stdout; with `best`, cells that end in * are bold."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=None, pad_edge=False, header_style="bold")
    texts = [list(map(_escape_cell, row)) for row in rows]
    columns = list(zip(headings, *texts, strict=True))
    if sys.stdout.isatty() and sum(max(map(len, column)) + 2 for column in columns) > Console().width:
        _print_blocks(headings, texts)
        return
    for heading in headings:
        shown.add_column(heading, overflow="fold")
    for row in texts:
        # As Text, or brackets in names would be taken for markup.
        shown.add_row(*(Text(cell, "bold" if best and cell.endswith("*") else "") for cell in row))
    wide = None if sys.stdout.isatty() else 200
    Console(highlight=False, width=wide).print(shown)


def _escape_cell(cell: Cell) -> str:
    return "\n".join(map(escape, [cell] if isinstance(cell, str) else cell))


def _print_blocks(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table that is wider than the terminal, a paragraph a row."""
    for name, *cells in rows:
        print(f"{name}\n  {'   '.join(f'{heading} {cell}' for heading, cell in zip(headings[1:], cells, strict=True))}")


def track(frames: Iterable[Any], total: int, unit: str) -> Iterator[Any]:
    """Yield the frames, and show how many have passed."""
    with show_progress(total, unit) as update:
        for done, frame in enumerate(frames, 1):
            update(done, "")
            yield frame
