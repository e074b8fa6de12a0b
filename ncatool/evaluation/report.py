"""The HTML report of a comparison: one file, pictures and curves included, that loads nothing from elsewhere."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment
from markupsafe import Markup
from PIL import Image

from ncatool.config.names import Damage
from ncatool.errors import NcatoolError
from ncatool.evaluation.models import Candidate, Evaluation
from ncatool.evaluation.protocol import Protocol
from ncatool.evaluation.quartiles import Quartiles
from ncatool.evaluation.svg_plot import Band, compute_band, draw_svg, get_curve_colour, get_dash_pattern
from ncatool.evaluation.table import Column, find_best, format_number

ABSENT = "–"
"""Shown for a setting that a record does not have."""


def render_report(
    evaluations: Sequence[Evaluation],
    columns: Sequence[Column],
    protocol: Protocol,
    failed: Mapping[Path, NcatoolError],
    facts: Mapping[str, str],
    strips: Sequence[Image.Image],
) -> str:
    """Return the HTML of the report, in which all text is escaped.

    `failed` holds the files that could not be loaded, `facts` the command and versions, `strips` a picture of each
    model.
    """
    template = resources.files("ncatool.evaluation").joinpath("report.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    candidates = [evaluation.candidate for evaluation in evaluations]
    differing, common = split_settings(candidates)
    return environment.from_string(template).render(
        evaluations=evaluations,
        notes=sorted({note for candidate in candidates for note in candidate.notes}),
        colours=[get_curve_colour(i) for i in range(len(evaluations))],
        dashes=[get_dash_pattern(i) for i in range(len(evaluations))],
        columns=columns,
        cells=_build_cells(evaluations, columns),
        protocol=protocol,
        differing=differing,
        common=common,
        charts=_draw_charts(evaluations),
        strips=[_encode_data_url(strip) for strip in strips],
        failed={str(path): error.what for path, error in failed.items()},
        facts=facts,
    )


def _build_cells(evaluations: Sequence[Evaluation], columns: Sequence[Column]) -> list[list[dict[str, Any]]]:
    best = {column.name: find_best(evaluations, column) for column in columns}
    return [
        [_build_cell(evaluation, column, evaluation.candidate.name in best[column.name]) for column in columns]
        for evaluation in evaluations
    ]


def _build_cell(evaluation: Evaluation, column: Column, is_best: bool) -> dict[str, Any]:
    value = evaluation.values[column.name]
    median = evaluation.median(column.name)
    spread = (
        f"{format_number(value.lower)} to {format_number(value.upper)}"
        if isinstance(value, Quartiles) and np.isfinite(median)
        else ""
    )
    # JavaScript sorts numbers; what is not finite counts as the worst.
    sort_key = median if np.isfinite(median) else (-1e300 if column.higher_is_better else 1e300)
    return {
        "text": format_number(median),
        "sort": repr(float(sort_key)),
        "spread": spread,
        "best": is_best,
    }


def split_settings(candidates: Sequence[Candidate]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return the settings that differ, each with the value of every model, and those that all models share."""
    records = [_flatten_record(candidate.record) for candidate in candidates]
    names = sorted({name for record in records for name in record})
    rows = {name: [record.get(name, ABSENT) for record in records] for name in names}
    differing = {name: values for name, values in rows.items() if len(set(values)) > 1}
    return differing, {name: values[0] for name, values in rows.items() if name not in differing}


def _flatten_record(record: Mapping[str, Any]) -> dict[str, str]:
    tables = {table: record.get(table) for table in ("model", "target", "train", "environment")}
    return {
        f"{table}.{name}": str(value)
        for table, values in tables.items()
        if isinstance(values, dict)
        for name, value in values.items()
    }


def _draw_charts(evaluations: Sequence[Evaluation]) -> list[tuple[str, Markup]]:
    measures = [evaluation.measures for evaluation in evaluations]
    errors = [compute_band(one.trajectory.mse) for one in measures]
    recovery = [compute_band(one.damage[Damage.CIRCLE].recovery) for one in measures]
    charts = [
        ("Error from the seed: median and quartiles over rollouts", draw_svg(errors, "step", "MSE over RGBA")),
        (
            "Regeneration after a circle was erased: 1 is the error from before",
            draw_svg(recovery, "steps after the damage", "R", logarithmic=False),
        ),
    ]
    training = [_read_training_curve(evaluation.candidate) for evaluation in evaluations]
    if any(training):
        charts.append(("Error while training", draw_svg(training, "iteration", "MSE over RGBA")))
    return [(title, Markup(svg)) for title, svg in charts]


def _read_training_curve(candidate: Candidate) -> Band | None:
    """Return the quartiles of the MSE over up to 200 stretches of the run's CSV; None where it cannot be read."""
    try:
        text = candidate.path.with_suffix(".csv").read_text(encoding="utf-8")
        rows = [(float(row["iteration"]), float(row["mse"])) for row in csv.DictReader(io.StringIO(text))]
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return None
    if not rows:
        return None
    stretches = np.array_split(np.asarray(rows), min(len(rows), 200))
    x = np.array([stretch[:, 0].mean() for stretch in stretches])
    lower, median, upper = np.transpose([np.quantile(stretch[:, 1], (0.25, 0.5, 0.75)) for stretch in stretches])
    return Band(x, lower, median, upper)


def _encode_data_url(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
