"""`ncatool import`."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ncatool.cli import options as o
from ncatool.cli import terminal
from ncatool.cli.app import app
from ncatool.cli.complete import complete_foreign_models, complete_import
from ncatool.cli.ending import Ending, suggest_watching
from ncatool.cli.help import list_examples
from ncatool.cli.training import prepare_device, print_slowness
from ncatool.config.names import Boundary, Device, Filter, Order
from ncatool.config.schema import ModelConfig, TargetConfig
from ncatool.errors import NcatoolError, UsageError

if TYPE_CHECKING:
    from ncatool.data.target import Target
    from ncatool.formats.importing import ForeignModel

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
    target: o.ImportTarget = None,
    size: o.ImportSize = None,
    padding: o.Padding = TargetConfig.padding,
    colormap: o.ColormapOption = TargetConfig.colormap,
    alpha: o.AlphaOption = TargetConfig.alpha,
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
    announce_conversion(file, out, force)
    request = ImportRequest(filter, order, boundary, fire_rate, threshold, size, padding)
    wanted = None
    if target is None and (colormap, alpha) != (TargetConfig.colormap, TargetConfig.alpha):
        terminal.print_note("without --target, --colormap and --alpha say nothing")
    if target is not None:
        wanted = TargetConfig(
            source=target, size=size or TargetConfig.size, padding=padding, colormap=colormap, alpha=alpha
        )
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


def _import_file(
    file: Path, out: Path, request: ImportRequest, wanted: TargetConfig | None, root: Path | None, force: bool
) -> None:
    from ncatool.data.readers import load_target
    from ncatool.formats import importing
    from ncatool.nca.model_file import save_model
    from ncatool.training.run_files import RunFiles, write_record

    files = RunFiles(out)
    foreign = importing.read_model(file)
    config = _make_config(file, foreign, request)
    print_slowness(prepare_device(0, Device.CPU), [config])
    target = load_target(wanted, root) if wanted is not None else None
    order = request.order or _guess_order(foreign, config, target)
    size = request.size or (ARTICLE_SIDE if _is_article(file) else TargetConfig.size)
    TargetConfig(size=size, padding=request.padding)  # refuses a grid that is too large
    files.check(force, [file, *([Path(wanted.source)] if wanted is not None else [])])
    model = importing.convert_model(foreign, config, order, target, size + 2 * request.padding)
    origin = importing.describe_origin(file, foreign, order)
    tables = {"model": dataclasses.asdict(config), "target": model.target.describe(), "origin": origin}
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
    result = {"wrote": str(out), **dataclasses.asdict(config), "order": order.value, "from": foreign.kind, **more}
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


def _guess_order(foreign: ForeignModel, config: ModelConfig, target: Target | None) -> Order:
    """Return the order with which the network grows the target, or the assumed one, and print a note of it."""
    from ncatool.formats.input_order import choose_order, measure_orders

    if target is None:
        terminal.print_note(
            f"--order {foreign.order} is assumed, as for {foreign.kind}; --target PICTURE decides it, or give --order"
        )
        return foreign.order
    errors = measure_orders(foreign.weights, config, target)
    order, grows = choose_order(errors, foreign.order, target)
    found = ", ".join(f"{name} {error:.2g}" if error < 1e3 else f"{name} explodes" for name, error in errors.items())
    reason = "grows the target" if grows else "is assumed: no order grows the target; check --size, --padding, --filter"
    terminal.print_note(f"--order {order} {reason} (MSE of {found})")
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
