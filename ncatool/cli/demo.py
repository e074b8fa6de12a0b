"""`ncatool demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ncatool.cli import options as o
from ncatool.cli import terminal
from ncatool.cli.app import app
from ncatool.cli.help import list_examples
from ncatool.cli.paper_outputs import check_distinct
from ncatool.files.atomic import check_writable, write_bytes

DAMAGE, STEPS = "left@150,circle@300", 450
"""What is erased in the animations, and their length: as in the terminal."""


@app.command(epilog=list_examples("demo", "demo page.html healing.gif", "demo cell.safetensors"))
def demo(
    outputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files to write as well: a page for a browser (.html), an animation or video (.gif, .webp, .apng, "
            ".mp4, .webm), a sheet of stages (.png), the model itself (.safetensors).",
            metavar="[OUT...]",
        ),
    ] = None,
    force: o.Force = False,
    quiet: o.Quiet = False,
    json: o.Json = False,
    traceback: o.Traceback = False,
) -> None:
    """Watch a small trained model grow and heal in the terminal; q stops it, d damages it, the space bar pauses."""
    from ncatool.nca.numpy_rule import read_arrays
    from ncatool.rendering.demo import DEMO_MODEL, Demo, list_frames, show_demo

    kinds = _sort_outputs(outputs or [], force)
    demo = Demo(read_arrays(DEMO_MODEL))
    if terminal.can_animate():
        show_demo(demo)
    else:
        for _ in list_frames(demo):
            pass
    _write(DEMO_MODEL, *kinds, force)
    terminal.print_result({**({"wrote": outputs} if outputs else {}), **demo.describe()})
    terminal.print_note("next, a picture of your own: ncatool train photo.png")


def _sort_outputs(outputs: list[str], force: bool) -> tuple[list[Path], list[Path], list[str]]:
    """Return the pages, copies of the model, and renderings to write; raise UsageError where one cannot be written."""
    pages = [Path(text) for text in outputs if text.endswith(".html")]
    copies = [Path(text) for text in outputs if text.endswith(".safetensors")]
    check_distinct([Path(text) for text in outputs])
    check_writable([*pages, *copies], force)
    renderings = [text for text in outputs if not text.endswith((".html", ".safetensors"))]
    if renderings:
        from ncatool.rendering.render import check_outputs

        check_outputs(renderings, force)
    return pages, copies, renderings


def _write(source: Path, pages: list[Path], copies: list[Path], renderings: list[str], force: bool) -> None:
    for path in copies:
        write_bytes(path, source.read_bytes(), force)
    if not pages and not renderings:
        return
    from ncatool.config.names import ExportFormat
    from ncatool.formats.exporting import export_model
    from ncatool.library import load

    terminal.print_note(f"writing {', '.join(map(str, [*pages, *renderings]))}")
    model = load(source)
    for path in pages:
        export_model(model.data, model.record, model.name, path, ExportFormat.HTML, overwrite=force)
    if renderings:
        model.save(*renderings, damage=DAMAGE, steps=STEPS, force=force)
