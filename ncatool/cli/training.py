"""A run on the terminal: its progress, its preview, and the signals that stop it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ncatool.cli import terminal
from ncatool.nca.loss import psnr
from ncatool.nca.picture import BLACK, coloured
from ncatool.rendering.half_blocks import half_blocks
from ncatool.training.run import Run
from ncatool.training.trainer import Report

if TYPE_CHECKING:
    from rich.console import RenderableType
from ncatool.cli.signals import signals


def _preview(run: Run) -> RenderableType:
    """Target and current state side by side."""
    from rich.table import Table

    width = max(1, terminal.stderr().width // 2 - 2)
    pictures = (run.trainer.target.premultiplied(), run.trainer.last[0, ..., :4].cpu().numpy())
    table = Table.grid(padding=(0, 2))
    table.add_row("target", f"iteration {run.trainer.iteration}")
    table.add_row(*(half_blocks(coloured(visible, BLACK), width) for visible in pictures))
    return table


def follow(run: Run, preview: bool, log: Callable[[Report], None] | None = None) -> int | None:
    """Trains, showing how it goes; the number of the signal that stopped it, or None at the end.

    `log` takes every report, too.
    """
    total = run.config.train.iterations
    extra = (lambda: _preview(run)) if preview else None
    with signals() as stopped, terminal.progress(total, "iterations", extra) as update:
        for report in run.reports(lambda: stopped() is not None):
            update(report.iteration, f"loss {report.loss:.3g}  PSNR {psnr(report.mse):.1f} dB")
            if log is not None:
                log(report)
            if report.restored:  # lesser events stand in the CSV
                terminal.note(f"iteration {report.iteration}: {'; '.join(report.events)}")
        return stopped() if run.trainer.iteration < total else None
