"""`ncatool import`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ncatool.cli import options as o
from ncatool.cli import terminal
from ncatool.cli.app import app
from ncatool.cli.complete import complete_foreign_models, complete_import
from ncatool.cli.ending import Ending, suggest_watching
from ncatool.cli.help import list_examples
from ncatool.cli.training import prepare_device, print_readings, print_slowness
from ncatool.config.names import Boundary, Device, Filter, Order, SeedCells
from ncatool.config.schema import MAX_SEED_RADIUS, ModelConfig, TargetConfig, check_range
from ncatool.errors import NcatoolError, UsageError

if TYPE_CHECKING:
    from ncatool.data.target import Target
    from ncatool.formats.importing import ForeignModel
    from ncatool.nca.types import Seed

ARTICLE_SIDE = 72
"""Cells of the article's grid: 40 and a padding of 16 on each side."""


@app.command(
    "import",
    epilog=list_examples(
        "import chest_sobel.pt chest.safetensors --target chest.png",
        "import model.pth model.safetensors --filter sobel",
        "import lizard.json lizard.safetensors",
    ),
)
def import_model(
    file: Annotated[
        Path,
        typer.Argument(
            help="The seed project's .pt, the article's .json, or another state dict.",
            autocompletion=complete_foreign_models,
        ),
    ],
    out: Annotated[
        Path,
        typer.Argument(help="Model file to write.", metavar="OUT.safetensors", autocompletion=complete_import),
    ],
    filter: o.ImportFilter = None,  # noqa: A002 - the flag's name
    order: o.OrderOption = None,
    boundary: o.ImportBoundary = None,
    fire_rate: o.FireRate = ModelConfig.fire_rate,
    threshold: o.Threshold = ModelConfig.threshold,
    seed_cells: o.ImportSeedCells = SeedCells.ONE,
    seed_radius: o.ImportSeedRadius = None,
    target: o.ImportTarget = None,
    size: o.ImportSize = None,
    padding: o.Padding = TargetConfig.padding,
    colormap: o.ColormapOption = TargetConfig.colormap,
    alpha: o.AlphaOption = TargetConfig.alpha,
    window: o.WindowOption = TargetConfig.window,
    crop: o.Crop = TargetConfig.crop,
    root: o.Root = None,
    force: o.Force = False,
    quiet: o.Quiet = False,
    json: o.Json = False,
    traceback: o.Traceback = False,
) -> None:
    """Make other people's models ours: render, compare and export then treat them as any other."""
    from ncatool.cli.announce import announce_conversion
    from ncatool.data.sources import resolve_source

    if not os.path.lexists(file):
        raise UsageError(f"no such file: {file}", "give the seed project's .pt, the article's .json, or a state dict")
    if target is not None:
        target = resolve_source(target)
    seed = _make_seed_table(seed_cells, seed_radius)
    announce_conversion(file, out, force)
    request = ImportRequest(filter, order, boundary, fire_rate, threshold, size, padding, seed)
    wanted = None
    look = TargetConfig(colormap=colormap, alpha=alpha, window=window, crop=crop)
    if target is None and look != TargetConfig():
        terminal.print_note("without --target, --colormap, --alpha, --window and --crop say nothing")
    if target is not None:
        wanted = dataclasses.replace(look, source=target, size=size or TargetConfig.size, padding=padding)
    _import_file(file, out, request, wanted, root, force)


@dataclass(frozen=True)
class ImportRequest:
    """What the user says of a model of somebody else's; None: as the file has it."""

    filter: Filter | None
    order: Order | None
    boundary: Boundary | None
    fire_rate: float
    threshold: float
    size: int | None
    padding: int
    seed: Mapping[str, Any]
    """The seed's settings, as the table `[train]` has them; empty for the plain one cell."""


def _make_seed_table(cells: SeedCells, radius: float | None) -> dict[str, Any]:
    """Return what the table `[train]` says of the seed; UsageError for a radius that is out of range or of one cell."""
    if cells is SeedCells.ONE:
        if radius is not None:
            raise UsageError(f"seed-radius is {radius}, but one seed cell has none", "give --seed-cells three, too")
        return {}
    chosen = o.IMPORTED_SEED_RADIUS if radius is None else radius
    check_range("seed-radius", chosen, 1, MAX_SEED_RADIUS)  # 0, as in training, would ask for the picture's size
    return {"seed_cells": cells.value, "seed_radius": chosen}


