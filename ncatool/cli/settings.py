"""The options of settings: `train` takes one value of each, `sweep` several."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import typer

from ncatool.cli.command import LIST_METAVAR
from ncatool.cli.complete import complete_list, complete_models, complete_targets
from ncatool.cli.options import (
    OUTPUT,
    RULE,
    TARGET,
    TRAINING,
    AlphaOption,
    ColormapOption,
    Crop,
    DeviceOption,
    FireRate,
    Padding,
    Seed,
    Threads,
    Threshold,
    WindowOption,
    make_option,
    name_parameter,
)
from ncatool.config.flat import SETTINGS
from ncatool.config.names import Boundary, Filter, Loss, Optimiser, Precision, Regime, Schedule, SeedCells
from ncatool.config.schema import TrainConfig

Command = TypeVar("Command", bound=Callable[..., None])

PrecisionOption = Annotated[
    Precision,
    make_option(
        TRAINING, "precision", "Of the factors of the network's products; all else is float32. bfloat16 needs a GPU."
    ),
]

TargetSpec = Annotated[
    str | None,
    make_option(
        TARGET, "target", "[b]phantom[/b], a file as FILE\\[:PLANE]\\[:INDEX], or a MedMNIST sample as "
        "FLAG\\[@SIZE]\\[:SPLIT\\[:INDEX]].",
        "-t", show_default="chestmnist if fetched, else phantom", metavar="TARGET", autocompletion=complete_targets,
    ),
]  # fmt: skip

Size = Annotated[int, make_option(TARGET, "size", "Longer side of the picture, in cells.")]

Iterations = Annotated[
    int | None,
    make_option(
        TRAINING,
        "iterations",
        "Optimiser steps.",
        "-n",
        show_default="50 for each cell of --size, 88 with damage, adam twice; symmetric filters 150, 250; "
        "beyond 40 cells as for 80",
    ),
]

OptimiserOption = Annotated[
    Optimiser, make_option(TRAINING, "optimiser", "What changes the weights; muon: with adam for the biases.")
]

LearningRate = Annotated[
    float | None,
    make_option(
        TRAINING,
        "learning-rate",
        "Peak learning rate.",
        show_default="0.01; with padding or a symmetric filter 0.006; adam, or that filter with damage, 0.004",
    ),
]

SeedCellsOption = Annotated[
    SeedCells,
    make_option(
        RULE,
        "seed-cells",
        "Cells that growth starts from; auto: three for symmetric filters, a square for several pictures, else one.",
    ),
]

SeedRadius = Annotated[
    float,
    make_option(
        RULE, "seed-radius", "Distance of three seed cells from the middle.",
        show_default="a third of the shorter side, less where that is transparent",
    ),
]  # fmt: skip

ScheduleOption = Annotated[
    Schedule, make_option(TRAINING, "schedule", "How the learning rate falls after a short warm-up.")
]

BatchSize = Annotated[
    int, make_option(TRAINING, "batch-size", "Rollouts an iteration.", show_default="4; beyond 40 cells 2")
]

PoolSize = Annotated[
    int,
    make_option(TRAINING, "pool-size", "States kept between iterations.", show_default="256; beyond 40 cells 64"),
]

RegimeOption = Annotated[
    Regime | None,
    make_option(
        TRAINING, "regime", "Rollouts from the seed; from a pool; from a pool with damage.",
        show_default=TrainConfig.regime.value,
    ),
]  # fmt: skip

DamageFlag = Annotated[bool, make_option(TRAINING, "damage", "Short for --regime regenerating.")]

Damaged = Annotated[
    int,
    make_option(
        TRAINING, "damaged", "States of a batch that are damaged, when regenerating.", show_default="half, at most 2"
    ),
]

LossOption = Annotated[Loss, make_option(TRAINING, "loss", "What to minimise.")]

Margin = Annotated[float, make_option(TRAINING, "margin", "Error per channel that costs nothing, for --loss hinge.")]

Steps = Annotated[
    str | None,
    make_option(
        TRAINING,
        "steps",
        "Steps of a rollout, drawn anew each iteration.",
        metavar="MIN-MAX",
        show_default="by size: 45-76 for 28 cells and beyond 40, 56-87 with damage",
    ),
]

Widening = Annotated[
    float | None,
    make_option(
        TRAINING,
        "widening",
        "Share of the iterations in which the part that grows widens, from the middle to all of the picture.",
        metavar="SHARE",
        show_default="0.6 beyond 40 cells, else 0",
    ),
]

Channels = Annotated[
    int,
    make_option(
        RULE, "channels", "Channels of a cell, RGBA included.", show_default="16; for 8 pictures 24, for 16 32"
    ),
]  # fmt: skip

Hidden = Annotated[
    int,
    make_option(
        RULE, "hidden", "Hidden units of the update network.", show_default="128; for 8 pictures 192, for 16 256"
    ),
]  # fmt: skip

FilterOption = Annotated[Filter, make_option(RULE, "filter", "Stencil that a cell perceives its neighbours through.")]

BoundaryOption = Annotated[
    Boundary, make_option(RULE, "boundary", "What lies beyond the edge: nothing, or the other edge.")
]

CheckpointEvery = Annotated[
    int,
    make_option(
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
        rich_help_panel=TRAINING, show_default=False, metavar="MODEL", autocompletion=complete_models,
    ),
]  # fmt: skip

SETTING_OPTIONS: dict[str, Any] = {
    "target": TargetSpec,
    "size": Size,
    "padding": Padding,
    "colormap": ColormapOption,
    "alpha": AlphaOption,
    "window": WindowOption,
    "crop": Crop,
    "iterations": Iterations,
    "optimiser": OptimiserOption,
    "learning_rate": LearningRate,
    "schedule": ScheduleOption,
    "loss": LossOption,
    "margin": Margin,
    "regime": RegimeOption,
    "damage": DamageFlag,
    "damaged": Damaged,
    "steps": Steps,
    "widening": Widening,
    "batch_size": BatchSize,
    "pool_size": PoolSize,
    "from": Initial,
    "precision": PrecisionOption,
    "filter": FilterOption,
    "channels": Channels,
    "hidden": Hidden,
    "fire_rate": FireRate,
    "threshold": Threshold,
    "boundary": BoundaryOption,
    "seed_cells": SeedCellsOption,
    "seed_radius": SeedRadius,
    "checkpoint_every": CheckpointEvery,
    "checkpoint": Checkpoint,
    "device": DeviceOption,
    "threads": Threads,
    "seed": Seed,
}
"""The option of every setting, in the order of `--help`."""

_SWEEP_HELP = {
    "damage": "Whether states are damaged: yes, no or both.",
    "threads": "CPU threads of each run; 0: as many as are left for it.",
}
"""What options say where there are many runs."""


def take_settings(command: Command) -> Command:
    """Give a command that takes `**settings` the option of every setting; None where an option is not given."""
    return _add_parameters(command, _make_single)


def take_lists_of_settings(command: Command) -> Command:
    """Give a command that takes `**settings` the option of every setting, for several values separated by commas."""
    return _add_parameters(command, _make_list)


def collect_settings(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that were given, by their flat names."""
    return {name: value for name in SETTINGS if (value := parameters.get(name_parameter(name))) is not None}


