"""The command line's options, one alias each, shared by every command that has them."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from ncatool.cli.terminal import settings
from ncatool.config.names import (
    Alpha,
    Boundary,
    Colormap,
    Device,
    ExportFormat,
    Filter,
    Loss,
    Metric,
    Order,
    Precision,
    Regime,
    Schedule,
    View,
)
from ncatool.config.schema import ModelConfig, TargetConfig, TrainConfig
from ncatool.config.tables import read_table
from ncatool.errors import UsageError
from ncatool.files.toml import read_toml

Command = TypeVar("Command", bound=Callable[..., None])

TARGET, TRAINING, RULE, OUTPUT, RUN, PICTURE, DOWNLOAD, SAMPLES, MEASURES = (
    "Target", "Training", "The rule", "Output", "Running", "Picture", "Download", "Samples", "Measures",
)  # fmt: skip


def _option(panel: str, name: str, text: str, *names: str, **more: Any) -> Any:
    """A flag with its environment variable; `--learning-rate` also reads NCATOOL_LEARNING_RATE."""
    variable = f"NCATOOL_{name.replace('-', '_').upper()}"
    return typer.Option(
        f"--{name}", *names, help=text, rich_help_panel=panel, envvar=variable, show_envvar=False, **more
    )


def _settings(path: Path) -> dict[str, Any]:
    """A run's record, or a file of the same form, as values of flags."""
    tables = read_toml(path)
    unknown = set(tables) - {"format", "model", "target", "train", "result", "environment", "history", "origin"}
    if unknown:
        raise UsageError(f"{path}: unknown table [{min(unknown)}]", "choose from [model], [target], [train]")
    for name in ("model", "target", "train"):
        if not isinstance(tables.get(name, {}), dict):
            raise UsageError(
                f"{path}: [{name}] is {tables[name]!r}, which is no table",
                f"write [{name}] as a table, on a line of its own",
            )
    model, target, train = (dict(tables.get(name, {})) for name in ("model", "target", "train"))
    described = {name: target[name] for name in ("source", "size", "padding", "colormap", "alpha") if name in target}
    for kind, table in ((ModelConfig, model), (TargetConfig, described), (TrainConfig, train)):
        read_table(kind, table, str(path))
    if "min_steps" in train or "max_steps" in train:
        low = train.pop("min_steps", TrainConfig.min_steps)
        train["steps"] = f"{low}-{train.pop('max_steps', TrainConfig.max_steps)}"
    if "source" in described:
        described["target"] = described.pop("source")
    return {**model, **described, **train}


def _use_config(context: typer.Context, path: Path | None) -> Path | None:
    if path is not None:
        context.default_map = {**(context.default_map or {}), **_settings(path)}
    return path


_OTHERWISE = {
    "damage": "Whether states are damaged.",
    "threads": "CPU threads of each run; 0: as many as are left for it.",
}
"""What flags of `train` mean where there are many runs."""


