"""TODO."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ncatool.config.names import Metric
from ncatool.errors import UsageError, brief
from ncatool.evaluation.models import MEASURES, Entry
from ncatool.evaluation.protocol import GROWN, Spread


@dataclass(frozen=True)
class Column:
    """A measure in the table."""

    name: str
    heading: str
    meaning: str
    ranked: bool = True
    """Whether one can be better than another: what never moves has settled, too."""

    @property
    def high(self) -> bool:
        """Whether more is better."""
        return self.name.startswith(HIGH)


def columns(metric: Metric) -> list[Column]:
    """The measures of the table, errors in this metric."""
    errors = {
        Metric.MSE: [
            Column(f"mse_at_{GROWN}", f"MSE {GROWN}", f"mean squared error over RGBA at step {GROWN}"),
            Column("mse_later", "MSE 200+", "median error from step 200 on"),
            Column("mse_worst", "worst", "highest error from step 200 on"),
        ],
        Metric.PSNR: [
            Column(f"psnr_at_{GROWN}", f"PSNR {GROWN}", f"peak signal-to-noise ratio in dB at step {GROWN}"),
            Column("psnr_later", "PSNR 200+", "its median from step 200 on"),
            Column("psnr_worst", "worst", "its lowest from step 200 on"),
        ],
        Metric.SSIM: [
            Column(f"ssim_at_{GROWN}", f"SSIM {GROWN}", f"structural similarity, RGB on white, at step {GROWN}"),
            Column("ssim_final", "SSIM end", "the same at the last step"),
        ],
    }[metric]
    return [
        *errors,
        Column("step_under_0.001", "grown at", "first step with an MSE under 0.001"),
        Column("settling_step", "settles", "step from which on the mean change stays under 0.001 a step", ranked=False),
        Column("regeneration_circle", "circle", "share of the harm of a circle that 200 steps undo"),
        Column("regeneration_halves", "halves", "the same of the half that is undone worst"),
        Column("regeneration_square", "square", "the same of a square in the middle"),
        Column("dead", "dead", "share of rollouts without a living cell at the end"),
        Column("exploded", "exploded", "share of rollouts beyond 10, or no number"),
    ]


HIGH = ("psnr", "ssim", "regeneration")
"""How the names of measures begin of which more is better."""


SORTABLE = ("name", "filter", "loss", "damage", "target")


def ordered(entries: Sequence[Entry], by: str) -> list[Entry]:
    """Sorted by a measure, the best first, or by what a contender is."""
    if by in SORTABLE:
        return sorted(entries, key=lambda entry: {**entry.contender.about, "name": entry.contender.name}[by])
    sign = -1 if by.startswith(HIGH) else 1

    def place(entry: Entry) -> tuple[bool, float]:
        value = entry.middle(by)
        return not math.isfinite(value), sign * value

    return sorted(entries, key=place)


def check_sortable(by: str) -> None:
    """Refuses what no column is called."""
    if by not in (*SORTABLE, *MEASURES):
        choices = ", ".join((*SORTABLE, *MEASURES))
        raise UsageError(f"there is no column {brief(by)} to sort by", f"choose from {choices}")


def best(entries: Sequence[Entry], column: Column) -> set[str]:
    """Names of those that are best in a column among those of their target; nobody where most of them are."""
    found: set[str] = set()
    if not column.ranked:
        return found
    rivals: dict[str, list[Entry]] = {}
    for entry in entries:
        rivals.setdefault(entry.contender.target_key, []).append(entry)
    for group in rivals.values():
        values = {entry.contender.name: entry.middle(column.name) for entry in group}
        top = (max if column.high else min)(values.values())
        winners = {name for name, value in values.items() if value == top}
        if math.isfinite(top) and 2 * len(winners) <= len(group):
            found |= winners
    return found


def shown(value: float) -> str:
    """A number as the table has it; a dash for never."""
    if not math.isfinite(value):
        return "–"
    if abs(value) < 1e5 and (value == round(value) or abs(value) >= 100):
        return str(round(value))
    return f"{value:.3g}" if 0.01 <= abs(value) < 100 else f"{value:.1e}"


def plain(entry: Entry) -> dict[str, Any]:
    """A model's numbers as JSON has them: quartiles by name, null for never."""

    def value(number: Spread | float) -> Any:
        if isinstance(number, Spread):
            return {"median": _finite(number.median), "q25": _finite(number.low), "q75": _finite(number.high)}
        return _finite(number)

    contender = entry.contender
    about = {"model": contender.name, "path": str(contender.path), **contender.about, "notes": contender.notes}
    return {**about, **{name: value(number) for name, number in entry.numbers.items()}}


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def as_csv(entries: Sequence[Entry]) -> str:
    """A row a model: what it is, then each measure's median and quartiles; empty for never."""
    text = io.StringIO()
    rows = [flat(entry) for entry in entries]
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def flat(entry: Entry) -> dict[str, Any]:
    """A model's row of the CSV."""
    row: dict[str, Any] = {}
    for name, value in plain(entry).items():
        if isinstance(value, dict):
            row.update({name: value["median"], f"{name}_q25": value["q25"], f"{name}_q75": value["q75"]})
        else:
            row[name] = "; ".join(value) if isinstance(value, list) else value
    return row
