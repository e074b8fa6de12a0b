"""`ncatool sweep --dry-run`: the runs of a plan, and an estimate of how long they take."""

from __future__ import annotations

import dataclasses
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ncatool.cli import terminal
from ncatool.cli.ending import Ending
from ncatool.cli.progress_line import format_duration
from ncatool.data.expansion import shorten_sources
from ncatool.errors import NcatoolError
from ncatool.sweep.choose import choose_threads
from ncatool.sweep.dispatch import Failure, Workers, run_jobs
from ncatool.sweep.folder import RunState, SweepFolder
from ncatool.sweep.item import SweepItem
from ncatool.sweep.job import Job, Outcome
from ncatool.sweep.plan import to_json

CostKey = tuple[Any, ...]
"""`SweepItem.cost_key`: the same for runs whose iterations take equally long."""


def print_dry_run(items: Sequence[SweepItem], folder: SweepFolder, workers: Workers) -> None:
    """Print the runs and the time that they would take, from a short timing of each kind of run.

    Raises NcatoolError where a timing fails.
    """
    pending = [item for item in items if item.is_pending]
    slots, threads = max(1, min(workers.count_slots(), len(pending))), choose_threads(workers, len(pending))
    costs = _measure_costs(pending, folder, workers, threads, slots)
    seconds = {item.name: item.remaining_iterations * costs[item.cost_key] for item in pending}
    total = max([sum(seconds.values()) / slots, *seconds.values()]) if seconds else 0.0
    rows = [_make_row(item, seconds) for item in items]
    if terminal.settings.as_json:
        counts = {"runs": len(items), "to_do": len(pending), "at_once": slots, "threads": threads}
        terminal.print_result({**counts, "seconds": round(total, 1), "plan": rows})
        return
    rows = [{name: shorten_sources(text) if name == "target" else text for name, text in row.items()} for row in rows]
    names = list(dict.fromkeys(name for row in rows for name in row))
    terminal.print_table(names, [[row.get(name, "") for name in names] for row in rows])
    terminal.print_note(
        f"{len(items)} runs, {len(pending)} of them to do: about {format_duration(total)}, {slots} at a time"
    )
    Ending([], "", [word for word in sys.argv[1:] if word != "--dry-run"]).print()


def _measure_costs(
    pending: Sequence[SweepItem], folder: SweepFolder, workers: Workers, threads: int, slots: int
) -> dict[CostKey, float]:
    """Return the seconds of an iteration of each kind of run, measured while all workers are busy."""
    kinds = {item.cost_key: item for item in pending}
    copies = -(-slots // len(kinds)) if kinds else 0
    keys = {f"timing{i}": key for i, key in enumerate([*kinds] * copies)}
    jobs = [_make_timing_job(name, kinds[key], folder, threads) for name, key in keys.items()]
    seconds: dict[CostKey, list[float]] = {key: [] for key in kinds}
    with terminal.show_progress(len(jobs), "timings") as update:
        for done, event in enumerate(run_jobs(jobs, workers, lambda: False), 1):
            if isinstance(event, Failure):
                raise NcatoolError(f"a timing failed: {event.what}", event.hint or "look at the plan")
            if isinstance(event, Outcome):
                seconds[keys[event.name]].append(event.seconds)
            update(done, "")
    return {key: statistics.median(values) for key, values in seconds.items()}


def _make_timing_job(name: str, item: SweepItem, folder: SweepFolder, threads: int) -> Job:
    job = item.make_job(folder, "timing", item.config.train.threads or threads, timing_only=True)
    return dataclasses.replace(job, name=name)


def _make_row(item: SweepItem, seconds: Mapping[str, float]) -> dict[str, Any]:
    state = item.status.state.value
    if item.status.state is RunState.UNFINISHED and item.status.iteration:
        state = f"{state} at {item.status.iteration}"
    duration = format_duration(seconds[item.name]) if item.is_pending else "–"
    settings = {**to_json(item.plan.varied), "iterations": item.config.train.iterations}
    pictures = {"pictures": len(item.target.pictures)} if item.target.others else {}
    return {"run": item.name, **settings, **pictures, "state": state, "takes": duration}
