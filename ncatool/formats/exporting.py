"""Models in forms that run elsewhere, each checked against the dense rule before it is let out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ncatool.config.names import ExportFormat
from ncatool.engine.rollout import fire_masks
from ncatool.errors import NcatoolError, UsageError
from ncatool.files.atomic import replacing
from ncatool.formats import arrays, c_header, distill, onnx, page, pt2
from ncatool.formats.common import Fire, followed, start
from ncatool.nca.model_file import Model
from ncatool.nca.types import State

STEPS = 64
"""Steps that an artefact is followed for."""
TOLERANCE = 1e-3
"""Largest difference of any channel in them: rounding, which chaos lets grow."""

Run = Callable[[Model, Path, Fire], State | None]


@dataclass(frozen=True)
class Kind:
    """One format."""

    write: Callable[[Model, Mapping[str, Any], str, Path], None]
    """Takes model, record, name, and the file to write."""
    run: Run
    """The artefact's own state after these fire masks, from the seed; None where nothing here can run it."""
    needs: str
    """What runs it."""
    exact: bool = True
    """Whether it has the very weights."""


KINDS: dict[ExportFormat, Kind] = {
    ExportFormat.HTML: Kind(page.write, page.run, "a browser: Chromium, Chrome or Edge"),
    ExportFormat.ONNX: Kind(onnx.write, onnx.run, "onnxruntime"),
    ExportFormat.PT2: Kind(pt2.write, pt2.run, "torch"),
    ExportFormat.JSON: Kind(distill.write, distill.run, "torch", exact=False),
    ExportFormat.NPZ: Kind(arrays.write, arrays.run, "numpy"),
    ExportFormat.H: Kind(c_header.write, c_header.run, "a C compiler"),
}


@dataclass(frozen=True)
class Parity:
    """How near an artefact comes to the dense rule."""

    difference: float | None
    """Largest absolute difference of any channel after the steps; None: nothing here can run it."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What else was found, such as the error of quantisation."""


def format_of(out: Path, asked: ExportFormat | None) -> ExportFormat:
    """The format by its name or by the ending of the file."""
    if asked is not None:
        return asked
    ending = out.suffix.lower().removeprefix(".")
    if ending not in list(ExportFormat):
        choices = ", ".join(f".{name}" for name in ExportFormat)
        raise UsageError(f"{out} ends in {out.suffix or 'nothing'}", f"choose an ending from {choices}, or --format")
    return ExportFormat(ending)


def export(
    model: Model, record: Mapping[str, Any], name: str, out: Path, form: ExportFormat, rollout: int = 0
) -> Parity:
    """Writes a model and follows what was written for 64 steps beside the dense rule.

    Raises NcatoolError where it strays; nothing is then left. With `rollout` (ONNX only) the artefact takes that
    many steps at once and draws its own fire masks.
    """
    if rollout and form is not ExportFormat.ONNX:
        raise UsageError(f"--rollout is for .onnx, but this is .{form}", "leave it out")
    with replacing(out) as partial:
        KINDS[form].write(model, record, name, partial)
        parity = compared(model, partial, form)
        if rollout:
            onnx.write_rollout(model, partial, rollout)
        return parity


def compared(model: Model, path: Path, form: ExportFormat) -> Parity:
    """The artefact beside the dense rule, with the same fire masks."""
    kind = KINDS[form]
    fire = fire_masks(STEPS, start(model), model.config.fire_rate, torch.Generator().manual_seed(0))
    found = kind.run(model, path, fire)
    if found is None:
        return Parity(None)
    expected = followed(model, fire)
    if not torch.isfinite(expected).all():
        raise NcatoolError(
            f"the model explodes within {STEPS} steps: nothing can be compared", "export a model that has been trained"
        )
    difference = (found - expected).abs().max().item()
    if kind.exact:
        if not difference <= TOLERANCE:
            raise NcatoolError(
                f"the .{form} strays from the model by {difference:.2g} in {STEPS} steps, more than {TOLERANCE:g}",
                "nothing was written; please report this with the model file",
            )
        return Parity(difference)
    return Parity(difference, distill.quantisation(model, path))
