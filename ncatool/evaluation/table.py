"""TODO."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ncatool.config.names import Metric
from ncatool.errors import UsageError, shorten
from ncatool.evaluation.models import MEASURES, Evaluation
from ncatool.evaluation.protocol import GROWTH_STEP, Quartiles


@dataclass(frozen=True)
class Column:
    """A measure in the table."""

    name: str
    heading: str
    meaning: str
    ranked: bool = True
    """Whether one can be better than another: what never moves has settled, too."""

    @property
    def higher_is_better(self) -> bool:
        """Whether more is better."""
        return self.name.startswith(HIGHER_IS_BETTER)


def select_columns(metric: Metric) -> list[Column]:
    """The measures of the table, errors in this metric."""
    errors = {
        Metric.MSE: [
            Column(
                f"mse_at_{GROWTH_STEP}", f"MSE {GROWTH_STEP}", f"mean squared error over RGBA at step {GROWTH_STEP}"
            ),
            Column("mse_later", "MSE 200+", "median error from step 200 on"),
            Column("mse_worst", "worst", "highest error from step 200 on"),
        ],
        Metric.PSNR: [
            Column(
                f"psnr_at_{GROWTH_STEP}",
                f"PSNR {GROWTH_STEP}",
                f"peak signal-to-noise ratio in dB at step {GROWTH_STEP}",
            ),
            Column("psnr_later", "PSNR 200+", "its median from step 200 on"),
            Column("psnr_worst", "worst", "its lowest from step 200 on"),
        ],
        Metric.SSIM: [
            Column(
                f"ssim_at_{GROWTH_STEP}",
                f"SSIM {GROWTH_STEP}",
                f"structural similarity, RGB on white, at step {GROWTH_STEP}",
            ),
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


HIGHER_IS_BETTER = ("psnr", "ssim", "regeneration")
"""How the names of measures begin of which more is better."""


GROUPING_COLUMNS = ("name", "filter", "loss", "damage", "target")


def sort_evaluations(entries: Sequence[Evaluation], by: str) -> list[Evaluation]:
    """Sorted by a measure, the best first, or by what a contender is."""
    if by in GROUPING_COLUMNS:
        return sorted(entries, key=lambda entry: {**entry.candidate.grouping, "name": entry.candidate.name}[by])
    sign = -1 if by.startswith(HIGHER_IS_BETTER) else 1

    def place(entry: Evaluation) -> tuple[bool, float]:
        value = entry.median(by)
        return not math.isfinite(value), sign * value

    return sorted(entries, key=place)


def check_sortable(by: str) -> None:
    """Refuses what no column is called."""
    if by not in (*GROUPING_COLUMNS, *MEASURES):
        choices = ", ".join((*GROUPING_COLUMNS, *MEASURES))
        raise UsageError(f"there is no column {shorten(by)} to sort by", f"choose from {choices}")


def find_best(entries: Sequence[Evaluation], column: Column) -> set[str]:
    """Names of those that are best in a column among those of their target; nobody where most of them are."""
    found: set[str] = set()
    if not column.ranked:
        return found
    rivals: dict[str, list[Evaluation]] = {}
    for entry in entries:
        rivals.setdefault(entry.candidate.target_key, []).append(entry)
    for group in rivals.values():
        values = {entry.candidate.name: entry.median(column.name) for entry in group}
        top = (max if column.higher_is_better else min)(values.values())
        winners = {name for name, value in values.items() if value == top}
        if math.isfinite(top) and 2 * len(winners) <= len(group):
            found |= winners
    return found


def format_number(value: float) -> str:
    """A number as the table has it; a dash for never."""
    if not math.isfinite(value):
        return "–"
    if abs(value) < 1e5 and (value == round(value) or abs(value) >= 100):
        return str(round(value))
    return f"{value:.3g}" if 0.01 <= abs(value) < 100 else f"{value:.1e}"


def to_json(entry: Evaluation) -> dict[str, Any]:
    """A model's numbers as JSON has them: quartiles by name, null for never."""

    def value(number: Quartiles | float) -> Any:
        if isinstance(number, Quartiles):
            return {
                "median": _finite_or_none(number.median),
                "q25": _finite_or_none(number.lower),
                "q75": _finite_or_none(number.upper),
            }
        return _finite_or_none(number)

    contender = entry.candidate
    about = {"model": contender.name, "path": str(contender.path), **contender.grouping, "notes": contender.notes}
    return {**about, **{name: value(number) for name, number in entry.values.items()}}


def _finite_or_none(number: float) -> float | None:
    return number if math.isfinite(number) else None


def to_csv(entries: Sequence[Evaluation]) -> str:
    """A row a model: what it is, then each measure's median and quartiles; empty for never."""
    text = io.StringIO()
    rows = [flatten_evaluation(entry) for entry in entries]
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def flatten_evaluation(entry: Evaluation) -> dict[str, Any]:
    """A model's row of the CSV."""
    row: dict[str, Any] = {}
    for name, value in to_json(entry).items():
        if isinstance(value, dict):
            row.update({name: value["median"], f"{name}_q25": value["q25"], f"{name}_q75": value["q75"]})
        else:
            row[name] = "; ".join(value) if isinstance(value, list) else value
    return row
