"""Curves with quartile bands, as SVG for a page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

_STYLE: Any = {
    # Text stays text, in the page's font; the same data gives the same bytes; grey is legible on light and dark.
    "svg.fonttype": "none",
    "svg.hashsalt": "ncatool",
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), "#888888"),
}
_COLOURS = tuple(mpl.colormaps["tab10"].colors)  # type: ignore[attr-defined]
_DASHES = {"-": "", "--": "6 3", ":": "2 3", "-.": "6 3 2 3"}
"""As matplotlib names them, and as SVG has them."""
_MAX_DRAWN = 1e3
"""What exploded is drawn like this."""
_POINTS = 240


@dataclass(frozen=True)
class Band:
    """A curve: its median and its quartiles."""

    x: Float[np.ndarray, "points"]
    low: Float[np.ndarray, "points"]
    middle: Float[np.ndarray, "points"]
    high: Float[np.ndarray, "points"]


def compute_band(values: Float[np.ndarray, "rollouts moments"]) -> Band:
    """Median and quartiles over rollouts, at all of the first moments and at some of the later ones."""
    count = values.shape[1]
    x = np.unique(np.concatenate([np.arange(min(100, count)), np.linspace(0, count - 1, _POINTS).round()])).astype(int)
    drawn = np.clip(np.nan_to_num(values[:, x], nan=_MAX_DRAWN, neginf=-_MAX_DRAWN), -_MAX_DRAWN, _MAX_DRAWN)
    low, middle, high = np.quantile(drawn, (0.25, 0.5, 0.75), axis=0)
    return Band(x.astype(float), low, middle, high)


def curve_colour(i: int) -> str:
    """Of the i-th curve, as CSS has it."""
    red, green, blue = (round(255 * value) for value in _COLOURS[i % len(_COLOURS)])
    return f"#{red:02x}{green:02x}{blue:02x}"


def line_style(i: int) -> str:
    """Of the i-th curve, so that more can be told apart than there are colours."""
    return list(_DASHES)[i // len(_COLOURS) % len(_DASHES)]


def svg_dashes(i: int) -> str:
    """The same for SVG."""
    return _DASHES[line_style(i)]


def draw_svg(lines: Sequence[Band | None], x: str, y: str, *, logarithmic: bool = True) -> str:
    """The curves in their colours, without a legend; None keeps a colour free."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(8, 3.6), layout="constrained")
        axes = figure.subplots()
        for i, one in enumerate(lines):
            if one is not None:
                axes.fill_between(one.x, one.low, one.high, color=curve_colour(i), alpha=0.2, linewidth=0)
                axes.plot(one.x, one.middle, line_style(i), color=curve_colour(i), linewidth=1.4)
        axes.set(xlabel=x, ylabel=y, yscale="log" if logarithmic else "linear")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    drawn = text.getvalue()
    return drawn[drawn.index("<svg") :]