def _add_parameters(command: Command, make_parameter: Callable[[str], inspect.Parameter]) -> Command:
    signature = inspect.signature(command, eval_str=True)
    own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
    added = [make_parameter(name) for name in SETTING_OPTIONS]
    keyword_only = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
    command.__signature__ = signature.replace(parameters=[*added, *keyword_only])  # type: ignore[attr-defined]
    return command


def _make_parameter(name: str, kind: Any, option: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name_parameter(name), inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, option]
    )


def _make_single(name: str) -> inspect.Parameter:
    option = _copy_option(name)
    return _make_parameter(name, SETTING_OPTIONS[name].__origin__, option)


def _make_list(name: str) -> inspect.Parameter:
    option = _copy_option(name)
    if name in ("checkpoint", "crop"):  # they cannot be varied
        return _make_parameter(name, type(SETTINGS[name]), option)
    if issubclass(type(SETTINGS[name]), StrEnum):
        option.autocompletion = complete_list(type(SETTINGS[name]))
    option.metavar = "DAMAGE" if name == "damage" else LIST_METAVAR
    option.help = _SWEEP_HELP.get(name, option.help)
    return _make_parameter(name, str, option)


def _copy_option(name: str) -> Any:
    """Return a setting's option, which shows its default although the parameter's own is None."""
    option = copy.copy(SETTING_OPTIONS[name].__metadata__[0])
    if option.show_default is True:
        option.show_default = str(SETTINGS[name])
    return option
