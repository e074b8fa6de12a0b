"""Models in forms that run elsewhere, each checked against the dense rule before it is let out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ncatool.config.names import ExportFormat
from ncatool.engine.rollout import draw_fire_masks
from ncatool.errors import NcatoolError, UsageError
from ncatool.files.atomic import replace_atomically
from ncatool.formats import arrays, c_header, distill, onnx, page, pt2
from ncatool.formats.common import Fire, run_dense, seed_state
from ncatool.nca.model_file import ModelData
from ncatool.nca.types import State

PARITY_STEPS = 64
"""Steps that an artefact is followed for."""
TOLERANCE = 1e-3
"""Largest difference of any channel in them: rounding, which chaos lets grow."""

Run = Callable[[ModelData, Path, Fire], State | None]


@dataclass(frozen=True)
class ExportKind:
    """One format."""

    write: Callable[[ModelData, Mapping[str, Any], str, Path], None]
    """Takes model, record, name, and the file to write."""
    run: Run
    """The artefact's own state after these fire masks, from the seed; None where nothing here can run it."""
    needs: str
    """What runs it."""
    exact: bool = True
    """Whether it has the very weights."""


EXPORT_KINDS: dict[ExportFormat, ExportKind] = {
    ExportFormat.HTML: ExportKind(page.write, page.run, "a browser: Chromium, Chrome or Edge"),
    ExportFormat.ONNX: ExportKind(onnx.write, onnx.run, "onnxruntime"),
    ExportFormat.PT2: ExportKind(pt2.write, pt2.run, "torch"),
    ExportFormat.JSON: ExportKind(distill.write, distill.run, "torch", exact=False),
    ExportFormat.NPZ: ExportKind(arrays.write, arrays.run, "numpy"),
    ExportFormat.H: ExportKind(c_header.write, c_header.run, "a C compiler"),
}


@dataclass(frozen=True)
class Parity:
    """How near an artefact comes to the dense rule."""

    difference: float | None
    """Largest absolute difference of any channel after the steps; None: nothing here can run it."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What else was found, such as the error of quantisation."""


def choose_format(out: Path, asked: ExportFormat | None) -> ExportFormat:
    """The format by its name or by the ending of the file."""
    if asked is not None:
        return asked
    ending = out.suffix.lower().removeprefix(".")
    if ending not in list(ExportFormat):
        choices = ", ".join(f".{name}" for name in ExportFormat)
        raise UsageError(f"{out} ends in {out.suffix or 'nothing'}", f"choose an ending from {choices}, or --format")
    return ExportFormat(ending)


def export_model(
    model: ModelData, record: Mapping[str, Any], name: str, out: Path, form: ExportFormat, rollout: int = 0
) -> Parity:
    """Writes a model and follows what was written for 64 steps beside the dense rule.

    Raises NcatoolError where it strays; nothing is then left. With `rollout` (ONNX only) the artefact takes that
    many steps at once and draws its own fire masks.
    """
    if rollout and form is not ExportFormat.ONNX:
        raise UsageError(f"--rollout is for .onnx, but this is .{form}", "leave it out")
    with replace_atomically(out) as partial:
        EXPORT_KINDS[form].write(model, record, name, partial)
        parity = check_parity(model, partial, form)
        if rollout:
            onnx.write_rollout(model, partial, rollout)
        return parity


def check_parity(model: ModelData, path: Path, form: ExportFormat) -> Parity:
    """The artefact beside the dense rule, with the same fire masks."""
    kind = EXPORT_KINDS[form]
    fire = draw_fire_masks(PARITY_STEPS, seed_state(model), model.config.fire_rate, torch.Generator().manual_seed(0))
    found = kind.run(model, path, fire)
    if found is None:
        return Parity(None)
    expected = run_dense(model, fire)
    if not torch.isfinite(expected).all():
        raise NcatoolError(
            f"the model explodes within {PARITY_STEPS} steps: nothing can be compared",
            "export a model that has been trained",
        )
    difference = (found - expected).abs().max().item()
    if kind.exact:
        if not difference <= TOLERANCE:
            raise NcatoolError(
                f"the .{form} strays from the model by {difference:.2g} in {PARITY_STEPS} steps, more than {TOLERANCE:g}",
                "nothing was written; please report this with the model file",
            )
        return Parity(difference)
    return Parity(difference, distill.measure_quantisation(model, path))
