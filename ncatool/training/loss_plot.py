"""The plot that a run leaves: its loss curve beside the target and the grown image, or those of all pictures."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float

from ncatool.data.matplotlib_defaults import FIGURE_METADATA, load_matplotlib, use_matplotlib_defaults
from ncatool.engine.advance import advance
from ncatool.errors import NcatoolError
from ncatool.nca.model_file import ModelData
from ncatool.nca.picture import WHITE, Picture, arrange_tiles, compose
from ncatool.training.guard import REPLACED, RESTORED

load_matplotlib()  # a failure is told before a run, not at its end

PLOTTED_STEP = 500
"""Step of the grown image."""
PLOT_FORMATS = {".png": "png", ".svg": "svg", ".pdf": "pdf"}
"""Format of the plot by the ending of its file."""
_WINDOWS = 150
"""Points of the curve, at most: each is the median of a window of iterations."""
_SHARES = (0.1, 0.5, 0.9)
"""Quantiles of a window: lower edge of the band, curve, upper edge."""
_HEIGHT, _PLOT_WIDTH, _LEFT, _RIGHT, _BOTTOM, _TOP, _GAP = 4.0, 5.4, 0.85, 0.15, 0.6, 0.4, 0.4
"""Inches: of the figure's height, the plot's width, the margins, and the gap between panels."""
_DPI = 100
_MAX_ASPECT = 3.0
"""Width of a picture, divided by its height, up to which it is as tall as the plot."""
_CURVE, _RESTORED, _REPLACED = "#1f77b4", "#d62728", "#ff7f0e"

Row = Sequence[Any]
"""Iteration, loss, MSE, learning rate, events: a row of the run's CSV."""


class Curve(NamedTuple):
    """Quantiles of the MSE over windows of iterations."""

    iterations: Float[np.ndarray, "windows"]
    lower: Float[np.ndarray, "windows"]
    median: Float[np.ndarray, "windows"]
    upper: Float[np.ndarray, "windows"]
    window: int
    """Iterations in a window; the last one may have fewer."""


def draw_loss_plot(
    path: Path, model: ModelData, rows: Sequence[Row], generator: torch.Generator, plot_format: str = "png"
) -> None:
    """Write the plot; `rows` are those of the run's CSV, `plot_format` is a value of `PLOT_FORMATS`."""
    grown = [_draw_grown(one, generator) for one in model.pictures]
    count = len(grown)
    pictures = {
        "target" if count == 1 else f"{count} targets": arrange_tiles([_draw_target(one) for one in model.pictures]),
        f"grown, step {PLOTTED_STEP}": arrange_tiles(grown),
    }
    with use_matplotlib_defaults() as matplotlib:
        matplotlib.rcParams.update(
            {"font.size": 11, "svg.hashsalt": "ncatool", "pdf.fonttype": 42, "svg.fonttype": "none"}
        )
        figure = _draw_figure(rows, pictures)
        figure.savefig(path, format=plot_format, metadata=FIGURE_METADATA[plot_format])


def _draw_target(model: ModelData) -> Picture:
    return compose(model.target.premultiply(), WHITE)


def _draw_grown(model: ModelData, generator: torch.Generator) -> Picture:
    state = advance(model, model.place_seeds(1), PLOTTED_STEP, generator)
    return compose(state[0, ..., :4].cpu().numpy(), WHITE)


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a run's CSV. Raises NcatoolError where it cannot be read, or holds no iteration."""
    hint = "a curve is drawn from the CSV that `ncatool train` leaves beside the model"
    try:
        text = path.read_text(encoding="utf-8")
        rows: list[Row] = [
            (int(row["iteration"]), float(row["loss"]), float(row["mse"]), float(row["learning_rate"]), row["events"])
            for row in csv.DictReader(io.StringIO(text))
        ]
    except OSError as error:
        raise NcatoolError(f"{path} cannot be read: {error.strerror or error}", hint) from None
    except (ValueError, KeyError, TypeError, csv.Error):
        raise NcatoolError(f"{path} is not the CSV of a run", hint) from None
    if not rows:
        raise NcatoolError(f"{path} holds no iteration", hint)
    return rows


