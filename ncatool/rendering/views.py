"""Views: a state, or its difference from another one, as labelled pictures of one pixel a cell."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from ncatool.config.names import View
from ncatool.data.matplotlib_defaults import load_matplotlib
from ncatool.errors import UsageError
from ncatool.evaluation.variation import Variation
from ncatool.nca.picture import Background, Picture, compose, enlarge

Values = Float[np.ndarray, "height width"]

_MAX_HIDDEN = 1.0
"""Absolute value of hidden channels that has the strongest colour; 98 % of a trained model's values are below."""
_DECADES = 3
"""Powers of ten, up to 1, that the logarithmic colours of changes and errors span."""


@cache
def list_colours(name: str) -> UInt8[np.ndarray, "256 3"]:
    """Return the 256 colours of one of matplotlib's colormaps."""
    return load_matplotlib().colormaps[name](np.arange(256), bytes=True)[:, :3]


def _apply_colormap(values: Values, name: str) -> Picture:
    """Map values from 0 to 1 to colours; NaN gets the colour of 1."""
    return list_colours(name)[np.round(np.clip(np.nan_to_num(values, nan=1), 0, 1) * 255).astype(np.uint8)]


def _apply_log_colormap(values: Values) -> Picture:
    """Map values from 0.001 to 1 to colours, logarithmically."""
    with np.errstate(divide="ignore"):
        return _apply_colormap(1 + np.log10(values) / _DECADES, LOGARITHMIC.colormap)


def _average_size(cells: Float[np.ndarray, "height width channels"], others: Float[np.ndarray, "..."]) -> Values:
    """Return the mean absolute difference of each cell; that of an exploded state may be infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.abs(cells - others).mean(-1)


class Scene(NamedTuple):
    """The cells of one model in one frame, and what they should show."""

    cells: Float[np.ndarray, "height width channels"]
    before: Float[np.ndarray, "height width channels"]
    """The cells in the frame before."""
    expected: Float[np.ndarray, "height width 4"]
    """The target: RGBA premultiplied by alpha."""
    mse: float = 0
    """MSE over RGBA of the whole grid, also where `cells` are only a part of it."""
    variation: Variation | None = None
    """How the cells of several rollouts differ; None where there is only one."""


class ColourScale(NamedTuple):
    """What the colours of a map mean."""

    colormap: str
    """Name of one of matplotlib's colormaps."""
    ticks: tuple[tuple[float, str], ...]
    """Places from 0 to 1, in ascending order, and the values that have their colours."""


OPACITY = ColourScale("gray", ((0, "0"), (1, "1")))
SIGNED = ColourScale("RdBu_r", ((0, f"-{_MAX_HIDDEN:g}"), (0.5, "0"), (1, f"{_MAX_HIDDEN:g}")))
LOGARITHMIC = ColourScale(
    "inferno", tuple((power / _DECADES, f"{10.0 ** (power - _DECADES):g}") for power in range(_DECADES + 1))
)


class Panel(NamedTuple):
    """A labelled picture of one pixel a cell."""

    label: str
    picture: Picture
    scale: ColourScale | None = None
    """What its colours mean; None: they are those of the cells."""


def _view_rgba(scene: Scene, background: Background, scale: int) -> list[Panel]:
    return [Panel("RGBA", compose(scene.cells[..., :4], background, scale))]


def _view_alpha(scene: Scene, background: Background, scale: int) -> list[Panel]:
    return [Panel("alpha", _apply_colormap(scene.cells[..., 3], OPACITY.colormap), OPACITY)]


def _view_hidden(scene: Scene, background: Background, scale: int) -> list[Panel]:
    hidden = np.moveaxis(scene.cells[..., 4:], -1, 0)
    if not len(hidden):
        raise UsageError("this model has no hidden channels to show", "choose another --view")
    pictures = [_apply_colormap((values / _MAX_HIDDEN + 1) / 2, SIGNED.colormap) for values in hidden]
    return [Panel(f"channel {i}" if i == 4 else f"{i}", picture, SIGNED) for i, picture in enumerate(pictures, 4)]


def _view_change(scene: Scene, background: Background, scale: int) -> list[Panel]:
    return [Panel("change", _apply_log_colormap(_average_size(scene.cells, scene.before)), LOGARITHMIC)]


def _view_error(scene: Scene, background: Background, scale: int) -> list[Panel]:
    return [Panel("error", _apply_log_colormap(_average_size(scene.cells[..., :4], scene.expected)), LOGARITHMIC)]


def _view_variance(scene: Scene, background: Background, scale: int) -> list[Panel]:
    count = scene.variation.count if scene.variation else 1
    deviation = scene.variation.map if scene.variation else np.zeros(scene.cells.shape[:2])
    return [Panel(f"standard deviation over {count} rollouts", _apply_log_colormap(deviation), LOGARITHMIC)]


def _view_all(scene: Scene, background: Background, scale: int) -> list[Panel]:
    hidden = [_view_hidden] if scene.cells.shape[-1] > 4 else []
    return [
        panel
        for view in (_view_rgba, _view_alpha, _view_change, _view_error, *hidden)
        for panel in view(scene, background, scale)
    ]


VIEWS: dict[View, Callable[[Scene, Background, int], list[Panel]]] = {
    View.RGBA: _view_rgba,
    View.ALPHA: _view_alpha,
    View.HIDDEN: _view_hidden,
    View.CHANGE: _view_change,
    View.ERROR: _view_error,
    View.VARIANCE: _view_variance,
    View.ALL: _view_all,
}
"""For each view a function that draws its panels of a scene.

`scale` is the side in pixels with which a cell will be shown; it sets the size of the checkerboard.
"""


def list_view_colours(view: View) -> list[Picture]:
    """Return the colormaps of a view as pictures of 128 × 128 pixels, for a palette."""
    maps = {
        View.ALPHA: ["gray"],
        View.HIDDEN: ["RdBu_r"],
        View.CHANGE: ["inferno"],
        View.ERROR: ["inferno"],
        View.VARIANCE: ["inferno"],
    }
    return [enlarge(list_colours(name).reshape(16, 16, 3), 8) for name in maps.get(view, ["gray", "inferno", "RdBu_r"])]
