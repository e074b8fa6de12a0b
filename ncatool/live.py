"""A run on the terminal: its progress, its preview, and the signals that stop it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from ncatool import console
from ncatool.loss import psnr
from ncatool.run import Run
from ncatool.train import Report
from ncatool.view import BLACK, coloured

if TYPE_CHECKING:
    from rich.console import RenderableType


@contextmanager
def signals() -> Iterator[Callable[[], int | None]]:
    """Gives a function that says which signal has asked to stop; a second one ends at once."""
    caught: int | None = None
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def catch(number: int, frame: FrameType | None) -> None:
        nonlocal caught
        caught = number
        restore()

    for number in before:
        signal.signal(number, catch)
    try:
        yield lambda: caught
    finally:
        restore()


def _preview(run: Run) -> RenderableType:
    """Target and current state side by side."""
    from rich.table import Table

    width = max(1, console.stderr().width // 2 - 2)
    pictures = (run.trainer.target.premultiplied(), run.trainer.last[0, ..., :4].cpu().numpy())
    table = Table.grid(padding=(0, 2))
    table.add_row("target", f"iteration {run.trainer.iteration}")
    table.add_row(*(console.half_blocks(coloured(visible, BLACK), width) for visible in pictures))
    return table


def follow(run: Run, preview: bool, log: Callable[[Report], None] | None = None) -> int | None:
    """Trains, showing how it goes; the number of the signal that stopped it, or None at the end.

    `log` takes every report, too.
    """
    total = run.config.train.iterations
    extra = (lambda: _preview(run)) if preview else None
    with signals() as stopped, console.progress(total, "iterations", extra) as update:
        for report in run.reports(lambda: stopped() is not None):
            update(report.iteration, f"loss {report.loss:.3g}  PSNR {psnr(report.mse):.1f} dB")
            if log is not None:
                log(report)
            if report.restored:  # lesser events stand in the CSV
                console.note(f"iteration {report.iteration}: {'; '.join(report.events)}")
        return stopped() if run.trainer.iteration < total else None
