"""`ncatool train`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer

from ncatool.cli import options as o
from ncatool.cli import terminal
from ncatool.cli.app import app
from ncatool.cli.command import Command
from ncatool.cli.help import list_examples
from ncatool.cli.settings import collect_settings, take_settings
from ncatool.cli.training import complete_run, plan_iterations, prepare_device, print_cost, print_readings
from ncatool.cli.usage import describe_extra, is_target
from ncatool.config.flat import build_config
from ncatool.config.names import Damage
from ncatool.config.schema import SEPARATOR, split_sources
from ncatool.errors import UsageError, shorten


class _TrainCommand(Command):
    """`--damage` takes no value: training erases circles and halves at random."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        kept = [word for before, word in pairwise(["", *args]) if (before, word) != ("--damage", "random")]
        for before, word in pairwise(["", *kept]):
            shape = word.partition("@")[0].partition(":")[0].partition(",")[0]
            if before == "--damage" and shape in list(Damage) and not Path(word).exists():
                raise UsageError(
                    f"ncatool train takes --damage alone, but {shorten(word)} follows it: it erases circles and halves",
                    f"to watch a model heal: ncatool render MODEL OUT.gif --damage {shape}@200",
                )
        return super().parse_args(ctx, kept)


@app.command(
    cls=_TrainCommand,
    epilog=list_examples(
        "train phantom",
        "train photo.png --size 40 --padding 16 --damage",
        "train bloodmnist:train:7 --iterations 1400 --out cell.safetensors",
    ),
)
@take_settings
def train(
    context: typer.Context,
    pictures: o.PositionalTargets = None,
    root: o.Root = None,
    out: o.Out = None,
    minutes: o.Minutes = None,
    force: o.Force = False,
    preview: o.Preview = False,
    tensorboard: o.Tensorboard = None,
    config: o.Config = None,
    quiet: o.Quiet = False,
    json: o.Json = False,
    traceback: o.Traceback = False,
    **settings: Any,
) -> None:
    """Train a model that grows a picture from a seed.

    Writes NAME.safetensors (the model), NAME.toml (the record), NAME.csv and NAME.curve.png (the curve)
    and NAME.checkpoint. Ctrl-C saves all of them; `ncatool resume` goes on.
    """
    given = collect_settings(settings)
    if minutes is not None:
        _drop_iterations(given, context)
    if pictures:
        given["target"] = _join_targets(pictures, root, context)
    build_config(given)  # refuses what has no meaning before torch is imported

    from ncatool.cli.announce import announce_training
    from ncatool.data.default_name import name_model
    from ncatool.data.medmnist import choose_default_source
    from ncatool.nca.model_header import require_model
    from ncatool.nca.model_name import find_model

    if "target" not in given:
        given["target"] = choose_default_source(root)
        if given["target"] == "phantom":
            terminal.print_note("no --target and chestmnist is not fetched: growing the built-in phantom")
    else:
        given["target"] = _check_target(given["target"], root)
    if given.get("from"):
        given["from"] = str(find_model(given["from"]))
        require_model(Path(given["from"]))
    out = out or name_model(given["target"])
    announce_training(build_config(given), given, out, root, force, minutes)
    from ncatool.library import prepare_run  # imports torch, which takes seconds

    prepare = partial(prepare_run, out=out, root=root, force=force, inputs=[config] if config else [])
    run = prepare(given)
    prepare_device(run.config.train.threads, run.config.train.device, run.config)
    if minutes is not None:
        run = prepare({**given, "iterations": plan_iterations(run, minutes)})
    print_readings(run.trainer.target.pictures)
    with run.files.lock(terminal.print_note):
        run.files.check(force)  # another process may have written them meanwhile
        print_cost(run, is_planned=minutes is not None)
        complete_run(run, preview, tensorboard)


def _drop_iterations(given: dict[str, Any], context: typer.Context) -> None:
    """Leave out the iterations of a file of settings, which `--minutes` replaces; those of a flag contradict it."""
    source = context.get_parameter_source("iterations")
    if source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT"):
        raise UsageError(
            "--minutes decides how many iterations there are, but --iterations is given", "give one of them"
        )
    given.pop("iterations", None)


def _join_targets(pictures: Sequence[str], root: Path | None, context: typer.Context) -> str:
    """Return the targets that stand alone on the command line; they win over environment and file of settings."""
    source = context.get_parameter_source("target")
    if source is not None and source.name == "COMMANDLINE":
        named = shorten(context.params["target"])
        raise UsageError(f"the target is given twice: {shorten(pictures[0])} and --target {named}", "give one of them")
    outputs = [word for word in pictures[1:] if not is_target(word, root)]
    if outputs:
        raise describe_extra(outputs, context.command, context.command_path)
    return SEPARATOR.join(pictures)


def _check_target(source: str, root: Path | None) -> str:
    """Return the text of a target in its usual form; UsageError where it names nothing, or a file that is none."""
    from ncatool.data.sources import resolve_source
    from ncatool.nca.model_header import read_header

    resolved = resolve_source(source, root)
    for path in map(Path, split_sources(resolved)):
        if read_header(path) is not None:
            advice = f"go on training it: ncatool resume {path}; from its weights: ncatool train TARGET --from {path}"
            raise UsageError(f"{path} is a model, not a target", advice)
        if path.suffix == ".toml" and path.is_file():
            raise UsageError(f"{path} holds settings, not a picture", f"repeat its run: ncatool train --config {path}")
    return resolved
