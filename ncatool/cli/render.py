"""`ncatool render`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ncatool.cli import options as o
from ncatool.cli import terminal
from ncatool.cli.app import app
from ncatool.cli.command import Command
from ncatool.cli.complete import complete_rendering
from ncatool.cli.help import list_examples
from ncatool.cli.pictures import PictureOptions, choose_sowings, list_pictures, parse_pair, parse_place
from ncatool.cli.training import prepare_device, print_slowness
from ncatool.config.names import SWITCH_WORDS, Damage, Device, View
from ncatool.config.schema import MAX_SIDE, check_range
from ncatool.errors import UsageError

if TYPE_CHECKING:
    from ncatool.nca.model_file import ModelData
    from ncatool.rendering.playback import Playback

FILE_STEPS, TERMINAL_STEPS = 500, 10_000
"""Steps where `--steps` is not given, with outputs and without."""

SLANTED = "a symmetric filter turns exactly by right angles only; other angles are near, and may drift to one"


class _RenderCommand(Command):
    """`--damage` may stand alone, too, whatever follows it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        pairs = pairwise([*args, ""])
        alone = [word == "--damage" and not _is_script(after) for word, after in pairs]
        whole = ["--damage=random" if bare else word for word, bare in zip(args, alone, strict=True)]
        return super().parse_args(ctx, whole)


def _is_script(word: str) -> bool:
    """Return whether a word says what is erased, and is no file; it may lack its step."""
    shapes = [part.partition(":")[0].strip().lower() for part in word.split(",")]
    return "@" in word or (all(shape in (*Damage, *SWITCH_WORDS) for shape in shapes) and not os.path.lexists(word))


@app.command(
    cls=_RenderCommand,
    epilog=list_examples(
        "render phantom",
        'render phantom healing.gif --damage "left@200,circle@350" --overlay',
        "render phantom chest together.gif sheet.png --scale 8",
        "render cells both.gif --grid 40x72 --at 20,18=monocyte --at 20,54=platelet",
    ),
)
def render(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Model files (several: tiles), then outputs: .gif, .webp, .apng, .mp4, .webm, .png, .svg or .pdf (a "
            "sheet of stages), a folder of frames/, - (a GIF on stdout). Without an output it plays in the terminal.",
            metavar="MODEL... [OUT...]",
            autocompletion=complete_rendering,
        ),
    ],
    steps: o.RenderSteps = None,
    every: o.Every = None,
    fps: o.Fps = None,
    hold: o.Hold = 2,
    scale: o.Scale = 0,
    damage: o.RenderDamage = None,
    background: o.Background = "white",
    view: o.ViewOption = View.RGBA,
    rollouts: o.RenderRollouts = None,
    overlay: o.Overlay = False,
    trim: o.Trim = False,
    grid: o.Grid = None,
    at: o.At = None,
    grow: o.Grow = None,
    morph: o.Morph = None,
    blend: o.Blend = None,
    rotate: o.Rotate = 0,
    mirror: o.MirrorImage = False,
    force: o.Force = False,
    device: o.DeviceOption = Device.AUTO,
    threads: o.Threads = 0,
    seed: o.Seed = 0,
    quiet: o.Quiet = False,
    json: o.Json = False,
    traceback: o.Traceback = False,
) -> None:
    """Grow models from their seeds and show it: animation, video, sheet of stages, or live in the terminal."""
    from ncatool.cli.announce import announce_rendering
    from ncatool.nca.model_header import require_model

    files = _name_models(files)
    require_model(Path(files[0]))
    options = PictureOptions(
        places=[parse_place(text) for text in at or []], grow=grow, morph=morph or [], blend=blend
    )  # fmt: skip
    options.check()
    announce_rendering(files, steps, force)
    from ncatool.nca.model_file import load_model
    from ncatool.nca.model_name import label_models
    from ncatool.nca.picture import parse_background
    from ncatool.rendering import player
    from ncatool.rendering.damage_script import parse_script
    from ncatool.rendering.pace import plan_pace
    from ncatool.rendering.playback import Playback
    from ncatool.rendering.render import check_outputs, list_inputs, split_arguments
    from ncatool.rendering.render import render as write_outputs
    from ncatool.rendering.timeline import RenderSettings, plan_moments

    models, outputs = split_arguments(files)
    if rollouts is not None and view is not View.VARIANCE:
        raise UsageError(f"--rollouts {rollouts} has no meaning for --view {view}", "give --view variance, too")
    chosen = {"steps": steps, "every": every, "fps": fps}
    given = {name for name, value in chosen.items() if value is not None or not outputs}
    steps = steps or (FILE_STEPS if outputs else TERMINAL_STEPS)
    settings = RenderSettings(
        steps=steps, every=every or RenderSettings.every, fps=fps or RenderSettings.fps, hold=hold, scale=scale,
        damage=parse_script(damage or [], steps), seed=seed, background=parse_background(background), view=view,
        rollouts=rollouts or RenderSettings.rollouts, overlay=overlay, trim=trim, grid=_parse_grid(grid),
        at=options.unnamed_places, rotate=rotate, mirror=mirror,
    )  # fmt: skip
    check_outputs(outputs, force, list_inputs(models, settings))
    place = prepare_device(threads, device)
    loaded = {name: load_model(path).move_to(place) for path, name in zip(models, label_models(models), strict=True)}
    print_slowness(place, [model.config for model in loaded.values()])
    if rotate % 90 and any(model.config.filter.is_symmetric for model in loaded.values()):
        terminal.print_note(f"--rotate {rotate:g}: {SLANTED}")
    _print_edge_note(loaded, settings.grid)
    settings = dataclasses.replace(settings, sow=choose_sowings(loaded, options, steps))
    shown = list_pictures(loaded, options)
    settings = plan_pace([*shown.values()], settings, given)
    playbacks = [Playback(model, settings, name) for name, model in shown.items()]
    if outputs:
        count = len(plan_moments(settings))
        write_outputs(playbacks, outputs, settings, lambda frames: terminal.track(frames, count, "frames"), force)
    else:
        if overlay or scale:
            terminal.print_note("--overlay and --scale are for files; the terminal goes without")
        player.play(playbacks, settings)
    _print_errors(playbacks, models, outputs, is_blend=blend is not None)


