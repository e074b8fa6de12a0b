"""`ncatool export` and `ncatool import` on the terminal."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ncatool.cli import terminal
from ncatool.config.names import Boundary, ExportFormat, Filter, Order
from ncatool.config.schema import ModelConfig, TargetConfig
from ncatool.data import readers as targets
from ncatool.errors import NcatoolError, UsageError
from ncatool.files.atomic import check_writable
from ncatool.files.toml import read_toml, write_toml
from ncatool.formats import exporting as exporting
from ncatool.formats import importing
from ncatool.nca.model_file import load_model, save_model
from ncatool.training.run_files import RunFiles, write_record

ARTICLES_SIDE = 72
"""Cells of the article's grid: 40 and a padding of 16 on each side."""


def export(path: Path, out: Path, form: ExportFormat, rollout: int, force: bool) -> None:
    """Writes, checks, records and tells."""
    sidecar = out.with_name(f"{out.name}.toml")
    check_writable([out, sidecar], force)
    model = load_model(path)
    record = read_toml(path.with_suffix(".toml")) if path.with_suffix(".toml").exists() else {}
    parity = exporting.export_model(model, record, path.stem, out, form, rollout)
    found = _found(parity, form)
    about = {"format": form.value, "model": path.name, "ncatool": version("ncatool")}
    write_toml(sidecar, {"export": {**about, **({"rollout": rollout} if rollout else {}), **found}})
    if parity.difference is None:
        terminal.print_note(
            f"not checked: there is no {exporting.EXPORT_KINDS[form].needs.removeprefix('a ')} on this machine"
        )
    for difference in parity.facts.get("player_differs", []):
        terminal.print_note(f"the article's player has {difference}")
    terminal.print_result({"wrote": str(out), "bytes": out.stat().st_size, **found})


def _found(parity: exporting.Parity, form: ExportFormat) -> dict[str, Any]:
    if parity.difference is None:
        return {"checked": False}
    return {
        "checked": True,
        "steps": exporting.PARITY_STEPS,
        "largest_difference": parity.difference,
        **({"tolerance": exporting.TOLERANCE} if exporting.EXPORT_KINDS[form].exact else {}),
        **{name: value for name, value in parity.facts.items() if name != "player_differs"},
    }


@dataclass(frozen=True)
class Wish:
    """What the user says of a model of somebody else's; None: as the file has it."""

    filter: Filter | None
    order: Order | None
    boundary: Boundary | None
    fire_rate: float
    threshold: float
    size: int | None
    padding: int


def bring(file: Path, out: Path, wish: Wish, wanted: TargetConfig | None, root: Path | None, force: bool) -> None:
    """Reads, converts, records and tells."""
    files = RunFiles(out)
    stale = [files.checkpoint, files.curve]  # of a run: no part of this model; NAME.png may well be the target
    check_writable([files.model, files.record, *stale], force)
    foreign = importing.read_model(file)
    order = wish.order or foreign.order
    config = _config(file, foreign, wish)
    target = targets.load_target(wanted, root) if wanted is not None else None
    size = wish.size or (ARTICLES_SIDE if _is_articles(file) else TargetConfig.size)
    TargetConfig(size=size, padding=wish.padding)  # refuses a grid that is too large
    model = importing.convert_model(foreign, config, order, target, size + 2 * wish.padding)
    origin = importing.describe_origin(file, foreign, order)
    tables = {"model": dataclasses.asdict(config), "target": model.target.describe(), "origin": origin}
    with files.lock():
        save_model(files.model, model)
        write_record(files.record, tables)
        for path in stale:
            path.unlink(missing_ok=True)
    _remark(foreign, order, wanted)
    terminal.print_result({"wrote": str(out), **dataclasses.asdict(config), "order": order.value, "from": foreign.kind})


def _config(file: Path, foreign: importing.ForeignModel, wish: Wish) -> ModelConfig:
    for name, count, low, high in (("channels", foreign.channels, 4, 256), ("hidden units", foreign.hidden, 1, 4096)):
        if not low <= count <= high:
            raise NcatoolError(
                f"{file} has {count} {name}, but a model has {low} to {high}", "such a model cannot be imported"
            )
    return ModelConfig(
        channels=foreign.channels,
        hidden=foreign.hidden,
        filter=_filter(file, foreign, wish),
        fire_rate=wish.fire_rate,
        threshold=wish.threshold,
        boundary=wish.boundary or foreign.boundary,
    )


def _is_articles(file: Path) -> bool:
    return file.suffix.lower() == ".json"


def _filter(file: Path, foreign: importing.ForeignModel, wish: Wish) -> Filter:
    if wish.filter is not None:
        return wish.filter
    if _is_articles(file):
        return Filter.SOBEL
    guess = importing.guess_filter(file)
    if guess is None:
        raise UsageError(
            f"neither {file.name} nor its name says which filter it was trained with",
            f"give --filter, one of {', '.join(Filter)}",
        )
    terminal.print_note(f"--filter {guess}, as the file's name says")
    return guess


def _remark(foreign: importing.ForeignModel, order: Order, wanted: TargetConfig | None) -> None:
    if foreign.ignored:
        terminal.print_note(f"no part of the network, left out: {terminal.clean_line(', '.join(foreign.ignored), 200)}")
    if wanted is None:
        terminal.print_note(f"no --target: its target is what it has grown in {importing.GROWTH_STEPS} steps")
