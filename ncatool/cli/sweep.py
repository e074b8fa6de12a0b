"""`ncatool sweep` on the terminal: the plan, the progress of all runs, what came of them."""

from __future__ import annotations

import csv
import dataclasses
import io
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncatool.cli import compare, terminal
from ncatool.cli.dry_run import rehearse
from ncatool.config.names import Metric
from ncatool.data import readers as targets
from ncatool.engine import choose, compiled
from ncatool.engine.device import resolve_device
from ncatool.errors import ExitCode, UsageError
from ncatool.evaluation import models, table
from ncatool.evaluation.protocol import Protocol
from ncatool.files.atomic import write_bytes
from ncatool.files.toml import read_toml
from ncatool.nca.loss import compute_psnr
from ncatool.sweep import plan as plans
from ncatool.sweep.cluster import ClusterWorkers
from ncatool.sweep.dispatch import Failure, Workers, run_jobs
from ncatool.sweep.folder import RunState, SweepFolder
from ncatool.sweep.item import SweepItem, choose_jobs, prepare_items
from ncatool.sweep.job import Ending, Outcome, Progress, token_path
from ncatool.sweep.local import LocalWorkers, count_processors
from ncatool.sweep.plan import PlannedRun, to_json
from ncatool.training.signals import catch_signals
from ncatool.sweep.vectorised import MAX_RUNS, VectorisedWorkers

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN = 20
"""Runs that the display tells of at a time."""
RESULTS = ("iterations", "loss", "mse", "mse_at_96", "mse_at_500", "psnr_at_500", "seconds")


@dataclass(frozen=True)
class Wish:
    """What the command line asks for, beside settings."""

    plan: Path | None
    out: Path
    jobs: int
    vectorise: bool
    scheduler: str | None
    most: int
    dry_run: bool
    compare: bool
    root: Path | None
    force: bool

    def check(self) -> None:
        """Refuses what contradicts itself."""
        if self.jobs and self.scheduler:
            raise UsageError("--jobs is for this machine, --scheduler for a cluster", "give one of them")
        if self.vectorise and self.scheduler:
            raise UsageError("--vectorise is for one GPU, --scheduler for a cluster", "give one of them")


def run(wish: Wish, flags: Mapping[str, str | bool | None]) -> ExitCode:
    """Plans, looks, runs, sums up."""
    wish.check()
    folder = SweepFolder(wish.out)
    planned = _planned(wish, flags)
    folder.check(wish.force)
    if wish.dry_run:
        items = _looked_up(planned, folder, wish)
        if wish.vectorise:
            terminal.print_note("--dry-run takes the time of runs in processes of their own, not of --vectorise")
        apart = dataclasses.replace(wish, vectorise=False)
        with _workers(items, secrets.token_hex(8), apart) as (workers, threads):
            rehearse(items, folder, workers, threads)
        return ExitCode.DONE
    with folder.lock():
        items = _looked_up(planned, folder, wish)
        with _token(folder) as token, _workers(items, token, wish) as (workers, threads):
            folder.write_plan(planned)
            failed, number = _follow(items, folder, token, workers, threads)
        if number is not None:
            left = sum(1 for item in items if item.is_pending and not _is_there(folder, item))
            terminal.print_note(
                f"stopped, everything saved; {left} of {len(items)} runs are left: the same command goes on"
            )
            return ExitCode(128 + number)
        compiled.configure_process(count_processors())
        return _sum_up(items, failed, folder, wish)


def _planned(wish: Wish, flags: Mapping[str, str | bool | None]) -> list[PlannedRun]:
    tables = read_toml(wish.plan) if wish.plan is not None else {}
    where = str(wish.plan) if wish.plan is not None else "the command line"
    given = plans.parse_flags(flags)
    base = tables.get("base", {})
    if "target" not in given and isinstance(base, dict) and "target" not in base:
        tables = {**tables, "base": {**base, "target": targets.choose_default_source(wish.root)}}
    return plans.read_plan(tables, where, given, wish.most)


def _looked_up(planned: Sequence[PlannedRun], folder: SweepFolder, wish: Wish) -> list[SweepItem]:
    """What there is of each run; what of other runs is told, what is of other settings refused."""
    before = folder.read_plan()
    found = prepare_items(planned, wish.root, folder, before)
    gone = [name for name in before if name not in {plan.name for plan in planned}]
    if gone:
        terminal.print_note(f"no longer planned, and left alone: {terminal.clean_line(', '.join(gone), 200)}")
    _refuse_stale(found, wish.force or wish.dry_run)
    return found


