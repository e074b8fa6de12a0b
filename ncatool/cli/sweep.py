"""`ncatool sweep`: read the plan, train or time its runs, and print a summary."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ncatool.cli import options as o
from ncatool.cli import terminal
from ncatool.cli.app import app
from ncatool.cli.help import list_examples
from ncatool.cli.paper_outputs import PaperOutputs, check_distinct
from ncatool.cli.settings import collect_settings, take_lists_of_settings
from ncatool.errors import ExitCode, UsageError
from ncatool.files.atomic import check_writable, write_bytes
from ncatool.files.toml import read_toml

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from ncatool.sweep.dispatch import Workers
    from ncatool.sweep.folder import SweepFolder
    from ncatool.sweep.item import SweepItem
    from ncatool.sweep.plan import PlannedRun


@app.command(
    epilog=list_examples(
        "sweep --target phantom --loss l1,l2 --filter sobel,scharr",
        "sweep --target chestmnist --damage both --seed 0,1,2 --out matrix",
        "sweep plan.toml --dry-run",
    )
)
@take_lists_of_settings
def sweep(
    plan: o.SweepFile = None,
    out: o.SweepOut = Path("sweep"),
    jobs: o.Jobs = 0,
    vectorise: o.Vectorise = False,
    scheduler: o.Scheduler = None,
    most: o.Most = 1000,
    dry_run: o.DryRun = False,
    compare: o.Compare = True,
    table: o.Table = None,
    curves: o.Curves = None,
    root: o.Root = None,
    force: o.Force = False,
    quiet: o.Quiet = False,
    json: o.Json = False,
    traceback: o.Traceback = False,
    **settings: Any,
) -> None:
    """Train many models: every combination of settings, on all processors or on a cluster.

    A setting with several values, by commas, is varied. The same command again does only what is missing.
    """
    request = SweepRequest(
        plan, out, jobs, vectorise, scheduler, most, dry_run, compare, root, force, PaperOutputs(table, curves, force)
    )
    code = run_sweep(request, collect_settings(settings))
    if code is not ExitCode.DONE:
        raise typer.Exit(code)


@dataclass(frozen=True)
class SweepRequest:
    """What the command line asks of a sweep, besides settings of its runs."""

    plan: Path | None
    """TOML file of the plan; without it, the flags are the plan."""
    out: Path
    """Folder of all files."""
    jobs: int
    """Runs at the same time; 0: as many as fit."""
    vectorise: bool
    """Whether to train all runs in this process, as one batch on a GPU."""
    scheduler: str | None
    """Address or file of a Dask scheduler."""
    most: int
    """Runs that a plan may ask for."""
    dry_run: bool
    """Whether only to time the runs."""
    compare: bool
    """Whether to measure and compare the finished models."""
    root: Path | None
    """Folder of MedMNIST's files."""
    force: bool
    """Whether to overwrite runs with other settings."""
    paper: PaperOutputs
    """Outputs of the comparison outside of the folder."""

    def check(self) -> None:
        """Raise UsageError for options that contradict each other, and for names of outputs that mean nothing."""
        self.paper.check_names()
        if self.paper.paths and (self.dry_run or not self.compare):
            other = "--dry-run" if self.dry_run else "--no-compare"
            raise UsageError(
                f"{self.paper.paths[0]} is of the comparison, which {other} leaves out", "give one of them"
            )
        if self.jobs and self.scheduler:
            raise UsageError("--jobs is for this machine, --scheduler for a cluster", "give one of them")
        if self.vectorise and self.scheduler:
            raise UsageError("--vectorise is for one GPU, --scheduler for a cluster", "give one of them")


def run_sweep(request: SweepRequest, flags: Mapping[str, str | bool | None]) -> ExitCode:
    """Train the runs of a plan that are not finished, or time them for `--dry-run`; return the exit code.

    `flags` are the settings of the command line by their flat names. Raises NcatoolError where a plan, a target or
    the folder cannot be used.
    """
    from ncatool.cli.announce import announce_sweep

    request.check()
    planned = _read_plan(request, flags)
    announce_sweep(planned, request.out, request.root, request.dry_run)
    from ncatool.sweep.folder import SweepFolder  # imports torch, which takes seconds

    folder = SweepFolder(request.out)
    folder.check(request.force)
    if request.dry_run:
        _time_runs(planned, folder, request)
        return ExitCode.DONE
    with folder.lock(terminal.print_note):
        return _train_runs(planned, folder, request)


def _read_plan(request: SweepRequest, flags: Mapping[str, str | bool | None]) -> list[PlannedRun]:
    from ncatool.data.medmnist import choose_default_source
    from ncatool.data.sources import expand_target, resolve_source
    from ncatool.nca.model_name import find_model
    from ncatool.sweep.plan import parse_flags, read_plan

    if request.plan is not None and not request.plan.exists():
        raise _describe_missing_plan(request.plan)
    tables = read_toml(request.plan) if request.plan is not None else {}
    where = str(request.plan) if request.plan is not None else "the command line"
    settings = parse_flags(flags)
    if "from" in settings:
        settings["from"] = [str(find_model(name)) for name in settings["from"]]
    if "target" in settings:
        settings["target"] = [resolve_source(text, request.root) for text in settings["target"]]
    base = tables.get("base", {})
    if "target" not in settings and isinstance(base, dict) and "target" not in base:
        tables = {**tables, "base": {**base, "target": choose_default_source(request.root)}}
    planned = read_plan(tables, where, settings, request.most, lambda text: expand_target(text, request.root))
    for source in {run.config.target.source for run in planned}:
        resolve_source(source, request.root)  # refuses what does not exist
    return planned