def _import_file(
    file: Path, out: Path, request: ImportRequest, wanted: TargetConfig | None, root: Path | None, force: bool
) -> None:
    from ncatool.data.targets import load_target
    from ncatool.formats import importing
    from ncatool.nca.model_file import list_tables, save_model
    from ncatool.training.run_files import RunFiles, list_target_files, write_record

    files = RunFiles(out)
    foreign = importing.read_model(file)
    config = _make_config(file, foreign, request)
    print_slowness(prepare_device(0, Device.CPU), [config])
    target = load_target(wanted, root) if wanted is not None else None
    if target is not None and target.others:
        count = len(target.pictures)
        raise UsageError(f"--target names {count} pictures, but an imported model grows one", "name that picture alone")
    if target is not None:
        print_readings([target])
    size = request.size or (ARTICLE_SIDE if _is_article(file) else TargetConfig.size)
    TargetConfig(size=size, padding=request.padding)  # refuses a grid that is too large
    side = size + 2 * request.padding
    seed = importing.make_imported_seed(config.channels, request.seed, (side, side) if target is None else target.shape)
    order = request.order or _guess_order(foreign, config, target, seed)
    files.check(force, [file, *(list_target_files(wanted) if wanted is not None else [])])
    model = importing.convert_model(foreign, config, order, target, side, seed)
    model = dataclasses.replace(model, train=request.seed)
    tables = {**list_tables(model), "origin": importing.describe_origin(file, foreign, order)}
    with files.lock(terminal.print_note):
        files.check(force)  # another process may have written them meanwhile
        save_model(files.model, model)
        write_record(files.record, tables)
        files.remove_training()
    if foreign.ignored:
        terminal.print_note(f"no part of the network, left out: {terminal.clean_line(', '.join(foreign.ignored), 200)}")
    if wanted is None:
        terminal.print_note(f"no --target: its target is what it has grown in {importing.GROWTH_STEPS} steps")
    ending = Ending([files.model, files.record], "", suggest_watching([out]))
    more = ending.describe() if terminal.settings.as_json else {}
    rule = {**dataclasses.asdict(config), "seed_cells": SeedCells.ONE.value, **request.seed}
    result = {"wrote": str(out), **rule, "order": order.value, "from": foreign.kind, **more}
    terminal.print_result(result)
    ending.print()


def _make_config(file: Path, foreign: ForeignModel, request: ImportRequest) -> ModelConfig:
    for name, count, low, high in (("channels", foreign.channels, 4, 256), ("hidden units", foreign.hidden, 1, 4096)):
        if not low <= count <= high:
            raise NcatoolError(
                f"{file} has {count} {name}, but a model has {low} to {high}", "such a model cannot be imported"
            )
    return ModelConfig(
        channels=foreign.channels,
        hidden=foreign.hidden,
        filter=_choose_filter(file, request),
        fire_rate=request.fire_rate,
        threshold=request.threshold,
        boundary=request.boundary or foreign.boundary,
    )


def _guess_order(foreign: ForeignModel, config: ModelConfig, target: Target | None, seed: Seed | None) -> Order:
    """Return the order with which the network grows the target, or the assumed one, and print a note of it."""
    from ncatool.formats.input_order import choose_order, measure_orders

    if target is None:
        terminal.print_note(
            f"--order {foreign.order} is assumed, as for {foreign.kind}; --target PICTURE decides it, or give --order"
        )
        return foreign.order
    errors = measure_orders(foreign.weights, config, target, seed)
    order, grows = choose_order(errors, foreign.order, target)
    found = ", ".join(f"{name} {error:.2g}" if error < 1e3 else f"{name} explodes" for name, error in errors.items())
    checked = ["--size", "--padding", "--filter", *(["--seed-cells"] if config.filter.is_symmetric else [])]
    assumed = f"is assumed: no order grows the target; check {', '.join(checked)}"
    terminal.print_note(f"--order {order} {'grows the target' if grows else assumed} (MSE of {found})")
    return order


def _is_article(file: Path) -> bool:
    return file.suffix.lower() == ".json"


def _choose_filter(file: Path, request: ImportRequest) -> Filter:
    from ncatool.formats.importing import guess_filter

    if request.filter is not None:
        return request.filter
    if _is_article(file):
        return Filter.SOBEL
    guess = guess_filter(file)
    if guess is None:
        raise UsageError(
            f"neither {file.name} nor its name says which filter it was trained with",
            f"give --filter, one of {', '.join(Filter)}",
        )
    terminal.print_note(f"--filter {guess}, as the file's name says")
    return guess
