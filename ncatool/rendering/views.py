"""States as pictures: colours on a background, views of what carries no colour, labels."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from ncatool.config.names import View
from ncatool.errors import UsageError
from ncatool.nca.picture import Background, Picture, compose

Values = Float[np.ndarray, "height width"]


_MAX_HIDDEN = 1.0
"""Of a hidden channel: what is above is drawn like this; 98 % of a trained model's values are below."""


_DECADES = 3
"""Powers of ten, up to 1, that changes and errors are drawn on."""


@cache
def _load_colormap(name: str) -> UInt8[np.ndarray, "256 3"]:
    """A map of matplotlib's."""
    from matplotlib import colormaps

    return colormaps[name](np.arange(256), bytes=True)[:, :3]


def _apply_colormap(values: Values, name: str) -> Picture:
    """Values in [0, 1] through a map; what is no number as the top."""
    return _load_colormap(name)[np.round(np.clip(np.nan_to_num(values, nan=1), 0, 1) * 255).astype(np.uint8)]


def _apply_log_colormap(values: Values) -> Picture:
    """Values in [0.001, 1], logarithmically."""
    with np.errstate(divide="ignore"):
        return _apply_colormap(1 + np.log10(values) / _DECADES, "inferno")


class Scene(NamedTuple):
    """What there is to see of a model."""

    cells: Float[np.ndarray, "height width channels"]
    before: Float[np.ndarray, "height width channels"]
    """The cells one frame before."""
    expected: Float[np.ndarray, "height width 4"]
    """What the first four channels should be."""
    mse: float = 0
    """Of the whole grid, over RGBA."""


class Panel(NamedTuple):
    """A labelled picture, a pixel a cell."""

    label: str
    picture: Picture


def _view_rgba(scene: Scene, ground: Background, scale: int) -> list[Panel]:
    return [Panel("RGBA", compose(scene.cells[..., :4], ground, scale))]


def _view_alpha(scene: Scene, ground: Background, scale: int) -> list[Panel]:
    return [Panel("alpha, 0 to 1", _apply_colormap(scene.cells[..., 3], "gray"))]


def _view_hidden(scene: Scene, ground: Background, scale: int) -> list[Panel]:
    hidden = np.moveaxis(scene.cells[..., 4:], -1, 0)
    if not len(hidden):
        raise UsageError("this model has no hidden channels to show", "choose another --view")
    pictures = [_apply_colormap((values / _MAX_HIDDEN + 1) / 2, "RdBu_r") for values in hidden]
    return [Panel(f"channel {i}, -1 to 1" if i == 4 else f"{i}", picture) for i, picture in enumerate(pictures, 4)]


def _view_change(scene: Scene, ground: Background, scale: int) -> list[Panel]:
    return [Panel("change, 0.001 to 1", _apply_log_colormap(np.abs(scene.cells - scene.before).mean(-1)))]


def _view_error(scene: Scene, ground: Background, scale: int) -> list[Panel]:
    return [Panel("error, 0.001 to 1", _apply_log_colormap(np.abs(scene.cells[..., :4] - scene.expected).mean(-1)))]


def _view_all(scene: Scene, ground: Background, scale: int) -> list[Panel]:
    hidden = [_view_hidden] if scene.cells.shape[-1] > 4 else []
    return [
        panel
        for view in (_view_rgba, _view_alpha, _view_change, _view_error, *hidden)
        for panel in view(scene, ground, scale)
    ]


VIEWS: dict[View, Callable[[Scene, Background, int], list[Panel]]] = {
    View.RGBA: _view_rgba,
    View.ALPHA: _view_alpha,
    View.HIDDEN: _view_hidden,
    View.CHANGE: _view_change,
    View.ERROR: _view_error,
    View.ALL: _view_all,
}
"""Panels that each view shows of a scene, over a background, drawn with so many pixels a cell."""


def view_palette(view: View) -> list[Picture]:
    """The colour maps that a view draws with, as pictures."""
    maps = {View.ALPHA: ["gray"], View.HIDDEN: ["RdBu_r"], View.CHANGE: ["inferno"], View.ERROR: ["inferno"]}
    return [_load_colormap(name).reshape(16, 16, 3) for name in maps.get(view, ["gray", "inferno", "RdBu_r"])]
