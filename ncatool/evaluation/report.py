"""A comparison as one page that needs nothing but itself."""

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
from ncatool.evaluation import svg_plot
from ncatool.evaluation.models import Candidate, Evaluation
from ncatool.evaluation.protocol import Protocol, Quartiles
from ncatool.evaluation.table import Column, find_best, format_number

ABSENT = "–"


def render_report(
    entries: Sequence[Evaluation],
    columns: Sequence[Column],
    trial: Protocol,
    failed: Mapping[Path, NcatoolError],
    facts: Mapping[str, str],
    strips: Sequence[Image.Image],
) -> str:
    """Return the HTML; `strips` are pictures, one a model, `facts` the command and versions. All text is escaped."""
    template = resources.files("ncatool.evaluation").joinpath("report.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    contenders = [entry.candidate for entry in entries]
    differing, common = split_settings(contenders)
    return environment.from_string(template).render(
        entries=entries,
        notes=sorted({note for contender in contenders for note in contender.notes}),
        colours=[svg_plot.curve_colour(i) for i in range(len(entries))],
        dashes=[svg_plot.svg_dashes(i) for i in range(len(entries))],
        columns=columns,
        cells=_build_cells(entries, columns),
        trial=trial,
        differing=differing,
        common=common,
        charts=_draw_charts(entries),
        strips=[_encode_data_url(strip) for strip in strips],
        failed={str(path): error.what for path, error in failed.items()},
        facts=facts,
    )


def _build_cells(entries: Sequence[Evaluation], columns: Sequence[Column]) -> list[list[dict[str, Any]]]:
    winners = [find_best(entries, column) for column in columns]
    pairs = list(zip(columns, winners, strict=True))
    return [[_build_cell(entry, column, entry.candidate.name in top) for column, top in pairs] for entry in entries]


def _build_cell(entry: Evaluation, column: Column, is_best: bool) -> dict[str, Any]:
    value = entry.values[column.name]
    middle = entry.median(column.name)
    spread = (
        f"{format_number(value.lower)} to {format_number(value.upper)}"
        if isinstance(value, Quartiles) and np.isfinite(middle)
        else ""
    )
    finite = middle if np.isfinite(middle) else (-1e300 if column.higher_is_better else 1e300)
    return {
        "text": format_number(middle),
        "sort": repr(float(finite)),
        "spread": spread,
        "best": is_best,
    }


def split_settings(contenders: Sequence[Candidate]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Settings that differ between the models, a value a model; and those that all have in common."""
    flat = [_flatten_record(contender.record) for contender in contenders]
    names = sorted({name for one in flat for name in one})
    rows = {name: [one.get(name, ABSENT) for one in flat] for name in names}
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


def _draw_charts(entries: Sequence[Evaluation]) -> list[tuple[str, Markup]]:
    courses = [svg_plot.compute_band(entry.measures.trajectory.mse) for entry in entries]
    wounds = [svg_plot.compute_band(entry.measures.damage[Damage.CIRCLE].recovery) for entry in entries]
    drawn = [
        (
            "Error from the seed: median and quartiles over rollouts",
            svg_plot.draw_svg(courses, "step", "MSE over RGBA"),
        ),
        (
            "Regeneration after a circle was erased: 1 is the error from before",
            svg_plot.draw_svg(wounds, "steps after the wound", "R", logarithmic=False),
        ),
    ]
    training = [_read_training_curve(entry.candidate) for entry in entries]
    if any(training):
        drawn.append(("Error while training", svg_plot.draw_svg(training, "iteration", "MSE over RGBA")))
    return [(title, Markup(svg)) for title, svg in drawn]


def _read_training_curve(contender: Candidate) -> svg_plot.Band | None:
    """The curve of the run's CSV, smoothed over stretches, where there is one."""
    try:
        text = contender.path.with_suffix(".csv").read_text(encoding="utf-8")
        rows = [(float(row["iteration"]), float(row["mse"])) for row in csv.DictReader(io.StringIO(text))]
    except (OSError, ValueError, KeyError, TypeError, csv.Error):
        return None
    if not rows:
        return None
    stretches = np.array_split(np.asarray(rows), min(len(rows), 200))
    x = np.array([stretch[:, 0].mean() for stretch in stretches])
    low, middle, high = (np.array([np.quantile(s[:, 1], share) for s in stretches]) for share in (0.25, 0.5, 0.75))
    return svg_plot.Band(x, low, middle, high)


def _encode_data_url(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