def with_settings_of(train: Callable[..., None]) -> Callable[[Command], Command]:
    """Gives a command that takes **settings each flag of `train` that it lacks, for several values by commas."""

    def extended(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True)
        ours = [one for one in own.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        skipped = {one.name for one in ours} | {"preview", "tensorboard", "config"}
        theirs = inspect.signature(train, eval_str=True).parameters.values()
        several = [_several(one) for one in theirs if one.name not in skipped]
        command.__signature__ = own.replace(parameters=[*ours, *several])  # type: ignore[attr-defined]
        return command

    return extended


def _several(parameter: inspect.Parameter) -> inspect.Parameter:
    option = copy.copy(parameter.annotation.__metadata__[0])
    if parameter.name == "checkpoint":  # nothing to vary
        return parameter.replace(annotation=Annotated[bool | None, option], default=None)
    option.metavar = "VALUE,..."
    option.help = _OTHERWISE.get(parameter.name, option.help)
    if parameter.name == "damage":
        option.metavar = "yes|no|both"
    if not isinstance(option.show_default, str):
        option.show_default = str(parameter.default)
    return parameter.replace(annotation=Annotated[str | None, option], default=None)


def _be_quiet(value: bool) -> bool:
    settings.quiet = value
    return value


def _speak_json(value: bool) -> bool:
    settings.as_json = value
    return value


def _show_traceback(value: bool) -> bool:
    settings.traceback = value
    return value


Config = Annotated[
    Path | None,
    _option(
        RUN, "config", "TOML file of settings, such as a run's own NAME.toml. Flags and environment win.",
        callback=_use_config, is_eager=True, metavar="FILE.toml",
    ),
]  # fmt: skip
Quiet = Annotated[bool, _option(RUN, "quiet", "Say nothing on stderr but errors.", "-q", callback=_be_quiet)]
Json = Annotated[bool, _option(RUN, "json", "Print one JSON object on stdout.", callback=_speak_json)]
Traceback = Annotated[
    bool, _option(RUN, "traceback", "Show where in the code an error arose.", callback=_show_traceback, is_eager=True)
]
Force = Annotated[bool, _option(OUTPUT, "force", "Overwrite files that exist.", "-f")]
Threads = Annotated[int, _option(RUN, "threads", "CPU threads; 0 takes all there are.")]
Seed = Annotated[int, _option(RUN, "seed", "Seed of every random generator.")]
DeviceOption = Annotated[Device, _option(RUN, "device", "Where to compute; auto: on a CUDA GPU if there is one.")]
PrecisionOption = Annotated[
    Precision, _option(TRAINING, "precision", "Of the factors of the network's products; all else is float32.")
]

TargetSpec = Annotated[
    str | None,
    _option(
        TARGET, "target", "[b]phantom[/b], an image file, or a MedMNIST sample as FLAG\\[@SIZE]\\[:SPLIT\\[:INDEX]].",
        "-t", show_default="chestmnist if fetched, else phantom", metavar="TARGET",
    ),
]  # fmt: skip
Size = Annotated[int, _option(TARGET, "size", "Longer side of the picture, in cells.")]
Padding = Annotated[int, _option(TARGET, "padding", "Empty cells around the picture, on each side.")]
ColormapOption = Annotated[
    Colormap,
    _option(TARGET, "colormap", "Colours of a grey MedMNIST sample, from its darkest value to its brightest."),
]
AlphaOption = Annotated[
    Alpha,
    _option(
        TARGET, "alpha", "Dark pixels: as they are; transparent as far as they are dark; transparent below a tenth."
    ),
]
Root = Annotated[
    Path | None,
    typer.Option(
        "--root", help="Folder of MedMNIST files.", rich_help_panel=TARGET, envvar="NCATOOL_DATA",
        show_default="the user's cache", metavar="FOLDER",
    ),
]  # fmt: skip

Iterations = Annotated[
    int | None,
    _option(
        TRAINING,
        "iterations",
        "Optimiser steps.",
        "-n",
        show_default="100 for each cell of --size, 175 with damage",
    ),
]
LearningRate = Annotated[float, _option(TRAINING, "learning-rate", "Peak learning rate of Adam.")]
ScheduleOption = Annotated[
    Schedule, _option(TRAINING, "schedule", "How the learning rate falls after a short warm-up.")
]
BatchSize = Annotated[int, _option(TRAINING, "batch-size", "Rollouts an iteration.")]
PoolSize = Annotated[int, _option(TRAINING, "pool-size", "States kept between iterations.")]
RegimeOption = Annotated[
    Regime | None,
    _option(
        TRAINING, "regime", "Rollouts from the seed; from a pool; from a pool with damage.",
        show_default=TrainConfig.regime.value,
    ),
]  # fmt: skip
DamageFlag = Annotated[bool, _option(TRAINING, "damage", "Short for --regime regenerating.")]
Damaged = Annotated[int, _option(TRAINING, "damaged", "States of a batch that are damaged, when regenerating.")]
LossOption = Annotated[Loss, _option(TRAINING, "loss", "What to minimise.")]
Margin = Annotated[float, _option(TRAINING, "margin", "Error per channel that costs nothing, for --loss hinge.")]
Steps = Annotated[
    str | None,
    _option(
        TRAINING,
        "steps",
        "Steps of a rollout, drawn anew each iteration.",
        metavar="MIN-MAX",
        show_default="by size: 45-76 for 28 cells, 56-87 with damage",
    ),
]

Channels = Annotated[int, _option(RULE, "channels", "Channels of a cell, RGBA included.")]
Hidden = Annotated[int, _option(RULE, "hidden", "Hidden units of the update network.")]
FilterOption = Annotated[Filter, _option(RULE, "filter", "Kernel that a cell perceives its neighbours through.")]
FireRate = Annotated[float, _option(RULE, "fire-rate", "Chance that a cell updates in a step.")]
Threshold = Annotated[float, _option(RULE, "threshold", "Alpha above which a cell keeps its neighbours alive.")]
BoundaryOption = Annotated[
    Boundary, _option(RULE, "boundary", "What lies beyond the edge: nothing, or the other edge.")
]

Out = Annotated[Path, _option(OUTPUT, "out", "Model file; the run's other files stand beside it.", "-o")]
CheckpointEvery = Annotated[
    int,
    _option(
        OUTPUT, "checkpoint-every", "Iterations between two checkpoints.",
        show_default="200, or more where writing takes over 2 % of the time",
    ),
]  # fmt: skip
Checkpoint = Annotated[
    bool,
    typer.Option(
        "--checkpoint/--no-checkpoint", help="Write checkpoints, so that the run can be resumed.",
        rich_help_panel=OUTPUT,
    ),
]  # fmt: skip
Initial = Annotated[
    str,
    typer.Option(
        "--from", help="Start from the weights of this model, with its channels, hidden units and filter.",
        rich_help_panel=TRAINING, show_default=False, metavar="MODEL",
    ),
]  # fmt: skip
MoreIterations = Annotated[
    int | None, typer.Option("--iterations", "-n", help="Iterations in all.", show_default="as planned", min=1)
]
NewLearningRate = Annotated[
    float | None,
    typer.Option("--learning-rate", help="Another peak learning rate.", show_default="as before"),
]
NewCheckpointEvery = Annotated[
    int | None,
    typer.Option("--checkpoint-every", help="Iterations between two checkpoints.", show_default="as before", min=1),
]
NewDevice = Annotated[Device | None, typer.Option("--device", help="Where to compute.", show_default="as before")]
NewThreads = Annotated[int | None, typer.Option("--threads", help="CPU threads.", show_default="as before")]
Preview = Annotated[bool, _option(OUTPUT, "preview", "Draw target and current state in the terminal, live.")]
Tensorboard = Annotated[
    Path | None,
    _option(
        OUTPUT, "tensorboard", "Log loss, learning rate, PSNR and the grown image for TensorBoard.",
        metavar="FOLDER", show_default=False,
    ),
]  # fmt: skip

RenderSteps = Annotated[
    int | None,
    _option(
        PICTURE, "steps", "Steps from the seed.", min=1, max=1_000_000, show_default="500; in the terminal 10000"
    ),
]  # fmt: skip
Every = Annotated[int, _option(PICTURE, "every", "Steps between two frames.", min=1)]
Fps = Annotated[float, _option(PICTURE, "fps", "Frames a second.", min=0.1, max=50)]
Scale = Annotated[
    int, _option(PICTURE, "scale", "Pixels a cell and side; 0 chooses a comfortable size.", min=0, max=64)
]
RenderDamage = Annotated[
    list[str] | None,
    _option(
        PICTURE, "damage",
        "What is erased, and after which step: circle@200, or \"left@300,square:0.4@500\"; "
        "alone: a random circle, ten times.",
        metavar="[SHAPE@STEP,...]", show_default=False,
    ),
]  # fmt: skip
Background = Annotated[
    str, _option(PICTURE, "background", "Behind transparent cells: a colour by name or #code, checker, transparent.")
]
Hold = Annotated[float, _option(PICTURE, "hold", "Seconds that the last frame stays.", min=0, max=60)]
ViewOption = Annotated[View, _option(PICTURE, "view", "What is shown of the cells.")]
Overlay = Annotated[bool, _option(PICTURE, "overlay", "Step counter and curve of the error below the picture.")]
Trim = Annotated[bool, _option(PICTURE, "trim", "Cut off what lies around the target.")]
Grid = Annotated[
    str | None,
    _option(PICTURE, "grid", "Cells of the grid.", metavar="HxW", show_default="as trained"),
]
At = Annotated[
    list[str] | None,
    _option(PICTURE, "at", "Seed cell, by row and column; may be repeated.", metavar="Y,X", show_default="the middle"),
]
Rotate = Annotated[
    float, _option(PICTURE, "rotate", "Turn the cells' sense of direction, counter-clockwise.", metavar="DEGREES")
]

Rollouts = Annotated[int, _option(MEASURES, "rollouts", "Independent rollouts of each model.", min=1, max=4096)]
TrialSteps = Annotated[int, _option(MEASURES, "steps", "Steps of each rollout.", min=200, max=1_000_000)]
MetricOption = Annotated[Metric, _option(MEASURES, "metric", "How the table tells errors.")]
Sort = Annotated[
    str | None,
    typer.Option(
        "--sort", help="Measure or column to sort by, the best first.", rich_help_panel=MEASURES, metavar="COLUMN",
        show_default="filter, loss, damage, target",
    ),
]  # fmt: skip


def _written(name: str, text: str, metavar: str) -> Any:
    return typer.Option(f"--{name}", help=text, rich_help_panel=OUTPUT, metavar=metavar, show_default=False)


Csv = Annotated[Path | None, _written("csv", "Write all measures, a row a model.", "OUT.csv")]
ComparePicture = Annotated[
    Path | None, _written("picture", "Write stages, wound and error of each model as a sheet.", "OUT.png")
]
Animation = Annotated[
    Path | None, _written("animation", "Write all models growing side by side, wounded together.", "OUT.gif")
]
Report = Annotated[Path | None, _written("report", "Write one page of numbers, curves and pictures.", "OUT.html")]

FormatOption = Annotated[
    ExportFormat | None,
    typer.Option("--format", help="What to write, whatever the ending.", rich_help_panel=OUTPUT, show_default=False),
]
RolloutSteps = Annotated[
    int,
    typer.Option(
        "--rollout", help="ONNX: so many steps at once, which draw their own fire masks; 0: one step.",
        rich_help_panel=OUTPUT, min=0, max=100_000,
    ),
]  # fmt: skip
ImportFilter = Annotated[
    Filter | None,
    typer.Option(
        "--filter", help="Kernel that the model was trained with.", rich_help_panel=RULE,
        show_default="by the file's name; the article's: sobel",
    ),
]  # fmt: skip
OrderOption = Annotated[
    Order | None,
    typer.Option(
        "--order", help="Inputs of the network: by filter, or by channel.", rich_help_panel=RULE,
        show_default="the seed project's: interleaved, else blocked",
    ),
]  # fmt: skip
ImportBoundary = Annotated[
    Boundary | None,
    typer.Option(
        "--boundary", help="What lies beyond the edge.", rich_help_panel=RULE,
        show_default="the article's: wrap, else zero",
    ),
]  # fmt: skip
ImportTarget = Annotated[
    str | None,
    typer.Option(
        "--target", "-t", help="The picture that it grows, as for train.", rich_help_panel=TARGET, metavar="TARGET",
        show_default="what it grows in 200 steps",
    ),
]  # fmt: skip
ImportSize = Annotated[
    int | None,
    typer.Option(
        "--size", help="Longer side of the picture, in cells; without a target, of the grid.", rich_help_panel=TARGET,
        min=1, max=1024, show_default="28; the article's: 72",
    ),
]  # fmt: skip

Flags = Annotated[list[str] | None, typer.Argument(help="MedMNIST sets by name, or all.", metavar="FLAG...")]
Pixels = Annotated[int, typer.Option("--size", help="Pixels a side: 28, 64, 128 or 224.", rich_help_panel=DOWNLOAD)]
Mirror = Annotated[str | None, _option(DOWNLOAD, "mirror", "URL of a folder that holds the same files.", metavar="URL")]
From = Annotated[
    Path | None,
    typer.Option("--from", help="Take this file instead of downloading.", rich_help_panel=DOWNLOAD, metavar="FILE.npz"),
]
Timeout = Annotated[
    float, _option(DOWNLOAD, "timeout", "Seconds to connect, and seconds of silence, at most.", min=0.1)
]
Retries = Annotated[int, _option(DOWNLOAD, "retries", "Tries without progress, after the first.", min=0)]
List = Annotated[bool, typer.Option("--list", help="List all sets, and which are here.", rich_help_panel=DOWNLOAD)]
Show = Annotated[
    int | None,
    typer.Option(
        "--show", help="Write a sheet of this many samples.", rich_help_panel=SAMPLES, min=1, max=400,
        show_default=False, metavar="N",
    ),
]  # fmt: skip
Split = Annotated[
    str, typer.Option("--split", help="Samples of train, val or test.", rich_help_panel=SAMPLES, metavar="SPLIT")
]
Pick = Annotated[
    tuple[str, Path] | None,
    typer.Option(
        "--pick", help="Write one sample to a PNG; of a volume one slice.", rich_help_panel=SAMPLES,
        metavar="SPLIT:INDEX[:PLANE[:SLICE]] OUT.png", show_default=False,
    ),
]  # fmt: skip
SheetOut = Annotated[
    Path | None, typer.Option("--out", "-o", help="PNG that --show or --random writes.", rich_help_panel=SAMPLES,
    show_default="FLAG-SPLIT[-INDEX].png"),
]  # fmt: skip
Random = Annotated[bool, typer.Option("--random", help="Choose at random, by --seed.", rich_help_panel=SAMPLES)]

SweepFile = Annotated[
    Path | None,
    typer.Argument(
        help="Plan: TOML with \\[base], \\[grid], \\[\\[runs]], \\[replicates].",
        metavar="SWEEP.toml",
        show_default=False,
    ),
]
SweepOut = Annotated[Path, _option(OUTPUT, "out", "Folder of all files of the sweep.", "-o", metavar="FOLDER")]
Jobs = Annotated[
    int,
    _option(
        RUN, "jobs", "Runs at a time.", "-j", min=0, max=1024,
        show_default="one for each processor, as far as runs and memory go",
    ),
]  # fmt: skip
Vectorise = Annotated[
    bool,
    _option(RUN, "vectorise", "Train all runs at once in one process, as one batch of a GPU; --jobs says how many."),
]
Scheduler = Annotated[
    str | None,
    _option(
        RUN, "scheduler", "Have the runs done by a Dask cluster: address or file of its scheduler.",
        metavar="tcp://HOST:8786", show_default=False,
    ),
]  # fmt: skip
Most = Annotated[int, _option(RUN, "most", "Runs that may be meant; more are taken for a mistake.", min=1)]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Print the runs and, by a short trial, how long they take.", rich_help_panel=RUN),
]
Compare = Annotated[
    bool,
    typer.Option(
        "--compare/--no-compare", help="At the end, compare all models as `ncatool compare` does.",
        rich_help_panel=OUTPUT,
    ),
]  # fmt: skip
