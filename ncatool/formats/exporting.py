"""Exports a model to another format, and checks each file against the dense rule before it gets its final name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ncatool.config.names import ExportFormat
from ncatool.engine.rollout import draw_fire_masks
from ncatool.errors import NcatoolError, UsageError
from ncatool.files.atomic import replace_atomically
from ncatool.formats import arrays, browser, c_header, distill, onnx, page, pt2
from ncatool.formats.common import make_seed_states, run_dense
from ncatool.nca.model_file import ModelData
from ncatool.nca.types import Fire, State

PARITY_STEPS = 64
"""Steps of the rollout that the exported file and the dense rule are compared over."""
PARITY_TOLERANCE = 1e-3
"""Largest difference allowed in any channel after these steps: rounding errors, which grow from step to step."""

Run = Callable[[ModelData, Path, Fire], State | None]


@dataclass(frozen=True)
class ExportKind:
    """One export format: how to write a file, and how to run it."""

    write: Callable[[ModelData, Mapping[str, Any], str, Path], None]
    """Takes model, record, the model's name, and the path to write."""
    run: Run
    """Returns the states that the file computes from the seeds of all pictures; None if this machine cannot.

    The third argument holds the fire masks: [steps, pictures, height, width].
    """
    needs: str
    """What runs such a file."""
    exact: bool = True
    """Whether the file holds the weights without loss."""


EXPORT_KINDS: dict[ExportFormat, ExportKind] = {
    ExportFormat.HTML: ExportKind(page.write, browser.run, "a browser: Chromium, Chrome or Edge"),
    ExportFormat.ONNX: ExportKind(onnx.write, onnx.run, "onnxruntime"),
    ExportFormat.PT2: ExportKind(pt2.write, pt2.run, "torch"),
    ExportFormat.JSON: ExportKind(distill.write, distill.run, "torch", exact=False),
    ExportFormat.NPZ: ExportKind(arrays.write, arrays.run, "numpy"),
    ExportFormat.H: ExportKind(c_header.write, c_header.run, "a C compiler"),
}


@dataclass(frozen=True)
class Parity:
    """Result of comparing an exported file with the dense rule."""

    difference: float | None
    """Largest absolute difference of any channel after the steps; None if this machine cannot run the file."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Other measurements, such as the error of quantisation."""


def choose_format(out: Path, requested: ExportFormat | None) -> ExportFormat:
    """Return the requested format, or the one that the file's ending names; UsageError for an unknown ending."""
    if requested is not None:
        return requested
    ending = out.suffix.lower().removeprefix(".")
    if ending not in list(ExportFormat):
        choices = ", ".join(f".{name}" for name in ExportFormat)
        raise UsageError(f"{out} ends in {out.suffix or 'nothing'}", f"choose an ending from {choices}, or --format")
    return ExportFormat(ending)


def export_model(
    model: ModelData, record: Mapping[str, Any], name: str, out: Path, form: ExportFormat, rollout: int = 0,
    overwrite: bool = True,
) -> Parity:  # fmt: skip
    """Write a model to `out` and return how far the written file differs from the dense rule after 64 steps.

    With `rollout` (ONNX only) the file computes that many steps at once and draws its own fire masks.
    Raises NcatoolError where the difference exceeds the tolerance, and UsageError where the file exists by then, unless
    `overwrite` is set; nothing is then written.
    """
    if rollout and form is not ExportFormat.ONNX:
        raise UsageError(f"--rollout is for .onnx, but this is .{form}", "leave it out")
    with replace_atomically(out, overwrite) as partial:
        EXPORT_KINDS[form].write(model, record, name, partial)
        parity = check_parity(model, partial, form)
        if rollout:
            onnx.write_rollout(model, partial, rollout)
        return parity


def export_gallery(
    models: Sequence[page.PageModel], out: Path, overwrite: bool = True
) -> tuple[dict[str, Parity], list[str]]:
    """Write a page of several models; return how far each differs from the dense rule, and the names of those left out.

    A model that explodes within the steps of the check is left out, as nothing can be compared. Raises NcatoolError
    where that leaves none, or a difference exceeds the tolerance; nothing is then written.
    """
    checks = {one.name: _run_reference(one.model) for one in models}
    exploded = [name for name, (_, expected) in checks.items() if not torch.isfinite(expected).all()]
    kept = [one for one in models if one.name not in exploded]
    if not kept:
        raise _describe_explosion(f"{len(models)} models explode")
    with replace_atomically(out, overwrite) as partial:
        page.write_gallery(kept, partial)
        states = browser.run_all([one.model for one in kept], partial, [checks[one.name][0] for one in kept])
        found = states if states is not None else [None] * len(kept)
        parities = {
            one.name: _compare_states(state, checks[one.name][1], ExportFormat.HTML)
            for one, state in zip(kept, found, strict=True)
        }
        return parities, exploded


def _run_reference(model: ModelData) -> tuple[Fire, State]:
    """Return the fire masks of the check, and the states that the dense rule computes with them, one a picture."""
    generator = torch.Generator().manual_seed(0)
    fire = draw_fire_masks(PARITY_STEPS, make_seed_states(model), model.config.fire_rate, generator)
    return fire, run_dense(model, fire)


def _compare_states(actual: State | None, expected: State, form: ExportFormat) -> Parity:
    """Return the largest difference; raise NcatoolError where an exact format differs by more than the tolerance."""
    if actual is None:
        return Parity(None)
    difference = (actual - expected).abs().max().item()
    if EXPORT_KINDS[form].exact and not difference <= PARITY_TOLERANCE:
        raise NcatoolError(
            f"the .{form} differs from the model by {difference:.2g} after {PARITY_STEPS} steps, "
            f"more than {PARITY_TOLERANCE:g}",
            "nothing was written; please report this with the model file",
        )
    return Parity(difference)


def _describe_explosion(who: str) -> NcatoolError:
    what = f"{who} within {PARITY_STEPS} steps: nothing can be compared"
    return NcatoolError(what, "export a model that has been trained")


def check_parity(model: ModelData, path: Path, form: ExportFormat) -> Parity:
    """Compare a file with the dense rule, both run with the same fire masks.

    Raises NcatoolError where the model explodes, or where an exact format differs by more than the tolerance.
    """
    kind = EXPORT_KINDS[form]
    fire, expected = _run_reference(model)
    actual = kind.run(model, path, fire)
    if actual is not None and not torch.isfinite(expected).all():
        raise _describe_explosion("the model explodes")
    parity = _compare_states(actual, expected, form)
    if actual is None or kind.exact:
        return parity
    return Parity(parity.difference, distill.measure_quantisation(model, path))
