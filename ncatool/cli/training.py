"""What `train` and `resume` share: progress, preview, and what is printed at the end."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ncatool.cli import terminal
from ncatool.cli.progress_line import format_duration
from ncatool.config.names import Precision
from ncatool.errors import ExitCode

if TYPE_CHECKING:
    import torch
    from rich.console import RenderableType

    from ncatool.config.names import Device
    from ncatool.config.schema import ModelConfig, RunConfig
    from ncatool.data.target import Target
    from ncatool.training.run import Run
    from ncatool.training.trainer import Report

MAX_READINGS = 20
"""Pictures of which it is said how they were read."""
MAX_EACH = 8
"""Pictures whose own errors are printed at the end; the record has those of more."""


def prepare_device(threads: int, device: Device, config: RunConfig | None = None) -> torch.device:
    """Set up torch for this process, and return the device that a name means.

    With the settings of a run, say what makes its rollouts slow there; for other models use `print_slowness`.
    """
    from ncatool.config.schema import MAX_THREADS, check_range
    from ncatool.engine.compiled import configure_process
    from ncatool.engine.device import resolve_device

    check_range("threads", threads, 0, MAX_THREADS)
    place = resolve_device(device)
    configure_process(threads)
    if config is not None:
        print_slowness(place, [config.model], config.train.precision)
    return place


def print_slowness(
    device: torch.device, models: Iterable[ModelConfig], precision: Precision = Precision.FLOAT32
) -> None:
    """Print a note of what makes rollouts of these models slow on a device, each reason once."""
    from ncatool.engine.choose import explain_slowness

    reasons = [explain_slowness(device, model, precision) for model in models]
    for reason in filter(None, dict.fromkeys(reasons)):
        share = (
            f"{reasons.count(reason)} of {len(reasons)} models: " if 0 < reasons.count(reason) < len(reasons) else ""
        )
        terminal.print_note(f"{share}{reason}")


def print_readings(targets: Iterable[Target]) -> None:
    """Print a note, each once, of which part of its file a target is, and of the window of its greys."""
    from ncatool.data.targets import describe_reading

    notes = [*filter(None, dict.fromkeys(map(describe_reading, targets)))]
    for note in notes[:MAX_READINGS]:
        terminal.print_note(terminal.clean_line(note, 200))
    if len(notes) > MAX_READINGS:
        terminal.print_note(f"and {len(notes) - MAX_READINGS} more, as the record says")


def complete_run(run: Run, preview: bool, tensorboard: Path | None) -> None:
    """Train to the end, or until a signal, and print where everything is.

    Raises typer.Exit with the signal's exit code where one stopped the run.
    """
    from ncatool.cli.ending import format_command
    from ncatool.training.tensorboard import open_log

    with open_log(tensorboard, run) as log:
        number = train_with_progress(run, preview, log)
    if number is not None:
        done = f"{run.trainer.iteration} of {run.config.train.iterations}"
        again = format_command(["resume", str(run.files.model)])
        advice = f"go on: {again}" if run.config.train.checkpoint else "without a checkpoint"
        terminal.print_note(f"stopped after iteration {done}, everything saved; {advice}")
        raise typer.Exit(ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.TERMINATED)
    _print_ending(run, run.write_results())


def plan_iterations(run: Run, minutes: float) -> int:
    """Return how many iterations of a run fit in a time, from a few that are timed, and say so."""
    from ncatool.training.timing import time_iteration

    seconds = time_iteration(run.config, run.trainer.target)
    count, usual = max(1, int(60 * minutes / seconds)), run.config.train.iterations
    terminal.print_note(f"{minutes:g} min are about {count:,} iterations; without --minutes there would be {usual:,}")
    return count


def print_cost(run: Run, is_planned: bool = False) -> None:
    """Say how long the rest of a run takes, from a few iterations that are timed, and how much memory, if it is much.

    Nothing is timed with --quiet, or where the run `is_planned` to take a given time.
    """
    from ncatool.training.memory import describe_memory
    from ncatool.training.timing import time_iteration

    target, done = run.trainer.target, run.trainer.iteration
    left = run.config.train.iterations - done
    if left == 0 or terminal.settings.quiet:
        return
    notes = [describe_memory(run.config, target.shape, len(target.pictures))]
    if not is_planned:
        notes = [f"takes about {format_duration(left * time_iteration(run.config, target, done=done))}", *notes]
    if any(notes):
        terminal.print_note(", ".join(filter(None, notes)))


def _print_ending(run: Run, result: Mapping[str, Any]) -> None:
    """Print the numbers of the finished model, its quality in words, its files, and what to type next."""
    from ncatool.cli.ending import Ending, suggest_after_training
    from ncatool.evaluation.quality import measure_quality

    quality = measure_quality(run.trainer.copy_model().move_to(run.trainer.device), run.config.train)
    command = suggest_after_training(quality, run.files, run.config)
    ending = Ending(run.files.list_existing(), quality, command)
    shown = {**result, **ending.describe()} if terminal.settings.as_json else _name_errors(result, run)
    terminal.print_result({"wrote": str(run.files.model), **shown})
    ending.print()


def _name_errors(result: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """Return a run's results with the error of each picture behind its name, or without these where they are many."""
    names = [one.name for one in run.trainer.target.pictures]
    return {
        name: ", ".join(f"{one} {error:.3g}" for one, error in zip(names, value, strict=True))
        if isinstance(value, list) else value
        for name, value in result.items()
        if not isinstance(value, list) or len(names) <= MAX_EACH
    }  # fmt: skip


def train_with_progress(run: Run, preview: bool, log: Callable[[Report], None] | None = None) -> int | None:
    """Train with a progress bar; return the number of the signal that stopped the run, or None at its end.

    `log` is called with every report, too.
    """
    from ncatool.nca.loss import compute_psnr
    from ncatool.training.signals import catch_signals

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


def _draw_preview(run: Run) -> RenderableType:
    """Draw target and current state side by side, as large as the terminal has room."""
    from rich.table import Table

    from ncatool.nca.picture import BLACK, compose
    from ncatool.rendering.half_blocks import draw_half_blocks, fit_picture

    console = terminal.stderr_console()
    width, height = max(1, console.width // 2 - 1), max(1, console.height - 4)
    target = run.trainer.target.pictures[run.trainer.last_picture]
    pictures = (target.premultiply(), run.trainer.last_state[0, ..., :4].cpu().numpy())
    table = Table.grid(padding=(0, 2))
    table.add_row(terminal.clean_line(target.name or "target", width), f"iteration {run.trainer.iteration:,}")
    fitted = [fit_picture(compose(visible, BLACK), width, height) for visible in pictures]
    table.add_row(*(draw_half_blocks(picture, width) for picture in fitted))
    return table
