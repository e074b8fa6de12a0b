"""The pictures that one model grows: chosen by their names, and what each grows from in a run that goes on from it."""

from __future__ import annotations

import numpy as np
import torch

from ncatool.config.suggestions import suggest_names
from ncatool.data.target import Target
from ncatool.errors import UsageError, shorten
from ncatool.nca.model_file import ModelData
from ncatool.nca.seed import apply_codes, draw_codes
from ncatool.nca.state import ALPHA
from ncatool.nca.types import Seed, Seeds

ALL = "all"


def select_pictures(model: ModelData, names: str) -> list[ModelData]:
    """Return the model of each picture that is named, between commas; `all` names all of them.

    Raises UsageError for a name that the model does not have.
    """
    return model.pictures if names == ALL else [find_picture(model, name) for name in names.split(",")]


def find_picture(model: ModelData, name: str) -> ModelData:
    """Return the model of the picture of this name; raise UsageError where there is none."""
    pictures = {one.target.name: one for one in model.pictures}
    if name not in pictures:
        close = suggest_names(name, pictures)
        hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(pictures)}"
        raise UsageError(f"the model grows no picture {shorten(name)}", hint)
    return pictures[name]


def adopt_seeds(start: ModelData, target: Target, seed: int) -> Seed | Seeds:
    """Return what each picture of a target grows from in a run that starts from a model.

    A picture that the model grows keeps its seed. Of several, each other one gets the model's first seed with a new
    code in the hidden channels, drawn by the run's `seed`; where the target is one picture, it gets that seed itself.
    """
    known = {_identify_picture(one.target): one.seed for one in start.pictures}
    wanted = [_identify_picture(one) for one in target.pictures]
    if len(wanted) == 1:
        return known.get(wanted[0], start.seed)
    kept = [known[key] for key in wanted if key in known]
    codes = draw_codes(len(wanted), start.config.channels - ALPHA - 1, torch.Generator().manual_seed(seed))
    coded = (one for one in apply_codes(start.seed, codes) if not any(torch.equal(one, other) for other in kept))
    return torch.stack([known[key] if key in known else next(coded) for key in wanted])


def _identify_picture(target: Target) -> bytes:
    """Return a key that is the same for the same pixels, whatever is transparent around them."""
    rows, columns = (np.flatnonzero(target.visible.any(axis=axis)) for axis in (1, 0))
    shown = target.pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] if len(rows) else target.pixels
    return repr(shown.shape).encode() + shown.tobytes()
