"""Evaluations as rows: the columns of the table and their best values, and the numbers as JSON and CSV."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ncatool.config.names import Metric
from ncatool.errors import UsageError, shorten
from ncatool.evaluation.models import MEASURES, Evaluation
from ncatool.evaluation.notation import choose_notation, fix_decimals
from ncatool.evaluation.protocol import GROWN_MSE, GROWTH_STEP, PERSISTENCE_STEP
from ncatool.evaluation.quartiles import Quartiles
from ncatool.files.text import format_csv

HIGHER_IS_BETTER = ("psnr", "ssim", "regeneration")
"""Prefixes of the names of measures of which a higher value is better."""

GROUPING_COLUMNS = ("name", "filter", "loss", "damage", "target")
"""Columns that can be sorted by and are not measures."""


@dataclass(frozen=True)
class Column:
    """A measure in the table."""

    name: str
    heading: str
    meaning: str
    ranked: bool = True
    """Whether its best value is marked.

    Settling early is not better, as a model that never moves settles at once; nor is little variation, as a blur has
    little.
    """

    @property
    def is_of_damage(self) -> bool:
        """Whether it measures what became of damage."""
        return "regeneration" in self.name or "healed" in self.name

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher value is better."""
        return self.name.startswith(HIGHER_IS_BETTER)


def select_columns(metric: Metric) -> list[Column]:
    """Return the columns of the table; errors are in the metric."""
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
        *_list_damage_columns(metric),
        Column(
            f"deviation_at_{PERSISTENCE_STEP}",
            "varies",
            f"standard deviation between rollouts at step {PERSISTENCE_STEP}: mean over cells and RGBA, 0 to 1",
            ranked=False,
        ),
        Column("dead", "dead", "share of rollouts without a living cell at the end", ranked=False),
        Column("exploded", "exploded", "share of rollouts beyond 10, or no number", ranked=False),
    ]


def _list_damage_columns(metric: Metric) -> list[Column]:
    """Return R of each kind of damage, and beside it the error that is left: R is relative to a model's own error."""
    error, unit = ("psnr", "PSNR") if metric is Metric.PSNR else ("mse", "MSE")
    meanings = {
        "circle": ("share of the harm of a circle that 200 steps undo", "that is left then"),
        "halves": ("the same of the half that is undone worst", "of the half that is left worst"),
        "square": ("the same of a square in the middle", "that is left of it"),
    }
    return [
        column
        for shape, (undone, left) in meanings.items()
        for column in (
            Column(f"regeneration_{shape}", f"R {shape}", f"R, {undone}"),
            Column(f"{error}_healed_{shape}", f"{unit} {shape}", f"{unit} {left}"),
        )
    ]


def sort_evaluations(evaluations: Sequence[Evaluation], by: str) -> list[Evaluation]:
    """Return the evaluations sorted by a measure, the best first and infinite ones last, or by a grouping column."""
    if by in GROUPING_COLUMNS:
        return sorted(evaluations, key=lambda one: {**one.candidate.grouping, "name": one.candidate.name}[by])
    sign = -1 if by.startswith(HIGHER_IS_BETTER) else 1

    def rank(evaluation: Evaluation) -> tuple[bool, float]:
        value = evaluation.median(by)
        return not math.isfinite(value), sign * value

    return sorted(evaluations, key=rank)


def check_sortable(by: str) -> None:
    """Raise UsageError unless `by` is the name of a measure or of a grouping column."""
    if by not in (*GROUPING_COLUMNS, *MEASURES):
        choices = ", ".join((*GROUPING_COLUMNS, *MEASURES))
        raise UsageError(f"there is no column {shorten(by)} to sort by", f"choose from {choices}")


def find_fault(evaluation: Evaluation) -> str:
    """Return why a model is never called the best: rollouts that die or explode, or that it has not grown; else "".

    It has grown where its median rollout comes under the MSE of a grown picture.
    """
    for name in ("exploded", "dead"):
        if evaluation.median(name) > 0:
            return name
    return "" if math.isfinite(evaluation.median("step_under_0.001")) else "not grown"


def can_be_best(evaluation: Evaluation, column: Column) -> bool:
    """Return whether a model may be called the best in a column: it is healthy, and has grown.

    Of damage it must have grown before that is done, as R is relative to the error before: a blur comes back easily.
    """
    grown_when_damaged = not column.is_of_damage or evaluation.median("mse_before_damage") <= GROWN_MSE
    return column.ranked and not find_fault(evaluation) and grown_when_damaged


def find_best(evaluations: Sequence[Evaluation], column: Column) -> set[str]:
    """Return the names of the best models in a column, for each target separately, among those that can be best.

    Where more than half of a target's models share the best value, or it is infinite, none is named.
    """
    best: set[str] = set()
    groups: dict[str, list[Evaluation]] = {}
    for evaluation in evaluations:
        groups.setdefault(evaluation.candidate.target_key, []).append(evaluation)
    for group in groups.values():
        eligible = [evaluation for evaluation in group if can_be_best(evaluation, column)]
        values = {evaluation.candidate.name: evaluation.median(column.name) for evaluation in eligible}
        best_value = (max if column.higher_is_better else min)(values.values(), default=math.inf)
        names = {name for name, value in values.items() if value == best_value}
        if math.isfinite(best_value) and 2 * len(names) <= len(group):
            best |= names
    return best


def choose_column_notation(evaluations: Sequence[Evaluation], column: Column) -> Callable[[float], str]:
    """Return the one way in which all numbers of a column are written: shares with three decimals, steps with none."""
    if column.name.startswith(("regeneration", "ssim")):
        return fix_decimals(3)
    if "step" in column.name:
        return fix_decimals(0)
    return choose_notation([evaluation.median(column.name) for evaluation in evaluations])


def format_number(value: float) -> str:
    """Return a number as the table shows it: about three digits, or a dash where it is not finite."""
    if not math.isfinite(value):
        return "–"
    if abs(value) < 1e5 and (value == round(value) or abs(value) >= 100):
        return str(round(value))
    return f"{value:.3g}" if 0.01 <= abs(value) < 100 else f"{value:.1e}"


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return a model's numbers as an object of `compare --json`: measures by name, null where they are not finite."""

    def convert(value: Quartiles | float) -> Any:
        if isinstance(value, Quartiles):
            return {
                "median": finite_or_none(value.median),
                "q25": finite_or_none(value.lower),
                "q75": finite_or_none(value.upper),
            }
        return finite_or_none(value)

    candidate = evaluation.candidate
    about = {"model": candidate.name, "path": str(candidate.path), **candidate.grouping, "notes": candidate.notes}
    return {**about, **{name: convert(value) for name, value in evaluation.values.items()}}


def finite_or_none(number: float) -> float | None:
    """Return a number, or None, which JSON has a word for, where it is not finite."""
    return number if math.isfinite(number) else None


def to_csv(evaluations: Sequence[Evaluation]) -> bytes:
    """Return CSV with a row for each model: name, settings, and the median and quartiles of each measure.

    A cell is empty where a number is not finite.
    """
    rows = [flatten_evaluation(evaluation) for evaluation in evaluations]
    return format_csv(list(rows[0]), [list(row.values()) for row in rows])


def flatten_evaluation(evaluation: Evaluation) -> dict[str, Any]:
    """Return the CSV row of a model by column name."""
    row: dict[str, Any] = {}
    for name, value in to_json(evaluation).items():
        if isinstance(value, dict):
            row.update({name: value["median"], f"{name}_q25": value["q25"], f"{name}_q75": value["q75"]})
        else:
            row[name] = "; ".join(value) if isinstance(value, list) else value
    return row
