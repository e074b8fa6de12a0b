"""The command line: parse, configure, call, print. What is heavy is imported inside the commands."""

from __future__ import annotations

import dataclasses
import signal
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from ncatool.cli import options as o
from ncatool.cli import terminal
from ncatool.config.flat import agreed, build_config
from ncatool.config.names import Device, Metric, View
from ncatool.config.schema import MAX_SIDE, ModelConfig, RunConfig, TargetConfig, TrainConfig, check_range
from ncatool.errors import ExitCode, UsageError, shorten

if TYPE_CHECKING:
    import torch

    from ncatool.rendering.film import Playback
    from ncatool.training.run import Run

app = typer.Typer(
    name="ncatool",
    help="Grow images from one cell: train neural cellular automata, watch them, measure them.",
    epilog="Start with:  ncatool train --target phantom  then  ncatool render model.safetensors phantom.gif",
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        print(f"ncatool {version('ncatool')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command(epilog="Example:  ncatool fetch chestmnist bloodmnist --size 64")
def fetch(
    flags: o.Flags = None,
    size: o.Pixels = 28,
    root: o.Root = None,
    mirror: o.Mirror = None,
    source: o.From = None,
    timeout: o.Timeout = 30.0,
    retries: o.Retries = 6,
    list_sets: o.List = False,
    show: o.Show = None,
    pick: o.Pick = None,
    random: o.Random = False,
    split: o.Split = "train",
    colormap: o.ColormapOption = TargetConfig.colormap,
    out: o.SheetOut = None,
    seed: o.Seed = 0,
    force: o.Force = False,
    quiet: o.Quiet = False,
    json: o.Json = False,
    traceback: o.Traceback = False,
) -> None:
    """Fetch MedMNIST sets, verified, and choose targets from them.

    A download that breaks off goes on where it ended, at once or with the same command later.
    """
    from ncatool.cli import fetch

    if list_sets:
        return fetch.show_list(root)
    sets = fetch.named(flags, size)
    wish = fetch.Wish(show, pick, random, split, colormap, out, seed, force)
    wish.check(sets)
    done = fetch.bring(sets, root, source, mirror, timeout, retries)
    picture = wish.grant(sets[0], root)
    fetch.report(done, picture)
    return None


@app.command(
    epilog="Example:  ncatool train --target photo.png --size 40 --padding 16 --damage --out photo.safetensors"
)
def train(
    target: o.TargetSpec = None,
    size: o.Size = TargetConfig.size,
    padding: o.Padding = TargetConfig.padding,
    colormap: o.ColormapOption = TargetConfig.colormap,
    alpha: o.AlphaOption = TargetConfig.alpha,
    root: o.Root = None,
    iterations: o.Iterations = None,
    learning_rate: o.LearningRate = TrainConfig.learning_rate,
    schedule: o.ScheduleOption = TrainConfig.schedule,
    loss: o.LossOption = TrainConfig.loss,
    margin: o.Margin = TrainConfig.margin,
    regime: o.RegimeOption = None,
    damage: o.DamageFlag = False,
    damaged: o.Damaged = TrainConfig.damaged,
    steps: o.Steps = None,
    batch_size: o.BatchSize = TrainConfig.batch_size,
    pool_size: o.PoolSize = TrainConfig.pool_size,
    filter: o.FilterOption = ModelConfig.filter,  # noqa: A002 - the flag's name
    channels: o.Channels = ModelConfig.channels,
    hidden: o.Hidden = ModelConfig.hidden,
    fire_rate: o.FireRate = ModelConfig.fire_rate,
    threshold: o.Threshold = ModelConfig.threshold,
    boundary: o.BoundaryOption = ModelConfig.boundary,
    out: o.Out = Path("model.safetensors"),
    force: o.Force = False,
    initial: o.Initial = "",
    checkpoint_every: o.CheckpointEvery = TrainConfig.checkpoint_every,
    checkpoint: o.Checkpoint = TrainConfig.checkpoint,
    preview: o.Preview = False,
    tensorboard: o.Tensorboard = None,
    precision: o.PrecisionOption = TrainConfig.precision,
    device: o.DeviceOption = Device.AUTO,
    threads: o.Threads = 0,
    seed: o.Seed = 0,
    config: o.Config = None,
    quiet: o.Quiet = False,
    json: o.Json = False,
    traceback: o.Traceback = False,
) -> None:
    """Train a model that grows a picture from one cell.

    Writes NAME.safetensors (the model), NAME.toml (the record), NAME.csv and NAME.png (the curve)
    and NAME.checkpoint.safetensors. Ctrl-C saves all of them; `ncatool resume` goes on.
    """
    run = build_config(
        {
            "target": target, "size": size, "padding": padding, "colormap": colormap, "alpha": alpha,
            "iterations": iterations, "learning_rate": learning_rate, "schedule": schedule, "loss": loss,
            "margin": margin, "regime": regime, "damage": damage, "damaged": damaged, "steps": steps,
            "batch_size": batch_size, "pool_size": pool_size, "filter": filter, "channels": channels,
            "hidden": hidden, "fire_rate": fire_rate, "threshold": threshold, "boundary": boundary,
            "from": initial, "checkpoint_every": checkpoint_every, "checkpoint": checkpoint,
            "precision": precision, "device": device, "threads": threads, "seed": seed,
        }
    )  # fmt: skip

    from ncatool.data import readers as targets
    from ncatool.files.atomic import check_writable
    from ncatool.nca.model_file import load_model
    from ncatool.training.run import Run
    from ncatool.training.run_files import RunFiles

    if target is None:
        wanted = dataclasses.replace(run.target, source=targets.default_source(root))
        run = dataclasses.replace(run, target=wanted)
        if wanted.source == "phantom":
            terminal.print_note("no --target and chestmnist is not fetched: growing the built-in phantom")
    files = RunFiles(out)
    check_writable(files.list_paths(), force)
    start = load_model(Path(initial)) if initial else None
    if start is not None:
        run = dataclasses.replace(run, model=agreed(run.model, start.config, initial))
    picture = targets.load_target(run.target, root)
    _prepare(threads, run.train.device, run)
    with files.lock():
        _complete(Run(run, picture, files, start.weights if start else None), preview, tensorboard)


@app.command(epilog="Example:  ncatool resume model.safetensors --iterations 4000")
def resume(
    model: Annotated[Path, typer.Argument(help="Model file of a run that left a checkpoint.")],
    iterations: o.MoreIterations = None,
    learning_rate: o.NewLearningRate = None,
    checkpoint_every: o.NewCheckpointEvery = None,
    device: o.NewDevice = None,
    threads: o.NewThreads = None,
    preview: o.Preview = False,
    tensorboard: o.Tensorboard = None,
    quiet: o.Quiet = False,
    json: o.Json = False,
    traceback: o.Traceback = False,
) -> None:
    """Go on with a run from its checkpoint, as if it had not stopped.

    With other --iterations the learning rate goes on as it would stand there in a run of that length.
    All other settings of a run stay what they are.
    """
    from ncatool.training.run import Run
    from ncatool.training.run_files import RunFiles

    wishes = {
        "iterations": iterations, "learning_rate": learning_rate, "checkpoint_every": checkpoint_every,
        "device": device, "threads": threads,
    }  # fmt: skip
    files = RunFiles(model)
    if not files.checkpoint.exists():
        raise UsageError(f"there is no checkpoint {files.checkpoint}", "give the model file of a run that has left one")
    with files.lock():
        run = Run.resume(files, **{name: value for name, value in wishes.items() if value is not None})
        _prepare(run.config.train.threads, run.config.train.device, run.config)
        for difference in run.find_differences():
            terminal.print_note(f"not what it was: {difference}; the numbers may differ from an undisturbed run's")
        if run.trainer.iteration == run.config.train.iterations:
            terminal.print_note(f"all {run.trainer.iteration} iterations are done; give --iterations more to go on")
        _complete(run, preview, tensorboard)


@app.command(
    epilog="Example:  ncatool sweep --target chestmnist --filter sobel,scharr --loss l1,l2 --damage both --out matrix"
)
@o.with_settings_of(train)
def sweep(
    plan: o.SweepFile = None,
    out: o.SweepOut = Path("sweep"),
    jobs: o.Jobs = 0,
    vectorise: o.Vectorise = False,
    scheduler: o.Scheduler = None,
    most: o.Most = 1000,
    dry_run: o.DryRun = False,
    compare: o.Compare = True,
    root: o.Root = None,
    force: o.Force = False,
    quiet: o.Quiet = False,
    json: o.Json = False,
    traceback: o.Traceback = False,
    **settings: str | bool | None,
) -> None:
    """Train many models: every combination of settings, on all processors or on a cluster.

    A setting with several values, by commas, is varied. The same command again does only what is missing.
    """
    from ncatool.cli import sweep

    wish = sweep.Wish(plan, out, jobs, vectorise, scheduler, most, dry_run, compare, root, force)
    code = sweep.run(wish, sweep.flags_of(settings))
    if code is not ExitCode.DONE:
        raise typer.Exit(code)


def _pair(flag: str, text: str, separator: str) -> tuple[int, int]:
    """Two whole numbers, as `--grid 64x96` and `--at 10,20` have them."""
    numbers = text.strip().lower().split(separator)
    if len(numbers) != 2 or not all(number.strip().isdecimal() and len(number) < 6 for number in numbers):
        raise UsageError(f"{flag} is {shorten(text)}", f"give two numbers, as {flag} 64{separator}96")
    return int(numbers[0]), int(numbers[1])


def _grid(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    height, width = _pair("--grid", text, "x")
    check_range("grid", min(height, width), 1, MAX_SIDE)
    check_range("grid", max(height, width), 1, MAX_SIDE)
    return height, width


class _Render(TyperCommand):
    """`--damage` may stand alone, too, whatever follows it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        pairs = pairwise([*args, ""])
        whole = ["--damage=random" if word == "--damage" and "@" not in after else word for word, after in pairs]
        return super().parse_args(ctx, whole)


@app.command(
    cls=_Render,
    epilog='Example:  ncatool render model.safetensors healing.gif --damage "left@200,circle@350" --overlay',
)
def render(
    files: Annotated[
        list[str],
        typer.Argument(
            help="Model files (several: tiles), then outputs: .gif, .webp, .apng, .mp4, .webm, .png (a sheet of "
            "stages), a folder of frames/, - (a GIF on stdout). Without an output it plays in the terminal.",
            metavar="MODEL... [OUT...]",
        ),
    ],
    steps: o.RenderSteps = None,
    every: o.Every = 2,
    fps: o.Fps = 25,
    hold: o.Hold = 2,
    scale: o.Scale = 0,
    damage: o.RenderDamage = None,
    background: o.Background = "white",
    view: o.ViewOption = View.RGBA,
    overlay: o.Overlay = False,
    trim: o.Trim = False,
    grid: o.Grid = None,
    at: o.At = None,
    rotate: o.Rotate = 0,
    force: o.Force = False,
    device: o.DeviceOption = Device.AUTO,
    threads: o.Threads = 0,
    seed: o.Seed = 0,
    quiet: o.Quiet = False,
    json: o.Json = False,
    traceback: o.Traceback = False,
) -> None:
    """Grow models from their seed cells and show it: animation, video, sheet of stages, or live in the terminal."""
    from ncatool.nca.model_file import label_models, load_model
    from ncatool.nca.picture import parse_background as ground
    from ncatool.rendering import damage_script, player
    from ncatool.rendering import render as rendering
    from ncatool.rendering.film import Playback
    from ncatool.rendering.timeline import RenderSettings, plan_moments

    models, outputs = rendering.split_arguments(files)
    steps = steps or (500 if outputs else 10_000)
    how = RenderSettings(
        steps=steps, every=every, fps=fps, hold=hold, scale=scale, damage=damage_script.parse_script(damage or [], steps),
        seed=seed, background=ground(background), view=view, overlay=overlay, trim=trim, grid=_grid(grid),
        at=tuple(_pair("--at", text, ",") for text in at or []), rotate=rotate,
    )  # fmt: skip
    rendering.check_outputs(outputs, force)
    place = _prepare(threads, device)
    films = [
        Playback(load_model(path).move_to(place), how, name)
        for path, name in zip(models, label_models(models), strict=True)
    ]
    if outputs:
        rendering.render(films, outputs, how, lambda passing: terminal.track(passing, len(plan_moments(how)), "frames"))
    else:
        if how.overlay or how.scale:
            terminal.print_note("--overlay and --scale are for files; the terminal goes without")
        player.play(films, how)
    _tell(films, outputs)


def _tell(films: list[Playback], outputs: list[str]) -> None:
    """What was written and how near the targets it ends; nothing on a stdout that is itself an output."""
    from ncatool.evaluation.errors import measure_errors

    if "-" in outputs:
        return
    numbers = [{"steps": film.step, **measure_errors(film.state, film.expected)} for film in films]
    wrote: dict[str, Any] = {"wrote": outputs} if outputs else {}
    if len(films) == 1:
        terminal.print_result({**wrote, **numbers[0]})
    else:
        terminal.print_results(wrote, {film.name: values for film, values in zip(films, numbers, strict=True)})


@app.command(epilog="Example:  ncatool compare runs/ --sort mse_later --report comparison.html")
def compare(
    models: Annotated[
        list[str], typer.Argument(help="Model files, folders that hold some, or patterns.", metavar="MODEL...")
    ],
    rollouts: o.Rollouts = 16,
    steps: o.TrialSteps = 2000,
    metric: o.MetricOption = Metric.MSE,
    sort: o.Sort = None,
    csv: o.Csv = None,
    picture: o.ComparePicture = None,
    animation: o.Animation = None,
    report: o.Report = None,
    force: o.Force = False,
    device: o.DeviceOption = Device.AUTO,
    threads: o.Threads = 0,
    seed: o.Seed = 0,
    quiet: o.Quiet = False,
    json: o.Json = False,
    traceback: o.Traceback = False,
) -> None:
    """Measure how well models grow, persist and regenerate, and set the numbers side by side."""
    from ncatool.cli import compare
    from ncatool.evaluation.protocol import Protocol

    trial = Protocol(rollouts=rollouts, steps=steps, seed=seed)
    wish = compare.Wish(metric, sort, csv, picture, animation, report)
    wish.check(force)
    if not compare.run(models, trial, wish, _prepare(threads, device)):
        raise typer.Exit(ExitCode.FAILED)


@app.command(epilog="Example:  ncatool export model.safetensors page.html")
def export(
    model: Annotated[Path, typer.Argument(help="Model file.")],
    out: Annotated[Path, typer.Argument(help="What to write: .html, .onnx, .pt2, .json, .npz or .h.")],
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
    from ncatool.cli import export
    from ncatool.formats.exporting import choose_format

    export.export(model, out, choose_format(out, format), rollout, force)


@app.command("import", epilog="Example:  ncatool import chest_sobel.pt chest.safetensors --target chest.png")
def import_(
    file: Annotated[Path, typer.Argument(help="The seed project's .pt, the article's .json, or another state dict.")],
    out: Annotated[Path, typer.Argument(help="Model file to write.", metavar="OUT.safetensors")],
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
    from ncatool.cli import export

    wish = export.Wish(filter, order, boundary, fire_rate, threshold, size, padding)
    wanted = None
    if target is None and (colormap, alpha, root) != (TargetConfig.colormap, TargetConfig.alpha, None):
        terminal.print_note("without --target, --colormap, --alpha and --root say nothing")
    if target is not None:
        wanted = TargetConfig(
            source=target, size=size or TargetConfig.size, padding=padding, colormap=colormap, alpha=alpha
        )
    _prepare(0, Device.CPU)
    export.bring(file, out, wish, wanted, root, force)


def _prepare(threads: int, device: Device, run: RunConfig | None = None) -> torch.device:
    """Settings of torch that belong to the process, and the device that a name means; says what makes it slow."""
    from ncatool.engine import choose, compiled
    from ncatool.engine.device import resolve_device

    place, run = resolve_device(device), run or RunConfig()
    compiled.configure_process(threads)
    if slow := choose.explain_slowness(place, run.model, run.train.precision):
        terminal.print_note(slow)
    return place


def _complete(run: Run, preview: bool, tensorboard: Path | None) -> None:
    """Trains to the end, or until a signal; tells where everything is."""
    from ncatool.cli import training
    from ncatool.training import tensorboard as board

    with board.open_log(tensorboard, run) as log:
        number = training.train_with_progress(run, preview, log)
    if number is not None:
        done = f"{run.trainer.iteration} of {run.config.train.iterations}"
        go_on = f"go on: ncatool resume {run.files.model}" if run.config.train.checkpoint else "without a checkpoint"
        terminal.print_note(f"stopped after iteration {done}, everything saved; {go_on}")
        raise typer.Exit(ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.TERMINATED)
    terminal.print_result({"wrote": str(run.files.model), **run.finish()})
