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
from ncatool.evaluation.models import Contender, Entry
from ncatool.evaluation.protocol import Trial
from ncatool.evaluation.table import Column
from ncatool.files.atomic import check_writable, replacing, write
from ncatool.rendering import comparison
from ncatool.rendering.render import FORMATS, check_outputs
from ncatool.rendering.timeline import plan


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
                choices = ", ".join(ending for ending in FORMATS if ending != ".png")
                raise UsageError(f"{self.animation} is no animation", f"choose an ending from {choices}")
            check_outputs([str(self.animation)], force)
        check_writable([path for path in (self.csv, self.picture, self.report) if path is not None], force)


def run(names: Sequence[str], trial: Trial, wish: Wish, device: torch.device) -> bool:
    """Compares, prints and writes; False where a model could not be loaded."""
    entries, failed = measured(names, trial, device)
    if wish.sort is not None:
        entries = table.ordered(entries, wish.sort)
    _print(entries, wish.metric, trial, failed)
    _write(entries, wish, trial, failed)
    return not failed


def measured(names: Sequence[str], trial: Trial, device: torch.device) -> tuple[list[Entry], dict[Path, NcatoolError]]:
    """Puts models to the test, with a progress bar; and what was wrong with those that could not be loaded.

    Raises NcatoolError where none could.
    """
    contenders, failed = models.load(models.model_paths(names), device)
    for error in failed.values():
        terminal.note(f"not compared: {error.what}")
    if not contenders:
        raise NcatoolError(f"none of {len(failed)} models can be loaded", "name model files that ncatool has written")
    with terminal.progress(len(contenders) * trial.total, "steps") as update:
        return _measured(contenders, trial, update), failed


def _measured(contenders: Sequence[Contender], trial: Trial, update: terminal.Update) -> list[Entry]:
    done = 0
    entries = []
    for contender in contenders:

        def tick(name: str = contender.name) -> None:
            nonlocal done
            done += 1
            if done % 20 == 0:
                update(done, terminal.one_line(name, 30))

        entries.append(models.compare(contender, trial, tick))
    return entries


def _print(entries: Sequence[Entry], metric: Metric, trial: Trial, failed: Mapping[Path, NcatoolError]) -> None:
    if terminal.manner.as_json:
        terminal.result(
            {
                "trial": {"rollouts": trial.rollouts, "steps": trial.steps, "seed": trial.seed},
                "models": [table.plain(entry) for entry in entries],
                "failed": [{"path": str(path), "error": error.what} for path, error in failed.items()],
            }
        )
        return
    show(entries, metric)


def show(entries: Sequence[Entry], metric: Metric) -> None:
    """The table, and what its reader should know."""
    columns = table.columns(metric)
    headings = ["model", "filter", "loss", "damage", "target", *(column.heading for column in columns)]
    best = {column.name: table.best(entries, column) for column in columns}
    terminal.table(headings, [_row(entry, columns, best) for entry in entries], best=True)
    for line in _footnotes(entries):
        terminal.note(line)


def _row(entry: Entry, columns: Sequence[Column], best: Mapping[str, set[str]]) -> list[str]:
    contender = entry.contender
    name = terminal.one_line(contender.name, 40) + ("†" if contender.notes else "")
    about = [terminal.one_line(value, 30) for value in contender.about.values()]
    marks = ["*" if contender.name in best[column.name] else "" for column in columns]
    cells = [f"{table.shown(entry.middle(column.name))}{mark}" for column, mark in zip(columns, marks, strict=True)]
    return [name, *about, *cells]


def _footnotes(entries: Sequence[Entry]) -> list[str]:
    lines = ["* best"]
    if len({entry.contender.target_key for entry in entries}) > 1:
        lines = ["the targets differ: each model is measured against its own", "* best of those with the same target"]
    notes = {note for entry in entries for note in entry.contender.notes}
    return [*(lines if len(entries) > 1 else []), *(f"† {note}" for note in sorted(notes))]


def _write(entries: Sequence[Entry], wish: Wish, trial: Trial, failed: Mapping[Path, NcatoolError]) -> None:
    if wish.csv is not None:
        write(wish.csv, table.as_csv(entries).encode())
    if wish.picture is not None:
        with replacing(wish.picture) as partial:
            comparison.picture(entries).save(partial, "PNG")
    if wish.report is not None:
        write_report(wish.report, entries, wish.metric, trial, failed)
    if wish.animation is not None:
        count = len(plan(comparison.ANIMATION))
        contenders = [entry.contender for entry in entries]
        comparison.animate(contenders, str(wish.animation), lambda passing: terminal.watched(passing, count, "frames"))


def write_report(
    path: Path, entries: Sequence[Entry], metric: Metric, trial: Trial, failed: Mapping[Path, NcatoolError]
) -> None:
    """Writes the page of numbers, curves and pictures."""
    from ncatool.evaluation import report  # which loads matplotlib

    strips = [comparison.strip(entry) for entry in entries]
    write(path, report.page(entries, table.columns(metric), trial, failed, _facts(), strips).encode())


def _facts() -> dict[str, str]:
    packages = [f"{name} {version(name)}" for name in ("ncatool", "torch", "numpy", "scikit-image")]
    return {
        "command": shlex.join(["ncatool", *sys.argv[1:]]),
        "versions": ", ".join([*packages, f"Python {platform.python_version()}"]),
        "machine": platform.platform(),
    }
