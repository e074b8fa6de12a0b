"""The command line's options, one alias each, shared by every command that has them."""

from __future__ import annotations

import keyword
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ncatool.cli.complete import (
    complete_masks,
    complete_sets,
    complete_settings,
    complete_targets,
    complete_windows,
)
from ncatool.cli.terminal import settings
from ncatool.config.flat import flatten_record
from ncatool.config.names import (
    Boundary,
    Colormap,
    Device,
    ExportFormat,
    Filter,
    Metric,
    Order,
    SeedCells,
    View,
)
from ncatool.files.toml import read_toml

TARGET, TRAINING, RULE, OUTPUT, RUN, PICTURE, DOWNLOAD, SAMPLES, MEASURES_PANEL = (
    "Target", "Training", "The rule", "Output", "Running", "Picture", "Download", "Samples", "Measures",
)  # fmt: skip


def make_option(panel: str, name: str, text: str, *names: str, **more: Any) -> Any:
    """Return a flag and its short names, with its help in one of the panels; its variable is the command's matter."""
    return typer.Option(f"--{name}", *names, help=text, rich_help_panel=panel, case_sensitive=False, **more)


def name_parameter(setting: str) -> str:
    """Return the name of the Python parameter of a setting: `from`, which is a keyword, gets an underscore."""
    return f"{setting}_" if keyword.iskeyword(setting) else setting


def _use_config(context: typer.Context, path: Path | None) -> Path | None:
    if path is not None and not context.resilient_parsing:  # else only a completion is asked for
        values = flatten_record(read_toml(path), str(path))
        named = {name_parameter(name): value for name, value in values.items()}
        context.default_map = {**(context.default_map or {}), **named}
    return path


def _set_quiet(value: bool) -> bool:
    settings.quiet = value
    return value


def _set_json(value: bool) -> bool:
    settings.as_json = value
    return value


def _set_traceback(value: bool) -> bool:
    settings.traceback = value
    return value


Config = Annotated[
    Path | None,
    make_option(
        RUN, "config", "TOML file of settings, such as a run's own NAME.toml. Flags and environment win.",
        callback=_use_config, is_eager=True, metavar="FILE.toml", autocompletion=complete_settings,
    ),
]  # fmt: skip
Quiet = Annotated[bool, make_option(RUN, "quiet", "Say nothing on stderr but errors.", "-q", callback=_set_quiet)]
Json = Annotated[bool, make_option(RUN, "json", "Print one JSON object on stdout.", callback=_set_json)]
Traceback = Annotated[
    bool,
    make_option(RUN, "traceback", "Show where in the code an error arose.", callback=_set_traceback, is_eager=True),
]
Force = Annotated[bool, make_option(OUTPUT, "force", "Overwrite files that exist.", "-f")]
Threads = Annotated[int, make_option(RUN, "threads", "CPU threads; 0 takes all there are.")]
Seed = Annotated[int, make_option(RUN, "seed", "Seed of every random generator.")]
DeviceOption = Annotated[Device, make_option(RUN, "device", "Where to compute; auto: on a CUDA GPU if there is one.")]

Padding = Annotated[int, make_option(TARGET, "padding", "Empty cells around the picture, on each side.")]
ColormapOption = Annotated[
    Colormap,
    make_option(TARGET, "colormap", "Colours of a grey MedMNIST sample, from its darkest value to its brightest."),
]
AlphaOption = Annotated[
    str,
    make_option(
        TARGET, "alpha",
        "What is transparent: nothing (opaque); pixels as far as they are dark (luminance); those below a tenth "
        "(threshold); what is outside a mask.",
        metavar="RULE|MASK", autocompletion=complete_masks,
    ),
]  # fmt: skip
WindowOption = Annotated[
    str,
    make_option(
        TARGET, "window",
        "Values that become black and white: as the file proposes, else its lowest and highest (auto); its lowest and "
        "highest (full); LOW:HIGH, DICOM's centre - width / 2 and centre + width / 2; or those of lung, bone, brain, "
        "soft in CT.",
        metavar="NAME|LOW:HIGH", autocompletion=complete_windows,
    ),
]  # fmt: skip
Crop = Annotated[
    str,
    make_option(
        TARGET, "crop", "Part of the picture, in its own pixels from its top left corner.",
        metavar="Y,X,HEIGHT,WIDTH", show_default="all of it",
    ),
]  # fmt: skip
Root = Annotated[
    Path | None,
    typer.Option(
        "--root", help="Folder of MedMNIST files.", rich_help_panel=TARGET, envvar="NCATOOL_DATA",
        show_default="the user's cache", metavar="FOLDER",
    ),
]  # fmt: skip

PositionalTargets = Annotated[
    list[str] | None,
    typer.Argument(
        help="The picture: phantom, a file, or a MedMNIST sample; the same as --target. Several for one model of all.",
        metavar="TARGET...",
        show_default=False, autocompletion=complete_targets,
    ),
]  # fmt: skip

FireRate = Annotated[float, make_option(RULE, "fire-rate", "Chance that a cell updates in a step.")]
Threshold = Annotated[float, make_option(RULE, "threshold", "Alpha above which a cell keeps its neighbours alive.")]

