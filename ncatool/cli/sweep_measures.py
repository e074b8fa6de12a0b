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
    """By the name of the run."""
    failed: dict[str, Failure] = field(default_factory=dict)
    """Models that could not be measured, by the name of the run."""

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
        path, grid = locate_measures(one.path), one.model.target.shape
        remove_partials(path)  # of a command that was killed; this one holds the sweep's lock
        measures = read_measures(path, bases[one.name], grid, PROTOCOL)
        if measures is not None:
            comparison.measures[one.name] = measures
    return comparison


def is_measured(item: SweepItem, folder: SweepFolder, on_cluster: bool) -> bool:
    """Return whether an earlier command has kept the measures of a run's model."""
    try:
        path = locate_measures(folder.get_run_files(item.name).model)
        return has_measures(path, _describe_basis(item, folder, on_cluster))
    except NcatoolError:
        return False


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
    candidates = {one.name: one for one in comparison.candidates}
    missing = [item for item in items if item.name in candidates and item.name not in comparison.measures]
    bases = {item.name: _describe_basis(item, folder, on_cluster) for item in missing}
    done = dict.fromkeys(bases, 0)
    with (
        open_measuring_workers(workers) as measuring,
        terminal.show_progress(len(missing) * PROTOCOL.total_steps, "steps") as show,
    ):
        threads = choose_threads(measuring, len(missing))
        jobs = [_make_job(item, candidates[item.name], token, item.config.train.threads or threads) for item in missing]
        for event in run_jobs(jobs, measuring, stopped):
            if isinstance(event, Progress):
                done[event.name] = event.iteration
            elif isinstance(event, Outcome) and event.measures is not None:
                done[event.name] = PROTOCOL.total_steps
                comparison.measures[event.name] = event.measures
                _keep_measures(candidates[event.name].path, event.measures, bases[event.name])
                on_measured(name_measures(candidates[event.name], event.measures))
            elif isinstance(event, Failure):
                _add_failure(event, comparison, stopped())
            show(sum(done.values()), f"{len(comparison.measures)}/{len(candidates)} models")


def _make_job(item: SweepItem, candidate: Candidate, token: str, threads: int) -> MeasureJob:
    model = candidate.model
    return MeasureJob(
        item.name, pack_arrays(model), model.config, model.target, PROTOCOL, item.config.train.device, token, threads
    )


def _keep_measures(model: Path, measures: Measures, basis: Basis) -> None:
    """Write the file of a model's measures; without one they are only taken anew the next time."""
    try:
        write_bytes(locate_measures(model), pack_measures(measures, basis))
    except NcatoolError as error:
        terminal.print_note(f"not kept for the next time: {error.what}")


def _add_failure(failure: Failure, comparison: Comparison, stopping: bool) -> None:
    if not stopping:
        print_failure(failure)
    if failure.final:
        comparison.failed[failure.name] = failure
