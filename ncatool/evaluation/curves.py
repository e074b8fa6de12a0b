"""The curves of a comparison as CSV: error and recovery step by step, median and quartiles over the rollouts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float

from ncatool.evaluation.models import Evaluation
from ncatool.evaluation.quartiles import Quartiles, compute_quartiles
from ncatool.files.text import format_csv

COLUMNS = ("model", "curve", "step", "median", "q25", "q75")


def format_curves(evaluations: Sequence[Evaluation]) -> bytes:
    """Return CSV with a row for each model, curve and step.

    The curves: `mse` from the seed; `mse_SHAPE` and `recovery_SHAPE` from the damage of a shape on, of which step 0 is
    the damage. A cell is empty where a number is not finite.
    """
    return format_csv(COLUMNS, _list_rows(evaluations))


def _list_rows(evaluations: Sequence[Evaluation]) -> Iterator[list[str | int | float | None]]:
    for evaluation in evaluations:
        for curve, points in _list_curves(evaluation):
            for step, point in enumerate(points):
                numbers = [float(number) if np.isfinite(number) else None for number in point]
                yield [evaluation.candidate.name, curve, step, *numbers]


def _list_curves(evaluation: Evaluation) -> Iterator[tuple[str, list[Quartiles]]]:
    yield "mse", _summarise(evaluation.measures.trajectory.mse)
    for shape, result in evaluation.measures.damage.items():
        yield f"mse_{shape}", _summarise(result.mse)
        # Of what is lost, as NaN counts as infinity: that nothing has recovered.
        lost = _summarise(1 - result.recovery)
        yield f"recovery_{shape}", [Quartiles(1 - one.median, 1 - one.upper, 1 - one.lower) for one in lost]


def _summarise(values: Float[np.ndarray, "rollouts states"]) -> list[Quartiles]:
    return [compute_quartiles(values[:, step]) for step in range(values.shape[1])]
