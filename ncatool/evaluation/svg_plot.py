"""Curves with quartile bands, drawn as SVG for the HTML report."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from ncatool.data.matplotlib_defaults import load_matplotlib, use_matplotlib_defaults

_STYLE: Any = {
    # Text stays text in the page's font, the same data give the same bytes, and grey is legible on light and dark.
    "svg.fonttype": "none",
    "svg.hashsalt": "ncatool",
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), "#888888"),
}
_COLOURS = tuple(load_matplotlib().colormaps["tab10"].colors)
_DASHES = {"-": "", "--": "6 3", ":": "2 3", "-.": "6 3 2 3"}
"""Line styles: matplotlib's name and the value of `stroke-dasharray`."""
_MAX_DRAWN = 1e3
"""Absolute value at which curves are cut off: errors of exploded rollouts are infinite."""
_POINTS = 240
"""Points of a curve, beside the first 100 states."""


@dataclass(frozen=True)
class Band:
    """A curve: the median, and a band between the quartiles."""

    x: Float[np.ndarray, "points"]
    lower: Float[np.ndarray, "points"]
    median: Float[np.ndarray, "points"]
    upper: Float[np.ndarray, "points"]


def compute_band(values: Float[np.ndarray, "rollouts states"]) -> Band:
    """Return median and quartiles over rollouts, for each of the first 100 states and for some of the later ones."""
    count = values.shape[1]
    x = np.unique(np.concatenate([np.arange(min(100, count)), np.linspace(0, count - 1, _POINTS).round()])).astype(int)
    finite = np.clip(np.nan_to_num(values[:, x], nan=_MAX_DRAWN, neginf=-_MAX_DRAWN), -_MAX_DRAWN, _MAX_DRAWN)
    lower, median, upper = np.quantile(finite, (0.25, 0.5, 0.75), axis=0)
    return Band(x.astype(float), lower, median, upper)


def get_curve_colour(i: int) -> str:
    """Return the CSS colour of the i-th curve."""
    red, green, blue = (round(255 * value) for value in _COLOURS[i % len(_COLOURS)])
    return f"#{red:02x}{green:02x}{blue:02x}"


def get_line_style(i: int) -> str:
    """Return matplotlib's line style of the i-th curve; it changes when the colours repeat."""
    return list(_DASHES)[i // len(_COLOURS) % len(_DASHES)]


def get_dash_pattern(i: int) -> str:
    """Return the line style of the i-th curve as the value of SVG's `stroke-dasharray`."""
    return _DASHES[get_line_style(i)]


def draw_svg(
    bands: Sequence[Band | None],
    x_label: str,
    y_label: str,
    *,
    logarithmic: bool = True,
    least: float = -math.inf,
    most: float = math.inf,
) -> str:
    """Return an SVG element of the curves without a legend; None skips a colour.

    What is below `least` or above `most` is cut off, so that models that explode leave room for the others.
    """
    with use_matplotlib_defaults() as matplotlib:
        from matplotlib.figure import Figure

        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=(8, 3.6), layout="constrained")
        axes = figure.subplots()
        for i, band in enumerate(bands):
            if band is not None:
                axes.fill_between(band.x, band.lower, band.upper, color=get_curve_colour(i), alpha=0.2, linewidth=0)
                axes.plot(band.x, band.median, get_line_style(i), color=get_curve_colour(i), linewidth=1.4)
        axes.set(xlabel=x_label, ylabel=y_label, yscale="log" if logarithmic else "linear")
        bottom, top = axes.get_ylim()
        if max(bottom, least) < min(top, most):
            axes.set_ylim(max(bottom, least), min(top, most))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    svg = text.getvalue()
    # An element within HTML has no XML declaration.
    return svg[svg.index("<svg") :]
