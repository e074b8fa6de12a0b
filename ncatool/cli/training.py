"""A run on the terminal: its progress, its preview, and the signals that stop it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ncatool.cli import terminal
from ncatool.nca.loss import compute_psnr
from ncatool.nca.picture import BLACK, compose
from ncatool.rendering.half_blocks import draw_half_blocks
from ncatool.training.run import Run
from ncatool.training.trainer import Report

if TYPE_CHECKING:
    from rich.console import RenderableType
from ncatool.cli.signals import catch_signals


def _draw_preview(run: Run) -> RenderableType:
    """Target and current state side by side."""
    from rich.table import Table

    width = max(1, terminal.stderr_console().width // 2 - 2)
    pictures = (run.trainer.target.premultiply(), run.trainer.last[0, ..., :4].cpu().numpy())
    table = Table.grid(padding=(0, 2))
    table.add_row("target", f"iteration {run.trainer.iteration}")
    table.add_row(*(draw_half_blocks(compose(visible, BLACK), width) for visible in pictures))
    return table


def train_with_progress(run: Run, preview: bool, log: Callable[[Report], None] | None = None) -> int | None:
    """Trains, showing how it goes; the number of the signal that stopped it, or None at the end.

    `log` takes every report, too.
    """
    total = run.config.train.iterations
    extra = (lambda: _draw_preview(run)) if preview else None
    with catch_signals() as stopped, terminal.show_progress(total, "iterations", extra) as update:
        for report in run.train(lambda: stopped() is not None):
            update(report.iteration, f"loss {report.loss:.3g}  PSNR {compute_psnr(report.mse):.1f} dB")
            if log is not None:
                log(report)
            if report.restored:  # lesser events stand in the CSV
                terminal.print_note(f"iteration {report.iteration}: {'; '.join(report.events)}")
        return stopped() if run.trainer.iteration < total else None
