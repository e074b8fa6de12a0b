"""`ncatool sweep --dry-run`: the runs, and how long they would take."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ncatool.cli import terminal
from ncatool.errors import NcatoolError
from ncatool.sweep.dispatch import Failure, Workers, run_jobs
from ncatool.sweep.folder import RunState, SweepFolder
from ncatool.sweep.item import SweepItem
from ncatool.sweep.job import Outcome
from ncatool.sweep.plan import to_json


def rehearse(items: Sequence[SweepItem], folder: SweepFolder, workers: Workers, threads: int) -> None:
    """Says what would be done, and how long it would take by a short trial of each kind of run."""
    to_do = [item for item in items if item.is_pending]
    slots = workers.count_slots()
    costs = _costs(to_do, folder, workers, threads, slots)
    seconds = {item.name: item.remaining_iterations * costs[item.cost_key] for item in to_do}
    at_once = max(1, min(slots, len(to_do)))
    total = max([sum(seconds.values()) / at_once, *seconds.values()]) if seconds else 0.0
    rows = [_prospect(item, seconds) for item in items]
    facts = {
        "runs": len(items),
        "to_do": len(to_do),
        "at_once": at_once,
        "threads": threads,
        "seconds": round(total, 1),
    }
    if terminal.settings.as_json:
        return terminal.print_result({**facts, "plan": rows})
    names = list(dict.fromkeys(name for row in rows for name in row))
    terminal.print_table(names, [[str(row.get(name, "")) for name in names] for row in rows])
    terminal.print_note(f"{len(items)} runs, {len(to_do)} of them to do: about {_duration(total)}, {at_once} at a time")
    return None


def _costs(
    items: Sequence[SweepItem], folder: SweepFolder, workers: Workers, threads: int, slots: int
) -> dict[tuple[Any, ...], float]:
    """Seconds of an iteration by kind of run, measured while every worker is as busy as it will be."""
    kinds = list({item.cost_key: item for item in items}.items())
    copies = -(-min(slots, len(items)) // len(kinds)) if kinds else 0
    asked: dict[str, tuple[Any, ...]] = {}
    jobs = []
    for i, (cost, item) in enumerate(kinds * copies):
        job = item.make_job(folder, "trial", item.config.train.threads or threads, trial=True)
        jobs.append(dataclasses.replace(job, name=f"trial{i}"))
        asked[f"trial{i}"] = cost
    found: dict[tuple[Any, ...], list[float]] = {cost: [] for cost, _ in kinds}
    with terminal.show_progress(len(jobs), "trials") as update:
        for done, event in enumerate(run_jobs(jobs, workers, lambda: False), 1):
            if isinstance(event, Failure):
                raise NcatoolError(f"a trial failed: {event.what}", event.hint or "look at the plan")
            if isinstance(event, Outcome):
                found[asked[event.name]].append(event.seconds)
            update(done, "")
    return {cost: statistics.median(values) for cost, values in found.items()}


def _prospect(item: SweepItem, seconds: Mapping[str, float]) -> dict[str, Any]:
    state = item.status.state.value
    if item.status.state is RunState.UNFINISHED and item.status.iteration:
        state = f"{state} at {item.status.iteration}"
    told = {"run": item.name, **to_json(item.plan.varied), "iterations": item.config.train.iterations}
    return {**told, "state": state, "takes": _duration(seconds[item.name]) if item.is_pending else "–"}


def _duration(seconds: float) -> str:
    """Seconds, minutes or hours, as a person would say them."""
    for size, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
