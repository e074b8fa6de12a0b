"""`ncatool export`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ncatool.cli import options as o
from ncatool.cli import terminal
from ncatool.cli.app import app
from ncatool.cli.complete import complete_export
from ncatool.cli.ending import Ending
from ncatool.cli.help import list_examples
from ncatool.errors import ExitCode, UsageError
from ncatool.files.atomic import check_writable
from ncatool.files.toml import write_toml

if TYPE_CHECKING:
    from ncatool.config.names import ExportFormat
    from ncatool.formats.exporting import Parity


@app.command(
    epilog=list_examples(
        "export phantom phantom.html", "export runs/ gallery.html", "export phantom phantom.onnx --rollout 200"
    )
)
def export(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Model file; for a page also several, or folders that hold some.",
            metavar="MODEL...",
            autocompletion=complete_export,
        ),
    ],
    out: Annotated[
        Path,
        typer.Argument(help="What to write: .html, .onnx, .pt2, .json, .npz or .h."),
    ],
    format: o.FormatOption = None,  # noqa: A002 - the flag's name
    rollout: o.RolloutSteps = 0,
    force: o.Force = False,
    quiet: o.Quiet = False,
    json: o.Json = False,
    traceback: o.Traceback = False,
) -> None:
    """Write a model in a form that runs elsewhere, checked against the dense rule step by step.

    Several models make one page, on which a menu chooses. Beside it lies OUT.toml, the record of the check.
    """
    from ncatool.cli.announce import announce_conversion, announce_gallery
    from ncatool.nca.model_header import require_model
    from ncatool.nca.model_name import find_models

    paths = find_models(models)
    for path in paths:
        require_model(path)
    if len(paths) > 1:
        announce_gallery(paths, out, force)
        return _export_gallery(paths, out, format, rollout, force)
    announce_conversion(paths[0], out, force)
    return _export_model(paths[0], out, format, rollout, force)


def _export_model(model: Path, out: Path, form: ExportFormat | None, rollout: int, force: bool) -> None:
    from ncatool.formats.exporting import choose_format, export_model
    from ncatool.nca.model_file import load_model, read_record
    from ncatool.nca.model_name import find_record

    chosen = choose_format(out, form)
    data = load_model(model)
    sidecar = _locate_record(out)
    check_writable([out, sidecar], force, [model, find_record(model)])
    parity = export_model(data, read_record(model, data), model.stem, out, chosen, rollout, force)
    check = _describe_check(parity, chosen)
    about = {"format": chosen.value, "model": model.name, "ncatool": version("ncatool")}
    write_toml(sidecar, {"export": {**about, **({"rollout": rollout} if rollout else {}), **check}})
    for difference in parity.facts.get("player_differs", []):
        terminal.print_note(f"the article's player has {difference}")
    _print_end(out, chosen, check)


def _export_gallery(paths: Sequence[Path], out: Path, form: ExportFormat | None, rollout: int, force: bool) -> None:
    """Write one page of several models; those that explode at once are left out, and told."""
    from ncatool.config.names import ExportFormat
    from ncatool.formats.exporting import Parity, choose_format, export_gallery
    from ncatool.formats.page import PageModel
    from ncatool.nca.model_file import load_model, read_record
    from ncatool.nca.model_name import find_record, label_models

    chosen = choose_format(out, form)
    if chosen is not ExportFormat.HTML:
        raise UsageError(
            f"{len(paths)} models do not fit into one .{chosen}", "name one model, or a page such as all.html"
        )
    if rollout:
        raise UsageError("--rollout is for .onnx, but this is .html", "leave it out")
    models = [PageModel(data := load_model(path), read_record(path, data), name)
              for path, name in zip(paths, label_models(paths), strict=True)]  # fmt: skip
    sidecar = _locate_record(out)
    check_writable([out, sidecar], force, [*paths, *map(find_record, paths)])
    parities, exploded = export_gallery(models, out, force)
    for name in exploded:
        terminal.print_failure(f"left out: {terminal.clean_line(name, 100)} explodes within a few steps")
    worst = max((parity.difference for parity in parities.values() if parity.difference is not None), default=None)
    check = _describe_check(Parity(worst), chosen)
    rows = [{"model": str(path), **_describe_check(parities[name], chosen)}
            for path, name in zip(paths, label_models(paths), strict=True) if name in parities]  # fmt: skip
    about = {"format": chosen.value, "models": len(rows), "ncatool": version("ncatool"), **check}
    write_toml(sidecar, {"export": about, "model": rows})
    _print_end(out, chosen, {"models": len(rows), **check})
    if exploded:
        raise typer.Exit(ExitCode.FAILED)


def _locate_record(out: Path) -> Path:
    return out.with_name(f"{out.name}.toml")


def _print_end(out: Path, form: ExportFormat, check: Mapping[str, Any]) -> None:
    from ncatool.formats.exporting import EXPORT_KINDS

    if not check["checked"]:
        terminal.print_note(f"not checked: there is no {EXPORT_KINDS[form].needs.removeprefix('a ')} on this machine")
    ending = Ending([out, _locate_record(out)])
    more = ending.describe() if terminal.settings.as_json else {}
    terminal.print_result({"wrote": str(out), "bytes": out.stat().st_size, **check, **more})
    ending.print()
    if out.suffix == ".html":
        terminal.print_note(f"next: open {out} in a browser")


def _describe_check(parity: Parity, form: ExportFormat) -> dict[str, Any]:
    from ncatool.formats.exporting import EXPORT_KINDS, PARITY_STEPS, PARITY_TOLERANCE

    if parity.difference is None:
        return {"checked": False}
    return {
        "checked": True,
        "steps": PARITY_STEPS,
        "largest_difference": parity.difference,
        **({"tolerance": PARITY_TOLERANCE} if EXPORT_KINDS[form].exact else {}),
        **{name: value for name, value in parity.facts.items() if name != "player_differs"},
    }