def _name_models(words: Sequence[str]) -> list[str]:
    """Return the words of the command with the whole names of models: the first is one, others may be."""
    from ncatool.nca.model_name import MODEL_SUFFIX, find_model

    others = [f"{word}{MODEL_SUFFIX}" if _is_short_name(word) else word for word in words[1:]]
    return [str(find_model(words[0])), *others]


def _is_short_name(word: str) -> bool:
    """Return whether a word is the name of a model without its ending, and not that of a folder for frames."""
    from ncatool.nca.model_name import MODEL_SUFFIX, is_file

    return not word.endswith(("/", os.sep)) and not os.path.lexists(word) and is_file(f"{word}{MODEL_SUFFIX}")


def _print_edge_note(models: Mapping[str, ModelData], grid: tuple[int, int] | None) -> None:
    """Say that pictures that have never grown beyond their own edges may do so on a larger grid."""
    edged = [name for name, one in models.items() if grid and grid != one.target.shape and not one.target.padding]
    if edged:
        names = terminal.clean_line(", ".join(edged), 60)
        terminal.print_note(
            f"trained without --padding, so on a larger grid pictures may grow over their edges: {names}"
        )


def _parse_grid(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, width = parse_pair("--grid", text, "x")
    check_range("grid", min(height, width), 1, MAX_SIDE)
    check_range("grid", max(height, width), 1, MAX_SIDE)
    return height, width


def _print_errors(playbacks: list[Playback], models: list[Path], outputs: list[str], is_blend: bool) -> None:
    """Print what was written and how near the targets it ends; nothing on a stdout that is itself an output.

    Seeds between two pictures need not grow either, so their states are not judged.
    """
    from ncatool.cli.ending import Ending, describe_end, suggest_watching
    from ncatool.evaluation.errors import measure_errors
    from ncatool.evaluation.variation import measure_variation

    if "-" in outputs:
        return
    errors = {one.name: {"steps": one.step, **measure_errors(one.state, one.expected)} for one in playbacks}
    words = "" if is_blend else describe_end(errors, [float((one.expected**2).mean()) for one in playbacks])
    ending = Ending(outputs, words, suggest_watching(models, rendered=bool(outputs)))
    for one in playbacks:
        if len(one.state) > 1:
            variation = measure_variation(one.state[..., :4].cpu().numpy())
            more = {"rollouts": variation.count, "deviation": variation.mean_deviation, "nqm": variation.nqm}
            errors[one.name] |= more
    wrote: dict[str, Any] = {"wrote": outputs} if outputs else {}
    more = ending.describe() if terminal.settings.as_json else {}
    if len(playbacks) == 1:
        terminal.print_result({**wrote, **next(iter(errors.values())), **more})
    else:
        terminal.print_results({**wrote, **more}, errors)
    ending.print()