Out = Annotated[
    Path | None,
    make_option(
        OUTPUT, "out", "Model file; the run's other files stand beside it.", "-o",
        show_default="named after the target, such as phantom.safetensors", metavar="NAME.safetensors",
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
NewDevice = Annotated[
    Device | None, typer.Option("--device", case_sensitive=False, help="Where to compute.", show_default="as before")
]
NewThreads = Annotated[int | None, typer.Option("--threads", help="CPU threads.", show_default="as before")]
Minutes = Annotated[
    float | None,
    make_option(
        TRAINING, "minutes", "As many iterations as fit in this time, in place of --iterations.",
        min=0.05, max=100_000, show_default=False,
    ),
]  # fmt: skip
Preview = Annotated[bool, make_option(OUTPUT, "preview", "Draw target and current state in the terminal, live.")]
Tensorboard = Annotated[
    Path | None,
    make_option(
        OUTPUT, "tensorboard", "Log loss, learning rate, PSNR and the grown image for TensorBoard.",
        metavar="FOLDER", show_default=False,
    ),
]  # fmt: skip

RenderSteps = Annotated[
    int | None,
    make_option(
        PICTURE, "steps", "Steps from the seed.", min=1, max=1_000_000,
        show_default="until it has settled, at most 500; in the terminal 10000"
    ),
]  # fmt: skip
Every = Annotated[
    int | None,
    make_option(
        PICTURE, "every", "Steps between two frames.", min=1, show_default="few while it grows or heals, then more"
    ),
]
Fps = Annotated[
    float | None,
    make_option(PICTURE, "fps", "Frames a second.", min=0.1, max=50, show_default="25, and half a second for the seed"),
]
Scale = Annotated[
    int,
    make_option(
        PICTURE, "scale", "Pixels a cell and side; 0: as many as make the picture about 400 wide.", min=0, max=64
    ),
]
RenderDamage = Annotated[
    list[str] | None,
    make_option(
        PICTURE, "damage",
        "What is erased, and after which step: circle@200, or \"left@300,square:0.4@500\"; "
        "alone: a random circle every 100 steps, once it has grown.",
        metavar="[SHAPE@STEP,...]", show_default=False,
    ),
]  # fmt: skip
Background = Annotated[
    str,
    make_option(PICTURE, "background", "Behind transparent cells: a colour by name or #code, checker, transparent."),
]
Hold = Annotated[float, make_option(PICTURE, "hold", "Seconds that the last frame stays.", min=0, max=60)]
ViewOption = Annotated[View, make_option(PICTURE, "view", "What is shown of the cells.")]
RenderRollouts = Annotated[
    int | None,
    make_option(PICTURE, "rollouts", "Rollouts that --view variance compares.", min=2, max=4096, show_default="16"),
]
Overlay = Annotated[bool, make_option(PICTURE, "overlay", "Step counter and curve of the error below the picture.")]
Trim = Annotated[bool, make_option(PICTURE, "trim", "Cut off what lies around the target.")]
Grid = Annotated[
    str | None,
    make_option(PICTURE, "grid", "Cells of the grid.", metavar="HxW", show_default="as trained"),
]
At = Annotated[
    list[str] | None,
    make_option(
        PICTURE, "at", "Middle of a seed, by row and column; may be repeated, for several pictures with names.",
        metavar="Y,X[=NAME]", show_default="the middle",
    ),
]  # fmt: skip
Grow = Annotated[
    str | None,
    make_option(
        PICTURE, "grow", "Which pictures of a model of several, by their names.", metavar="NAME,...",
        show_default="all",
    ),
]  # fmt: skip
Morph = Annotated[
    list[str] | None,
    make_option(
        PICTURE, "morph", "Another picture's seed, sown into what has grown, and after which step.",
        metavar="NAME@STEP,...", show_default=False,
    ),
]  # fmt: skip
Blend = Annotated[
    str | None,
    make_option(
        PICTURE, "blend", "What grows from seeds between those of two pictures.", metavar="NAME:NAME",
        show_default=False,
    ),
]  # fmt: skip
Rotate = Annotated[
    float,
    make_option(PICTURE, "rotate", "Grow the picture turned, counter-clockwise about the seed.", metavar="DEGREES"),
]
MirrorImage = Annotated[
    bool, make_option(PICTURE, "mirror", "Grow the mirror image, left and right exchanged; then --rotate turns it.")
]

Rollouts = Annotated[
    int, make_option(MEASURES_PANEL, "rollouts", "Independent rollouts of each model.", min=1, max=4096)
]
EvaluationSteps = Annotated[int, make_option(MEASURES_PANEL, "steps", "Steps of each rollout.", min=200, max=1_000_000)]
MetricOption = Annotated[Metric, make_option(MEASURES_PANEL, "metric", "The unit of errors in the table.")]
Sort = Annotated[
    str | None,
    typer.Option(
        "--sort", help="Measure or column to sort by, its best value first.", rich_help_panel=MEASURES_PANEL,
        metavar="COLUMN",
        show_default="filter, loss, damage, target",
    ),
]  # fmt: skip


def _make_output_option(name: str, text: str, metavar: str) -> Any:
    return typer.Option(f"--{name}", help=text, rich_help_panel=OUTPUT, metavar=metavar, show_default=False)


Csv = Annotated[Path | None, _make_output_option("csv", "Write all measures, a row a model.", "OUT.csv")]
Table = Annotated[
    Path | None, _make_output_option("table", "Write the table for a paper, as LaTeX or Markdown.", "OUT.tex|.md")
]
Curves = Annotated[
    Path | None,
    _make_output_option("curves", "Write error and recovery step by step, medians and quartiles.", "OUT.csv"),
]
ComparePicture = Annotated[
    Path | None,
    _make_output_option(
        "picture", "Write stages, error and variation of each model as a sheet: .png, .svg or .pdf.", "OUT.png"
    ),
]
Animation = Annotated[
    Path | None, _make_output_option("animation", "Write all models growing side by side, damaged together.", "OUT.gif")
]
Report = Annotated[
    Path | None, _make_output_option("report", "Write one page of numbers, curves and pictures.", "OUT.html")
]

FormatOption = Annotated[
    ExportFormat | None,
    typer.Option(
        "--format",
        case_sensitive=False,
        help="What to write, whatever the ending.",
        rich_help_panel=OUTPUT,
        show_default=False,
    ),
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
        "--filter", case_sensitive=False, help="Filter that the model was trained with.", rich_help_panel=RULE,
        show_default="by the file's name; the article's: sobel",
    ),
]  # fmt: skip
OrderOption = Annotated[
    Order | None,
    typer.Option(
        "--order", case_sensitive=False,
        help="Inputs of the network: by filter, by channel, or by filter with the axes exchanged.",
        rich_help_panel=RULE, show_default="the one that grows --target; without one, by the file",
    ),
]  # fmt: skip
ImportBoundary = Annotated[
    Boundary | None,
    typer.Option(
        "--boundary", case_sensitive=False, help="What lies beyond the edge.", rich_help_panel=RULE,
        show_default="the article's: wrap, else zero",
    ),
]  # fmt: skip
ImportSeedCells = Annotated[
    Literal[SeedCells.ONE, SeedCells.THREE],  # none of these files says it, so nothing can be chosen automatically
    make_option(RULE, "seed-cells", "Cells that it grows from; three: as `ncatool train` lays them out."),
]
IMPORTED_SEED_RADIUS = 2.0
"""Default of `import`; that of `train` depends on the picture, which other programs do not know."""
ImportSeedRadius = Annotated[
    float | None,
    make_option(
        RULE, "seed-radius", "Distance of three seed cells from the middle.", show_default=f"{IMPORTED_SEED_RADIUS}"
    ),
]
ImportTarget = Annotated[
    str | None,
    typer.Option(
        "--target", "-t", help="The picture that it grows, as for train.", rich_help_panel=TARGET, metavar="TARGET",
        autocompletion=complete_targets,
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

Flags = Annotated[
    list[str] | None,
    typer.Argument(help="MedMNIST sets by name, or all.", metavar="FLAG...", autocompletion=complete_sets),
]
Pixels = Annotated[int, typer.Option("--size", help="Pixels a side: 28, 64, 128 or 224.", rich_help_panel=DOWNLOAD)]
Mirror = Annotated[
    str | None, make_option(DOWNLOAD, "mirror", "URL of a folder that holds the same files.", metavar="URL")
]
From = Annotated[
    Path | None,
    typer.Option("--from", help="Take this file instead of downloading.", rich_help_panel=DOWNLOAD, metavar="FILE.npz"),
]
Timeout = Annotated[
    float, make_option(DOWNLOAD, "timeout", "Seconds to connect, and seconds of silence, at most.", min=0.1, max=86_400)
]
Retries = Annotated[int, make_option(DOWNLOAD, "retries", "Tries without progress, after the first.", min=0, max=1000)]
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
        "--pick", help="Write one sample to a PNG; of a volume one slice, or all of it to NIfTI.",
        rich_help_panel=SAMPLES, metavar="SPLIT:INDEX[:PLANE[:SLICE]] OUT", show_default=False,
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
        autocompletion=complete_settings,
        show_default=False,
    ),
]
SweepOut = Annotated[Path, make_option(OUTPUT, "out", "Folder of all files of the sweep.", "-o", metavar="FOLDER")]
Jobs = Annotated[
    int,
    make_option(
        RUN, "jobs", "Runs at a time.", "-j", min=0, max=1024,
        show_default="one for each processor, as far as runs and memory go",
    ),
]  # fmt: skip
Vectorise = Annotated[
    bool,
    make_option(
        RUN, "vectorise", "Train all runs at once in one process, as one batch of a GPU; --jobs says how many."
    ),
]
Scheduler = Annotated[
    str | None,
    make_option(
        RUN, "scheduler", "Have the runs done by a Dask cluster: address or file of its scheduler.",
        metavar="tcp://HOST:8786", show_default=False,
    ),
]  # fmt: skip
Most = Annotated[int, make_option(RUN, "most", "Runs that may be meant; more are taken for a mistake.", min=1)]
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