def _refuse_stale(items: Sequence[SweepItem], force: bool) -> None:
    stale = [item for item in items if item.status.state is RunState.STALE]
    for item in stale:
        terminal.print_note(f"stale: {item.name} ({item.status.why})")
    if stale and not force:
        names = terminal.clean_line(", ".join(item.name for item in stale), 120)
        raise UsageError(
            f"{len(stale)} of {len(items)} runs are there with other settings than planned: {names}",
            "give --force to train them anew, another --out to keep them, or the plan that they were trained by",
        )


@contextmanager
def _token(folder: SweepFolder) -> Iterator[str]:
    """Something in the folder by which workers know that they see it."""
    token = secrets.token_hex(8)
    for stray in folder.path.glob(token_path(Path(), "*").name):
        stray.unlink(missing_ok=True)
    path = token_path(folder.path, token)
    write_bytes(path, b"")
    try:
        yield token
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _workers(items: Sequence[SweepItem], token: str, wish: Wish) -> Iterator[tuple[Workers, int]]:
    """Where the runs are done, and with how many threads each."""
    to_do = [item for item in items if item.is_pending]
    workers: Workers
    if wish.scheduler is not None and to_do:
        workers, threads = ClusterWorkers(wish.scheduler, token, terminal.print_note), 1
    elif wish.vectorise and to_do:
        threads = max(item.config.train.threads for item in to_do) or count_processors()
        workers = VectorisedWorkers(wish.jobs or min(len(to_do), MAX_RUNS), threads)
        for note in filter(None, dict.fromkeys(map(_slow_together, to_do))):
            terminal.print_note(note)
    else:
        jobs = wish.jobs or choose_jobs(to_do)
        workers, threads = LocalWorkers(jobs), max(1, count_processors() // jobs)
    try:
        yield workers, threads
    finally:
        workers.close()


def _slow_together(item: SweepItem) -> str:
    """What keeps a run from being made as one batch with others; empty where nothing does."""
    model, train = item.config.model, item.config.train
    device = resolve_device(train.device)
    if device.type == "cuda":
        return choose.explain_slowness(device, model, train.precision)
    return "--vectorise is for a CUDA GPU: without one runs only take turns, and are faster without the flag"


class _Board:
    """How all runs stand, as the display shows it."""

    def __init__(self, items: Sequence[SweepItem]) -> None:
        self.total = {item.name: item.config.train.iterations for item in items}
        self.done = {item.name: item.status.iteration for item in items}
        self.ended = {item.name for item in items if not item.is_pending}
        self.running: dict[str, Progress] = {}

    def told(self, told: Progress) -> None:
        self.done[told.name] = told.iteration
        self.running[told.name] = told

    def over(self, name: str, finished: bool) -> None:
        self.running.pop(name, None)
        if finished:
            self.ended.add(name)
            self.done[name] = self.total[name]

    def line(self) -> str:
        return f"{len(self.ended)}/{len(self.total)} runs"

    def table(self) -> RenderableType:
        """A row for each run that is at work."""
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        room = max(1, min(SHOWN, terminal.stderr_console().height - 4))
        running = sorted(self.running.items())
        for name, told in running[:room]:
            at = f"{told.iteration}/{self.total[name]}"
            table.add_row(
                Text(terminal.clean_line(name, 40)),
                at,
                f"loss {told.loss:.3g}",
                f"PSNR {compute_psnr(told.mse):.1f} dB",
            )
        if len(running) > room:
            table.add_row(f"and {len(running) - room} more")
        return table


def _follow(
    items: Sequence[SweepItem], folder: SweepFolder, token: str, workers: Workers, threads: int
) -> tuple[dict[str, Failure], int | None]:
    """Does what is to be done; the runs that were given up, and the signal that stopped the others."""
    to_do = [item for item in items if item.is_pending]
    board, failed = _Board(items), dict[str, Failure]()
    jobs = [item.make_job(folder, token, item.config.train.threads or threads) for item in to_do]
    if isinstance(workers, ClusterWorkers) and not workers.can_read(token_path(folder.path.resolve(), token)):
        jobs = [dataclasses.replace(job, files=_saved(folder, job.name)) for job in jobs]
    total = sum(board.total.values())
    with catch_signals() as stopped, terminal.show_progress(total, "iterations", board.table) as update:
        for event in run_jobs(jobs, workers, lambda: stopped() is not None):
            if isinstance(event, Progress):
                board.told(event)
            elif isinstance(event, Outcome):
                folder.write_files(event.files)
                board.over(event.name, event.ending is Ending.FINISHED)
            else:
                board.over(event.name, False)
                if stopped() is None:
                    _tell(event)
                if event.final:
                    failed[event.name] = event
            update(sum(board.done.values()), board.line())
        finished = len(board.ended) + len(failed) == len(items)
        return failed, None if finished else stopped()


def _tell(failure: Failure) -> None:
    what = terminal.clean_line(failure.what, 300)
    after = "it goes on elsewhere" if not failure.failures else f"failure {failure.failures}"
    terminal.print_note(f"{failure.name}: {what} ({'given up' if failure.final else f'{after}; it is tried again'})")


def _saved(folder: SweepFolder, name: str) -> dict[str, bytes]:
    """A run's checkpoint, for a worker that may not see the folder."""
    path = folder.run_files(name).checkpoint
    return {path.name: path.read_bytes()} if path.exists() else {}


def _is_there(folder: SweepFolder, item: SweepItem) -> bool:
    return folder.find_status(item.plan, item.target, item.config).state is RunState.FINISHED


def _sum_up(items: Sequence[SweepItem], failed: Mapping[str, Failure], folder: SweepFolder, wish: Wish) -> ExitCode:
    """Compares, writes summary and report, prints; what was given up makes the exit code."""
    done = [item for item in items if item.name not in failed]
    rows = [_row(item, failed, folder) for item in items]
    entries: list[models.Evaluation] = []
    if wish.compare and done:
        entries, lost = compare.measure_models(
            [str(folder.run_files(item.name).model) for item in done],
            Protocol(),
            resolve_device(done[0].config.train.device),
        )
        measures = {entry.candidate.path.stem: table.flatten_evaluation(entry) for entry in entries}
        for row in rows:
            row.update(_beside(row, measures.get(row["run"], {})))
        compare.write_report(folder.report, entries, Metric.MSE, Protocol(), lost)
    write_bytes(folder.summary, as_csv(rows).encode())
    wrote = [str(folder.summary), *([str(folder.report)] if entries else [])]
    if terminal.settings.as_json:
        compared = {"models": [table.to_json(entry) for entry in entries]} if entries else {}
        terminal.print_result({"wrote": wrote, "finished": len(done), "failed": len(failed), "runs": rows, **compared})
    else:
        _print(rows, entries)
        terminal.print_note(f"wrote {' and '.join(wrote)}")
    for failure in failed.values():
        terminal.print_note(f"failed: {failure.name}: {terminal.clean_line(failure.what, 300)}")
    if failed:
        terminal.print_note(f"{len(failed)} of {len(items)} runs failed; the same command tries them again")
    return ExitCode.FAILED if failed else ExitCode.DONE


def _row(item: SweepItem, failed: Mapping[str, Failure], folder: SweepFolder) -> dict[str, Any]:
    """What the summary says of a run: what it was, and how training ended."""
    failure = failed.get(item.name)
    record = {} if failure else read_toml(folder.run_files(item.name).record)
    result = record.get("result", {})
    told = {"run": item.name, "state": "failed" if failure else "finished", "error": failure.what if failure else ""}
    return {
        **told,
        **to_json(item.plan.varied),
        **{name: result.get(name) for name in RESULTS if name not in item.plan.varied},
    }


def _beside(row: Mapping[str, Any], measures: Mapping[str, Any]) -> dict[str, Any]:
    """What a comparison adds to a row: more rollouts than training's own measures, so where both know, it counts."""
    return {
        name: value
        for name, value in measures.items()
        if name not in ("model", "path") and (name in RESULTS or name not in row)
    }


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows that need not have the same columns."""
    text = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _print(rows: Sequence[Mapping[str, Any]], entries: Sequence[models.Evaluation]) -> None:
    if entries:
        return compare.print_evaluations(entries, Metric.MSE)
    shown = ("run", "state", "iterations", "mse_at_96", "mse_at_500", "seconds")
    cells = [
        [table.format_number(row[name]) if isinstance(row[name], float) else str(row[name]) for name in shown]
        for row in rows
    ]
    return terminal.print_table(list(shown), cells)


def flags_of(settings: Mapping[str, Any]) -> dict[str, str | bool | None]:
    """Settings as the command line gives them, under the plan's names."""
    named = {"initial": "from"}
    return {named.get(name, name): value for name, value in settings.items()}
