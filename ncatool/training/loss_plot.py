"""The plot that a run leaves: its loss curve beside the target and the grown image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from ncatool.data.matplotlib_defaults import load_matplotlib, use_matplotlib_defaults
from ncatool.engine.advance import advance
from ncatool.nca.model_file import ModelData
from ncatool.nca.picture import WHITE, compose
from ncatool.nca.state import make_seed

load_matplotlib()  # a failure is told before a run, not at its end

PLOTTED_STEP = 500
"""Step of the grown image."""


def draw_loss_plot(path: Path, model: ModelData, rows: Sequence[tuple[Any, ...]], generator: torch.Generator) -> None:
    """Write the PNG; `rows` are those of the run's CSV."""
    start = make_seed(1, *model.target.shape, model.config.channels).to(model.device)
    grown = advance(model, start, PLOTTED_STEP, generator)[0, ..., :4].cpu().numpy()
    with use_matplotlib_defaults():
        _draw(path, model, rows, grown)


def _draw(path: Path, model: ModelData, rows: Sequence[tuple[Any, ...]], grown: NDArray[Any]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.4), layout="constrained")
    curve, target, image = figure.subplots(1, 3, width_ratios=(2, 1, 1))
    iterations = [row[0] for row in rows]
    curve.semilogy(iterations, [row[2] for row in rows], linewidth=0.8, label="MSE")
    curve.set(xlabel="iteration", ylabel="MSE over RGBA")
    curve.grid(alpha=0.3)
    pictures = ((target, model.target.premultiply(), "target"), (image, grown, f"grown, step {PLOTTED_STEP}"))
    for axes, picture, title in pictures:
        axes.imshow(compose(picture, WHITE), interpolation="nearest")
        axes.set_title(title)
        axes.set_axis_off()
    FigureCanvasAgg(figure).print_png(str(path))
