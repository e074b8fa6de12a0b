"""The HTML report of a comparison: one file, pictures and curves included, that loads nothing from elsewhere."""

from __future__ import annotations

import base64
import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment
from markupsafe import Markup
from PIL import Image

from ncatool.config.names import Damage
from ncatool.config.schema import PLACE_SETTINGS
from ncatool.errors import NcatoolError
from ncatool.evaluation.models import Candidate, Evaluation
from ncatool.evaluation.protocol import Protocol
from ncatool.evaluation.quartiles import Quartiles
from ncatool.evaluation.several import describe_several, list_several
from ncatool.evaluation.svg_plot import Band, compute_band, draw_svg, get_curve_colour, get_dash_pattern
from ncatool.evaluation.table import Column, choose_column_notation, find_best, find_fault

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
    groups: dict[str, dict[str, dict[str, str]]] = {"settings": {}, "unknown": {}, "places": {}}
    for name, values in differing.items():
        groups[_choose_group(name, values)][label_setting(name)] = _group_values(candidates, values)
    tables = _build_tables(evaluations, columns)
    return environment.from_string(template).render(
        title=f"{len(evaluations)} models compared" if len(evaluations) > 1 else f"{candidates[0].name}, measured",
        evaluations=evaluations,
        notes=sorted({note for candidate in candidates for note in candidate.notes}),
        colours=[get_curve_colour(i) for i in range(len(evaluations))],
        dashes=[get_dash_pattern(i) for i in range(len(evaluations))],
        faults=[find_fault(evaluation) for evaluation in evaluations],
        summaries=[_summarise(evaluation) for evaluation in evaluations],
        tables=tables,
        has_best=any(cell["best"] for table in tables for row in table["cells"] for cell in row),
        is_mixed=len({candidate.target_key for candidate in candidates}) > 1,
        protocol=protocol,
        several=[(one, describe_several(one)) for one in list_several(evaluations)],
        groups=groups,
        common={label_setting(name): value for name, value in common.items()},
        charts=_draw_charts(evaluations),
        strips=[_encode_data_url(strip) for strip in strips],
        failed={str(path): error.what for path, error in failed.items()},
        facts=facts,
    )


def _summarise(evaluation: Evaluation) -> str:
    """Return the target and the error of a model, for below its name."""
    psnr = evaluation.median("psnr_later")
    return " · ".join([evaluation.candidate.grouping["target"], *([f"{psnr:.0f} dB"] if math.isfinite(psnr) else [])])


def _build_tables(evaluations: Sequence[Evaluation], columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Return two tables, as one would be too wide: from the seed, and after damage, with the health of the rollouts."""
    later = [column for column in columns if column.is_of_damage or column.name in ("dead", "exploded")]
    earlier = [column for column in columns if column not in later]
    titles = {"numbers": ("Growth and persistence", earlier), "healing": ("Regeneration and health", later)}
    return [
        {"id": name, "title": title, "columns": shown, "cells": _build_cells(evaluations, shown)}
        for name, (title, shown) in titles.items()
    ]


def _build_cells(evaluations: Sequence[Evaluation], columns: Sequence[Column]) -> list[list[dict[str, Any]]]:
    best = {column.name: find_best(evaluations, column) for column in columns}
    notations = {column.name: choose_column_notation(evaluations, column) for column in columns}
    return [
        [
            _build_cell(one, column, notations[column.name], one.candidate.name in best[column.name])
            for column in columns
        ]
        for one in evaluations
    ]


def _build_cell(
    evaluation: Evaluation, column: Column, notation: Callable[[float], str], is_best: bool
) -> dict[str, Any]:
    value = evaluation.values[column.name]
    median = evaluation.median(column.name)
    spread = ""
    if isinstance(value, Quartiles) and np.isfinite(median):
        spread = f"{notation(value.lower)} to {notation(value.upper)}"
    # JavaScript sorts numbers; what is not finite counts as the worst.
    sort_key = median if np.isfinite(median) else (-1e300 if column.higher_is_better else 1e300)
    return {"text": notation(median), "sort": repr(float(sort_key)), "spread": spread, "best": is_best}


def _group_values(candidates: Sequence[Candidate], values: Sequence[str]) -> dict[str, str]:
    """Return the models that have each value, as text; those of the commonest value are not listed where many are."""
    groups: dict[str, list[str]] = {}
    for candidate, value in zip(candidates, values, strict=True):
        groups.setdefault(value or "none", []).append(candidate.name)
    return {
        value: f"the other {len(names)}" if 2 * len(names) > len(values) and len(names) > 3 else ", ".join(names)
        for value, names in groups.items()
    }


def _choose_group(name: str, values: Sequence[str]) -> str:
    """Return where a setting that differs is shown: settings, or folded away with what no reader compares."""
    table, _, setting = name.partition(".")
    if table == "environment" or setting in PLACE_SETTINGS or setting.endswith("sha256"):
        return "places"
    return "settings" if len({*values} - {ABSENT}) > 1 else "unknown"


def label_setting(name: str) -> str:
    """Return a setting's name in words: `batch size`, `target size`."""
    return name.removeprefix("train.").replace(".", " ").replace("_", " ")


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
        ("Error from the seed: median and quartiles over rollouts", draw_svg(errors, "step", "MSE over RGBA", most=10)),
        (
            "Regeneration after a circle was erased: 1 is the error from before",
            draw_svg(recovery, "steps after the damage", "R", logarithmic=False, least=-0.5, most=1.2),
        ),
    ]
    training = [_read_training_curve(evaluation.candidate) for evaluation in evaluations]
    if any(training):
        charts.append(("Error while training", draw_svg(training, "iteration", "MSE over RGBA", most=10)))
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
