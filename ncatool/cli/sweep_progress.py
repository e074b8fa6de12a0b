"""The progress of a sweep on the terminal: how far all runs are, and which attempts failed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ncatool.cli import terminal
from ncatool.nca.loss import compute_psnr
from ncatool.sweep.choose import choose_threads
from ncatool.sweep.cluster import ClusterWorkers
from ncatool.sweep.dispatch import Failure, Workers, run_jobs
from ncatool.sweep.folder import SweepFolder
from ncatool.sweep.item import SweepItem
from ncatool.sweep.job import Ending, Job, Outcome, Progress, locate_token
from ncatool.training.signals import catch_signals

if TYPE_CHECKING:
    from rich.console import RenderableType

MAX_ROWS = 20
"""Runs that the display shows at the same time."""


class SweepProgress:
    """How far each run of a sweep is."""

    def __init__(self, items: Sequence[SweepItem]) -> None:
        self._iterations = {item.name: item.config.train.iterations for item in items}
        self._done = {item.name: item.status.iteration for item in items}
        self._finished = {item.name for item in items if not item.is_pending}
        self._running: dict[str, Progress] = {}

    @property
    def total(self) -> int:
        """The iterations of all runs."""
        return sum(self._iterations.values())

    @property
    def done(self) -> int:
        """The iterations that are done."""
        return sum(self._done.values())

    @property
    def finished(self) -> int:
        """The number of runs that are finished."""
        return len(self._finished)

    def update(self, progress: Progress) -> None:
        """Record how far a run is."""
        self._done[progress.name] = progress.iteration
        self._running[progress.name] = progress

    def end(self, name: str, finished: bool) -> None:
        """Record that a run is not being trained any more."""
        self._running.pop(name, None)
        if finished:
            self._finished.add(name)
            self._done[name] = self._iterations[name]

    def format_count(self) -> str:
        """Return how many runs are finished, as text."""
        return f"{self.finished}/{len(self._iterations)} runs"

    def draw_table(self) -> RenderableType | None:
        """Return a table with a row for each run that is being trained; None where there is none."""
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        rows = max(1, min(MAX_ROWS, terminal.stderr_console().height - 4))
        running = sorted(self._running.items())
        if not running:
            return None
        for name, progress in running[:rows]:
            table.add_row(
                Text(terminal.clean_line(name, max(10, min(40, terminal.stderr_console().width - 42)))),
                f"{progress.iteration:,}/{self._iterations[name]:,}",
                f"loss {progress.loss:.3g}",
                f"PSNR {compute_psnr(progress.mse):.1f} dB",
            )
        if len(running) > rows:
            table.add_row(f"and {len(running) - rows} more")
        return table


def train_with_progress(
    items: Sequence[SweepItem], folder: SweepFolder, token: str, workers: Workers
) -> tuple[dict[str, Failure], int | None]:
    """Train the runs that are not finished; return those given up by name, and the signal that stopped the others.

    The signal is None where every run is finished or given up.
    """
    progress, given_up = SweepProgress(items), dict[str, Failure]()
    jobs = _make_jobs(items, folder, token, workers)
    with catch_signals() as stopped, terminal.show_progress(progress.total, "iterations", progress.draw_table) as show:
        show(progress.done, progress.format_count())
        for event in run_jobs(jobs, workers, lambda: stopped() is not None):
            if isinstance(event, Progress):
                progress.update(event)
            elif isinstance(event, Outcome):
                folder.write_files(event.files)
                progress.end(event.name, event.ending is Ending.FINISHED)
            else:
                progress.end(event.name, False)
                if stopped() is None:
                    print_failure(event)
                if event.final:
                    given_up[event.name] = event
            show(progress.done, progress.format_count())
        is_complete = progress.finished + len(given_up) == len(items)
        return given_up, None if is_complete else stopped()


def _make_jobs(items: Sequence[SweepItem], folder: SweepFolder, token: str, workers: Workers) -> list[Job]:
    pending = [item for item in items if item.is_pending]
    threads = choose_threads(workers, len(pending))
    jobs = [item.make_job(folder, token, item.config.train.threads or threads) for item in pending]
    if isinstance(workers, ClusterWorkers) and not workers.can_read(locate_token(folder.path.resolve(), token)):
        return [dataclasses.replace(job, files=_read_checkpoint(folder, job.name)) for job in jobs]
    return jobs


def _read_checkpoint(folder: SweepFolder, name: str) -> dict[str, bytes]:
    """Return a run's checkpoint by file name, for a worker that does not see the folder; empty if there is none."""
    path = folder.get_run_files(name).find_checkpoint()
    return {path.name: path.read_bytes()} if path.exists() else {}


def print_failure(failure: Failure) -> None:
    """Print that an attempt has failed."""
    what = terminal.clean_line(failure.what, 300)
    count = f"failure {failure.failures}" if failure.failures else "not counted as a failure of the run"
    terminal.print_note(f"{failure.name}: {what} ({'given up' if failure.final else f'{count}; it is tried again'})")
