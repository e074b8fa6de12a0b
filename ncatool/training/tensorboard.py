"""Logs of a run for TensorBoard (the extra `tensorboard`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ncatool.engine.advance import advance
from ncatool.errors import NcatoolError
from ncatool.files.atomic import describe_write_error
from ncatool.nca.loss import compute_psnr
from ncatool.nca.model_file import ModelData
from ncatool.nca.picture import WHITE, Picture, arrange_tiles, compose, enlarge
from ncatool.training.run import MEASURED_STEPS, Run
from ncatool.training.trainer import Report

IMAGE_COUNT = 40
"""Grown images that are logged over a run."""

_PIXELS_PER_CELL = 4


@contextmanager
def open_log(folder: Path | None, run: Run) -> Iterator[Callable[[Report], None] | None]:
    """Yield a function that logs a report; None without a folder.

    Raises NcatoolError where the package is missing or the folder cannot be written.
    """
    if folder is None:
        yield None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise NcatoolError(
            "--tensorboard needs the package tensorboard, which is not installed", "pip install 'ncatool[tensorboard]'"
        ) from None
    try:
        # A resumed run repeats the iterations since its checkpoint, so what was logged of them is dropped.
        writer = SummaryWriter(str(folder), purge_step=run.trainer.iteration + 1)
    except OSError as error:
        raise describe_write_error(folder, error) from None
    image_interval = max(1, run.config.train.iterations // IMAGE_COUNT)

    def log(report: Report) -> None:
        writer.add_scalar("loss", report.loss, report.iteration)
        writer.add_scalar("psnr", compute_psnr(report.mse), report.iteration)
        writer.add_scalar("learning rate", report.learning_rate, report.iteration)
        if report.iteration % image_interval == 0 or report.iteration == run.config.train.iterations:
            writer.add_image("grown", _draw_grown(run), report.iteration, dataformats="HWC")

    with writer:
        yield log


def _draw_grown(run: Run) -> object:
    """Return the image that the current weights grow, or those of several pictures as tiles.

    Its own random generator leaves those of training unchanged.
    """
    generator = torch.Generator().manual_seed(run.config.train.seed)
    pictures = [_draw_state(model, generator) for model in run.trainer.copy_model().pictures]
    return enlarge(arrange_tiles(pictures), _PIXELS_PER_CELL)


def _draw_state(model: ModelData, generator: torch.Generator) -> Picture:
    grown = advance(model, model.place_seeds(1), MEASURED_STEPS[0], generator)
    return compose(grown[0, ..., :4].numpy(), WHITE)
