"""`ncatool compare` on the terminal: progress, table, files."""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch

from ncatool.cli import terminal
from ncatool.config.names import Metric
from ncatool.errors import NcatoolError, UsageError
from ncatool.evaluation import models, table
from ncatool.evaluation.models import Candidate, Evaluation
from ncatool.evaluation.protocol import Protocol
from ncatool.evaluation.table import Column
from ncatool.files.atomic import check_writable, replace_atomically, write_bytes
from ncatool.rendering import comparison
from ncatool.rendering.render import WRITERS, check_outputs
from ncatool.rendering.timeline import plan_moments


@dataclass(frozen=True)
class Wish:
    """What is to be made of a comparison."""

    metric: Metric
    sort: str | None
    csv: Path | None
    picture: Path | None
    animation: Path | None
    report: Path | None

    def check(self, force: bool) -> None:
        """Refuses, before anything is measured, what could not be written or sorted."""
        if self.sort is not None:
            table.check_sortable(self.sort)
        for path, ending in ((self.csv, ".csv"), (self.picture, ".png"), (self.report, ".html")):
            if path is not None and path.suffix.lower() != ending:
                raise UsageError(f"{path} does not end in {ending}", f"give a name such as {path.stem}{ending}")
        if self.animation is not None:
            if self.animation.suffix.lower() in (".png", ""):
                choices = ", ".join(ending for ending in WRITERS if ending != ".png")
                raise UsageError(f"{self.animation} is no animation", f"choose an ending from {choices}")
            check_outputs([str(self.animation)], force)
        check_writable([path for path in (self.csv, self.picture, self.report) if path is not None], force)


def run(names: Sequence[str], trial: Protocol, wish: Wish, device: torch.device) -> bool:
    """Compares, prints and writes; False where a model could not be loaded."""
    entries, failed = measured(names, trial, device)
    if wish.sort is not None:
        entries = table.sort_evaluations(entries, wish.sort)
    _print(entries, wish.metric, trial, failed)
    _write(entries, wish, trial, failed)
    return not failed


def measured(
    names: Sequence[str], trial: Protocol, device: torch.device
) -> tuple[list[Evaluation], dict[Path, NcatoolError]]:
    """Puts models to the test, with a progress bar; and what was wrong with those that could not be loaded.

    Raises NcatoolError where none could.
    """
    contenders, failed = models.load_candidates(models.find_models(names), device)
    for error in failed.values():
        terminal.print_note(f"not compared: {error.what}")
    if not contenders:
        raise NcatoolError(f"none of {len(failed)} models can be loaded", "name model files that ncatool has written")
    with terminal.show_progress(len(contenders) * trial.total_steps, "steps") as update:
        return _measured(contenders, trial, update), failed


def _measured(contenders: Sequence[Candidate], trial: Protocol, update: terminal.Update) -> list[Evaluation]:
    done = 0
    entries = []
    for contender in contenders:

        def tick(name: str = contender.name) -> None:
            nonlocal done
            done += 1
            if done % 20 == 0:
                update(done, terminal.clean_line(name, 30))

        entries.append(models.evaluate(contender, trial, tick))
    return entries


def _print(entries: Sequence[Evaluation], metric: Metric, trial: Protocol, failed: Mapping[Path, NcatoolError]) -> None:
    if terminal.settings.as_json:
        terminal.print_result(
            {
                "trial": {"rollouts": trial.rollouts, "steps": trial.steps, "seed": trial.seed},
                "models": [table.to_json(entry) for entry in entries],
                "failed": [{"path": str(path), "error": error.what} for path, error in failed.items()],
            }
        )
        return
    show(entries, metric)


def show(entries: Sequence[Evaluation], metric: Metric) -> None:
    """The table, and what its reader should know."""
    columns = table.select_columns(metric)
    headings = ["model", "filter", "loss", "damage", "target", *(column.heading for column in columns)]
    best = {column.name: table.find_best(entries, column) for column in columns}
    terminal.print_table(headings, [_row(entry, columns, best) for entry in entries], best=True)
    for line in _footnotes(entries):
        terminal.print_note(line)


def _row(entry: Evaluation, columns: Sequence[Column], best: Mapping[str, set[str]]) -> list[str]:
    contender = entry.candidate
    name = terminal.clean_line(contender.name, 40) + ("†" if contender.notes else "")
    about = [terminal.clean_line(value, 30) for value in contender.grouping.values()]
    marks = ["*" if contender.name in best[column.name] else "" for column in columns]
    cells = [
        f"{table.format_number(entry.median(column.name))}{mark}" for column, mark in zip(columns, marks, strict=True)
    ]
    return [name, *about, *cells]


def _footnotes(entries: Sequence[Evaluation]) -> list[str]:
    lines = ["* best"]
    if len({entry.candidate.target_key for entry in entries}) > 1:
        lines = ["the targets differ: each model is measured against its own", "* best of those with the same target"]
    notes = {note for entry in entries for note in entry.candidate.notes}
    return [*(lines if len(entries) > 1 else []), *(f"† {note}" for note in sorted(notes))]


def _write(entries: Sequence[Evaluation], wish: Wish, trial: Protocol, failed: Mapping[Path, NcatoolError]) -> None:
    if wish.csv is not None:
        write_bytes(wish.csv, table.to_csv(entries).encode())
    if wish.picture is not None:
        with replace_atomically(wish.picture) as partial:
            comparison.draw_sheet(entries).save(partial, "PNG")
    if wish.report is not None:
        write_report(wish.report, entries, wish.metric, trial, failed)
    if wish.animation is not None:
        count = len(plan_moments(comparison.ANIMATION))
        contenders = [entry.candidate for entry in entries]
        comparison.save_animation(
            contenders, str(wish.animation), lambda passing: terminal.track(passing, count, "frames")
        )


def write_report(
    path: Path, entries: Sequence[Evaluation], metric: Metric, trial: Protocol, failed: Mapping[Path, NcatoolError]
) -> None:
    """Writes the page of numbers, curves and pictures."""
    from ncatool.evaluation import report  # which loads matplotlib

    strips = [comparison.draw_strip(entry) for entry in entries]
    write_bytes(
        path, report.render_report(entries, table.select_columns(metric), trial, failed, _facts(), strips).encode()
    )


def _facts() -> dict[str, str]:
    packages = [f"{name} {version(name)}" for name in ("ncatool", "torch", "numpy", "scikit-image")]
    return {
        "command": shlex.join(["ncatool", *sys.argv[1:]]),
        "versions": ", ".join([*packages, f"Python {platform.python_version()}"]),
        "machine": platform.platform(),
    }