def _describe_missing_plan(plan: Path) -> UsageError:
    from ncatool.data.sources import resolve_source

    try:
        hint = f"a plan is a TOML file; for a target: ncatool sweep --target {resolve_source(str(plan))}"
    except UsageError:
        hint = "give the name of a TOML file, or flags with several values: ncatool sweep --loss l1,l2"
    return UsageError(f"no such plan: {plan}", hint)


def _time_runs(planned: Sequence[PlannedRun], folder: SweepFolder, request: SweepRequest) -> None:
    from ncatool.cli.dry_run import print_dry_run

    items = _prepare_items(planned, folder, request)
    if request.vectorise:
        terminal.print_note("--dry-run times runs in processes of their own, not with --vectorise")
    in_processes = dataclasses.replace(request, vectorise=False)
    pending = [item for item in items if item.is_pending]
    with _open_workers(pending, secrets.token_hex(8), in_processes) as workers:
        print_dry_run(items, folder, workers)


def _train_runs(planned: Sequence[PlannedRun], folder: SweepFolder, request: SweepRequest) -> ExitCode:
    from ncatool.cli.sweep_measures import is_measured
    from ncatool.cli.sweep_progress import train_with_progress
    from ncatool.cli.sweep_summary import Summary
    from ncatool.engine.compiled import configure_process
    from ncatool.sweep.local import count_processors

    items = _prepare_items(planned, folder, request)
    own = folder.check_inputs(planned, request.plan)
    check_distinct([*own, *request.paper.paths])
    check_writable(request.paper.paths, request.force)
    on_cluster = request.scheduler is not None
    work = [
        item for item in items if item.is_pending or (request.compare and not is_measured(item, folder, on_cluster))
    ]
    with _write_token(folder) as token, _open_workers(work, token, request) as workers:
        folder.write_plan([item.plan for item in items])
        failed, number = train_with_progress(items, folder, token, workers)
        if number is None:
            configure_process(count_processors())
            return Summary(items, failed, folder, request.paper).complete(request.compare, workers, token, on_cluster)
    left = sum(item.is_pending and not _is_finished(item, folder) for item in items)
    terminal.print_note(f"stopped, everything saved; {left} of {len(items)} runs are left: the same command goes on")
    return ExitCode(128 + number)


def _prepare_items(planned: Sequence[PlannedRun], folder: SweepFolder, request: SweepRequest) -> list[SweepItem]:
    """Return all runs with what exists of them, and print which existing ones the plan does not contain.

    Raises UsageError for runs that exist with other settings, unless they may be overwritten.
    """
    from ncatool.cli.training import print_readings
    from ncatool.sweep.item import prepare_items

    previous = folder.read_plan()
    items = prepare_items(planned, request.root, folder, previous)
    print_readings([one for item in items for one in item.target.pictures])
    names = {plan.name for plan in planned}
    dropped = [name for name in previous if name not in names]
    if dropped:
        terminal.print_note(f"no longer planned, and left alone: {terminal.clean_line(', '.join(dropped), 200)}")
    _check_stale(items, request.force or request.dry_run)
    _check_memory([item for item in items if item.is_pending], request)
    return items


def _check_memory(pending: Sequence[SweepItem], request: SweepRequest) -> None:
    """Say what the largest run takes, if it is much; raise UsageError where this machine has less."""
    from ncatool.training.memory import check_memory, describe_memory

    if pending and request.scheduler is None:
        largest = max(pending, key=lambda item: item.estimate_memory())
        grid, pictures = largest.target.shape, len(largest.target.pictures)
        check_memory(largest.config, grid, min(request.jobs, len(pending)) or 1, pictures)
        if note := describe_memory(largest.config, grid, pictures):
            terminal.print_note(f"run {largest.name} {note}")


def _check_stale(items: Sequence[SweepItem], force: bool) -> None:
    """Print the stale runs; raise UsageError for them without `force`."""
    from ncatool.sweep.folder import RunState

    stale = [item for item in items if item.status.state is RunState.STALE]
    for item in stale:
        terminal.print_note(f"stale: {item.name} ({item.status.why})")
    if stale and not force:
        names = terminal.clean_line(", ".join(item.name for item in stale), 120)
        raise UsageError(
            f"{len(stale)} of {len(items)} runs exist with other settings than planned: {names}",
            "give --force to train them anew, another --out to keep them, or the plan that they were trained by",
        )


@contextmanager
def _write_token(folder: SweepFolder) -> Iterator[str]:
    """Yield a token, and keep a file of that name in the folder: workers that see it write there themselves."""
    from ncatool.sweep.job import locate_token

    for stray in folder.path.glob(locate_token(Path(), "*").name):
        stray.unlink(missing_ok=True)
    token = secrets.token_hex(8)
    path = locate_token(folder.path, token)
    write_bytes(path, b"")
    try:
        yield token
    finally:
        path.unlink(missing_ok=True)


def _open_workers(items: Sequence[SweepItem], token: str, request: SweepRequest) -> AbstractContextManager[Workers]:
    from ncatool.sweep.choose import open_workers

    return open_workers(
        items,
        token,
        jobs=request.jobs,
        vectorise=request.vectorise,
        scheduler=request.scheduler,
        note=terminal.print_note,
    )


def _is_finished(item: SweepItem, folder: SweepFolder) -> bool:
    from ncatool.sweep.folder import RunState

    return folder.find_status(item.name, item.identity, item.config).state is RunState.FINISHED
