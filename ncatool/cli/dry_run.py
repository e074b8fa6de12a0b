"""`ncatool sweep --dry-run`: the runs, and how long they would take."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from ncatool.cli import terminal
from ncatool.errors import NcatoolError
from ncatool.sweep.dispatch import Failure, Workers, carry_out
from ncatool.sweep.folder import Folder, State
from ncatool.sweep.item import Item
from ncatool.sweep.job import Outcome
from ncatool.sweep.plan import plain


def rehearse(items: Sequence[Item], folder: Folder, workers: Workers, threads: int) -> None:
    """Says what would be done, and how long it would take by a short trial of each kind of run."""
    to_do = [item for item in items if item.to_do]
    slots = workers.slots()
    costs = _costs(to_do, folder, workers, threads, slots)
    seconds = {item.name: item.left * costs[item.cost] for item in to_do}
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
    if terminal.manner.as_json:
        return terminal.result({**facts, "plan": rows})
    names = list(dict.fromkeys(name for row in rows for name in row))
    terminal.table(names, [[str(row.get(name, "")) for name in names] for row in rows])
    terminal.note(f"{len(items)} runs, {len(to_do)} of them to do: about {_duration(total)}, {at_once} at a time")
    return None


def _costs(
    items: Sequence[Item], folder: Folder, workers: Workers, threads: int, slots: int
) -> dict[tuple[Any, ...], float]:
    """Seconds of an iteration by kind of run, measured while every worker is as busy as it will be."""
    kinds = list({item.cost: item for item in items}.items())
    copies = -(-min(slots, len(items)) // len(kinds)) if kinds else 0
    asked: dict[str, tuple[Any, ...]] = {}
    jobs = []
    for i, (cost, item) in enumerate(kinds * copies):
        job = item.job(folder, "trial", item.config.train.threads or threads, trial=True)
        jobs.append(dataclasses.replace(job, name=f"trial{i}"))
        asked[f"trial{i}"] = cost
    found: dict[tuple[Any, ...], list[float]] = {cost: [] for cost, _ in kinds}
    with terminal.progress(len(jobs), "trials") as update:
        for done, event in enumerate(carry_out(jobs, workers, lambda: False), 1):
            if isinstance(event, Failure):
                raise NcatoolError(f"a trial failed: {event.what}", event.mend or "look at the plan")
            if isinstance(event, Outcome):
                found[asked[event.name]].append(event.seconds)
            update(done, "")
    return {cost: statistics.median(values) for cost, values in found.items()}


def _prospect(item: Item, seconds: Mapping[str, float]) -> dict[str, Any]:
    state = item.found.state.value
    if item.found.state is State.UNFINISHED and item.found.iteration:
        state = f"{state} at {item.found.iteration}"
    told = {"run": item.name, **plain(item.plan.varied), "iterations": item.config.train.iterations}
    return {**told, "state": state, "takes": _duration(seconds[item.name]) if item.to_do else "–"}


def _duration(seconds: float) -> str:
    """Seconds, minutes or hours, as a person would say them."""
    for size, unit in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"