def compute_curve(rows: Sequence[Row]) -> Curve:
    """Return the quantiles of the MSE over windows of equal length; values that are not finite are left out."""
    window = max(1, -(-len(rows) // _WINDOWS))
    values = np.full((-(-len(rows) // window), window, 2), np.nan)
    values.reshape(-1, 2)[: len(rows)] = [(row[0], row[2]) for row in rows]
    values[~np.isfinite(values)] = np.nan
    with np.errstate(all="ignore"):
        iterations = np.nanmean(values[..., 0], axis=1)
        quantiles = [_compute_quantiles(errors[~np.isnan(errors)]) for errors in values[..., 1]]
    lower, median, upper = np.transpose(quantiles)
    return Curve(iterations, lower, median, upper, window)


def _compute_quantiles(errors: Float[np.ndarray, "finite"]) -> Float[np.ndarray, "3"]:
    return np.quantile(errors, _SHARES) if len(errors) else np.full(3, np.nan)


def _draw_figure(rows: Sequence[Row], pictures: dict[str, Picture]) -> Any:
    """Draw the curve, and beside it the pictures, whose panels are as tall as the plot."""
    from matplotlib.figure import Figure

    height = _HEIGHT - _BOTTOM - _TOP
    widths = [height * min(_MAX_ASPECT, picture.shape[1] / picture.shape[0]) for picture in pictures.values()]
    lefts = np.cumsum([_LEFT, _PLOT_WIDTH + _GAP, *(width + _GAP for width in widths)])
    total = lefts[-1] - _GAP + _RIGHT
    figure = Figure(figsize=(total, _HEIGHT), dpi=_DPI)

    def add_panel(left: float, width: float) -> Any:
        return figure.add_axes((left / total, _BOTTOM / _HEIGHT, width / total, height / _HEIGHT))

    _draw_curve(add_panel(lefts[0], _PLOT_WIDTH), rows)
    for left, width, (title, picture) in zip(lefts[1:-1], widths, pictures.items(), strict=True):
        axes = add_panel(left, width)
        axes.imshow(picture, interpolation="nearest")
        axes.set_title(title)
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set_color("#cccccc")
    return figure


def _draw_curve(axes: Any, rows: Sequence[Row]) -> None:
    axes.set(xlabel="iteration", ylabel="MSE over RGBA", title="training", yscale="log")
    if not rows:
        return
    curve = compute_curve(rows)
    label = "MSE"
    if curve.window > 1:
        label, band = "median", f"10 % to 90 % of {curve.window} iterations"
        axes.fill_between(curve.iterations, curve.lower, curve.upper, color=_CURVE, alpha=0.25, linewidth=0, label=band)
    axes.plot(curve.iterations, curve.median, color=_CURVE, linewidth=1.6, label=label)
    axes.set_xlim(0, max(1, rows[-1][0]))
    _set_decades(axes, curve)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    _mark_events(axes, rows)
    axes.legend(loc="upper right", fontsize=9, framealpha=0.8)


def _set_decades(axes: Any, curve: Curve) -> None:
    """Let the axis end at powers of ten, whose labels are short."""
    shown = np.concatenate([curve.lower, curve.upper])
    shown = shown[shown > 0]
    if len(shown):
        lowest, highest = np.floor(np.log10(shown.min())), np.ceil(np.log10(shown.max()))
        axes.set_ylim(10**lowest, 10 ** max(highest, lowest + 1))
        axes.yaxis.set_minor_formatter("")


def _mark_events(axes: Any, rows: Sequence[Row]) -> None:
    """Mark what the guard did: restored weights as lines, states that died as ticks along the lower edge."""
    restored = [row[0] for row in rows if RESTORED in row[4]]
    replaced = [row[0] for row in rows if REPLACED in row[4]]
    for i, iteration in enumerate(restored):
        label = f"weights restored ({len(restored)} ×)" if i == 0 else None
        axes.axvline(iteration, color=_RESTORED, linewidth=1, linestyle="--", label=label)
    if replaced:
        axes.plot(
            replaced, [0.02] * len(replaced), "|", color=_REPLACED, markersize=9, markeredgewidth=1.5,
            transform=axes.get_xaxis_transform(), label=f"dead states replaced ({len(replaced)} ×)",
        )  # fmt: skip
