"""`ncatool export`."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ncatool.cli import options as o
from ncatool.cli import terminal
from ncatool.cli.app import app
from ncatool.cli.complete import complete_export, complete_models
from ncatool.cli.ending import Ending
from ncatool.cli.help import list_examples
from ncatool.files.atomic import check_writable
from ncatool.files.toml import write_toml

if TYPE_CHECKING:
    from ncatool.config.names import ExportFormat
    from ncatool.formats.exporting import Parity


@app.command(
    epilog=list_examples(
        "export phantom phantom.html", "export phantom phantom.onnx --rollout 200", "export phantom weights.npz"
    )
)
def export(
    model: Annotated[Path, typer.Argument(help="Model file.", autocompletion=complete_models)],
    out: Annotated[
        Path,
        typer.Argument(help="What to write: .html, .onnx, .pt2, .json, .npz or .h.", autocompletion=complete_export),
    ],
    format: o.FormatOption = None,  # noqa: A002 - the flag's name
    rollout: o.RolloutSteps = 0,
    force: o.Force = False,
    quiet: o.Quiet = False,
    json: o.Json = False,
    traceback: o.Traceback = False,
) -> None:
    """Write a model in a form that runs elsewhere, checked against the dense rule step by step.

    Beside it lies OUT.toml, the record of the check.
    """
    from ncatool.cli.announce import announce_conversion
    from ncatool.nca.model_header import require_model
    from ncatool.nca.model_name import find_model

    model = find_model(str(model))
    require_model(model)
    announce_conversion(model, out, force)
    from ncatool.formats.exporting import EXPORT_KINDS, choose_format, export_model
    from ncatool.nca.model_file import load_model, read_record
    from ncatool.nca.model_name import find_record

    chosen = choose_format(out, format)
    sidecar = out.with_name(f"{out.name}.toml")
    data = load_model(model)
    check_writable([out, sidecar], force, [model, find_record(model)])
    parity = export_model(data, read_record(model, data), model.stem, out, chosen, rollout, force)
    check = _describe_check(parity, chosen)
    about = {"format": chosen.value, "model": model.name, "ncatool": version("ncatool")}
    write_toml(sidecar, {"export": {**about, **({"rollout": rollout} if rollout else {}), **check}})
    if parity.difference is None:
        terminal.print_note(f"not checked: there is no {EXPORT_KINDS[chosen].needs.removeprefix('a ')} on this machine")
    for difference in parity.facts.get("player_differs", []):
        terminal.print_note(f"the article's player has {difference}")
    ending = Ending([out, sidecar])
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
