"""The measures of a sweep's models: taken by its workers, several at a time, each kept as soon as it is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ncatool.cli import terminal
from ncatool.cli.sweep_progress import print_failure
from ncatool.engine.choose import engine_name
from ncatool.engine.device import resolve_device
from ncatool.errors import NcatoolError
from ncatool.evaluation.measures import Measures
from ncatool.evaluation.measures_file import (
    Basis,
    describe_basis,
    has_measures,
    locate_measures,
    pack_measures,
    read_measures,
)
from ncatool.evaluation.models import Candidate, Evaluation, load_candidates, name_measures
from ncatool.evaluation.protocol import Protocol
from ncatool.files.atomic import remove_partials, write_bytes
from ncatool.nca.model_file import pack_arrays
from ncatool.sweep.choose import choose_threads, open_measuring_workers
from ncatool.sweep.dispatch import Failure, Workers, run_jobs
from ncatool.sweep.folder import SweepFolder
from ncatool.sweep.item import SweepItem
from ncatool.sweep.job import Outcome, Progress
from ncatool.sweep.measure_job import MeasureJob

PROTOCOL = Protocol()
"""The measures of a sweep are those of `ncatool compare` without further options."""


@dataclass
class Comparison:
    """The finished models of a sweep, with their measures as far as they are there."""

    candidates: list[Candidate]
    """In the order of `ncatool compare`."""
    unreadable: dict[Path, NcatoolError]
    """Why other models could not be loaded."""
    measures: dict[str, Measures] = field(default_factory=dict)
    """By the name of the candidate: that of the run, and of several pictures one for each, RUN:PICTURE."""
    failed: dict[str, Failure] = field(default_factory=dict)
    """What could not be measured, by the name of the candidate."""

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing left to measure."""
        return len(self.measures) + len(self.failed) == len(self.candidates)

    def list_evaluations(self) -> list[Evaluation]:
        """Return the models that have been measured."""
        measured = [candidate for candidate in self.candidates if candidate.name in self.measures]
        return [name_measures(candidate, self.measures[candidate.name]) for candidate in measured]


def load_comparison(items: Sequence[SweepItem], folder: SweepFolder, on_cluster: bool) -> Comparison:
    """Return the models of finished runs, with the measures that an earlier command has kept.

    Raises NcatoolError where no model can be loaded.
    """
    bases = {item.name: _describe_basis(item, folder, on_cluster) for item in items}
    paths = [folder.get_run_files(item.name).model for item in items]
    comparison = Comparison(*load_candidates(paths, torch.device("cpu")))
    for error in comparison.unreadable.values():
        terminal.print_note(f"not compared: {error.what}")
    if not comparison.candidates:
        count = len(comparison.unreadable)
        raise NcatoolError(f"none of {count} models can be loaded", "give --force to train them anew")
    for one in comparison.candidates:
        path, grid = _locate_measures(one), one.model.target.shape
        remove_partials(path)  # of a command that was killed; this one holds the sweep's lock
        measures = read_measures(path, bases[one.path.stem], grid, PROTOCOL)
        if measures is not None:
            comparison.measures[one.name] = measures
    return comparison


def is_measured(item: SweepItem, folder: SweepFolder, on_cluster: bool) -> bool:
    """Return whether an earlier command has kept the measures of a run's model, of all of its pictures."""
    try:
        model, basis = folder.get_run_files(item.name).model, _describe_basis(item, folder, on_cluster)
        return all(has_measures(locate_measures(model, one.name), basis) for one in item.target.pictures)
    except NcatoolError:
        return False


def _locate_measures(candidate: Candidate) -> Path:
    return locate_measures(candidate.path, candidate.model.target.name)


def _describe_basis(item: SweepItem, folder: SweepFolder, on_cluster: bool) -> Basis:
    """Return what the measures of a run's model depend on; which devices a cluster has, only its workers know."""
    path, asked = folder.get_run_files(item.name).model, item.config.train.device
    if on_cluster:
        return describe_basis(path, PROTOCOL, f"{asked}, of a cluster", "")
    device = resolve_device(asked)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return describe_basis(path, PROTOCOL, name, engine_name(device, item.config.model))


def measure_with_progress(
    comparison: Comparison,
    items: Sequence[SweepItem],
    folder: SweepFolder,
    workers: Workers,
    token: str,
    on_cluster: bool,
    stopped: Callable[[], bool],
    on_measured: Callable[[Evaluation], object],
) -> None:
    """Measure the models that have not been, to the end or until `stopped`.

    `on_measured` is called with each model once its measures are kept.
    """
    runs = {item.name: item for item in items}
    places = {name: place for place, name in enumerate(runs)}
    candidates = {one.name: one for one in sorted(comparison.candidates, key=lambda one: places[one.path.stem])}
    missing = [one for name, one in candidates.items() if name not in comparison.measures]
    bases = {one.path.stem: _describe_basis(runs[one.path.stem], folder, on_cluster) for one in missing}
    done = {one.name: 0 for one in missing}
    totals = {one.name: PROTOCOL.count_steps(one.model.target.shape) for one in missing}
    with (
        open_measuring_workers(workers) as measuring,
        terminal.show_progress(sum(totals.values()), "steps") as show,
    ):
        threads = choose_threads(measuring, len(missing))
        jobs = [_make_job(runs[one.path.stem], one, token, threads) for one in missing]
        for event in run_jobs(jobs, measuring, stopped):
            if isinstance(event, Progress):
                done[event.name] = event.iteration
            elif isinstance(event, Outcome) and event.measures is not None:
                done[event.name] = totals[event.name]
                comparison.measures[event.name] = event.measures
                candidate = candidates[event.name]
                _keep_measures(_locate_measures(candidate), event.measures, bases[candidate.path.stem])
                on_measured(name_measures(candidate, event.measures))
            elif isinstance(event, Failure):
                _add_failure(event, comparison, stopped())
            show(sum(done.values()), f"{len(comparison.measures)}/{len(candidates)} models")


def _make_job(item: SweepItem, candidate: Candidate, token: str, threads: int) -> MeasureJob:
    model, train = candidate.model, item.config.train
    return MeasureJob(
        candidate.name, pack_arrays(model), model.config, model.target, PROTOCOL, train.device, token,
        train.threads or threads, candidate.siblings,
    )  # fmt: skip


def _keep_measures(path: Path, measures: Measures, basis: Basis) -> None:
    """Write the file of a model's measures; without one they are only taken anew the next time."""
    try:
        write_bytes(path, pack_measures(measures, basis))
    except NcatoolError as error:
        terminal.print_note(f"not kept for the next time: {error.what}")


def _add_failure(failure: Failure, comparison: Comparison, stopping: bool) -> None:
    if not stopping:
        print_failure(failure)
    if failure.final:
        comparison.failed[failure.name] = failure
