"""Settings as frozen dataclasses, names as enums, and how TOML, environment and flags merge. No torch."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from ncatool.errors import UsageError, brief

T = TypeVar("T")

FORMAT = "ncatool-1"
MAX_SIDE = 1024
"""Largest height or width of a grid, in cells: 64 MB a state of 16 channels."""


class Filter(StrEnum):
    """The kernel that a cell perceives its neighbours through."""

    SOBEL = "sobel"
    SCHARR = "scharr"
    GAUSSIAN = "gaussian"
    LAPLACIAN = "laplacian"
    MEAN = "mean"


class Boundary(StrEnum):
    """What lies beyond the edge of the grid: nothing, or the opposite edge."""

    ZERO = "zero"
    WRAP = "wrap"


class Loss(StrEnum):
    """What training minimises over the first four channels."""

    L1 = "l1"
    L2 = "l2"
    MANHATTAN = "manhattan"
    HINGE = "hinge"


class Regime(StrEnum):
    """How training starts its rollouts: from the seed, from a pool, from a pool with damage."""

    GROWING = "growing"
    PERSISTENT = "persistent"
    REGENERATING = "regenerating"


class Schedule(StrEnum):
    """How the learning rate changes after the warm-up."""

    COSINE = "cosine"
    STEP = "step"
    CONSTANT = "constant"


class Device(StrEnum):
    """Where rollouts run."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"
    MPS = "mps"


class Precision(StrEnum):
    """Of the factors of the network's products; sums, states and gradients are float32 either way."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class Damage(StrEnum):
    """Shapes that damage erases."""

    CIRCLE = "circle"
    LEFT = "left"
    RIGHT = "right"
    TOP = "top"
    BOTTOM = "bottom"
    SQUARE = "square"


class Metric(StrEnum):
    """How errors are told."""

    MSE = "mse"
    PSNR = "psnr"
    SSIM = "ssim"


class ExportFormat(StrEnum):
    """What a model can be exported to."""

    HTML = "html"
    ONNX = "onnx"
    PT2 = "pt2"
    JSON = "json"
    NPZ = "npz"
    H = "h"


class Order(StrEnum):
    """How the inputs of another program's network are ordered."""

    BLOCKED = "blocked"
    INTERLEAVED = "interleaved"


class View(StrEnum):
    """What of a state is shown."""

    RGBA = "rgba"
    ALPHA = "alpha"
    HIDDEN = "hidden"
    CHANGE = "change"
    ERROR = "error"
    ALL = "all"


class Colormap(StrEnum):
    """How grey samples are coloured: not at all, or by a perceptually uniform map of matplotlib's."""

    GREY = "grey"
    VIRIDIS = "viridis"
    PLASMA = "plasma"
    INFERNO = "inferno"
    MAGMA = "magma"
    CIVIDIS = "cividis"


class Alpha(StrEnum):
    """What is transparent, beside what the picture itself leaves out."""

    OPAQUE = "opaque"
    LUMINANCE = "luminance"
    THRESHOLD = "threshold"


def within(name: str, value: float, low: float, high: float) -> None:
    """Refuses a setting outside [low, high], NaN included."""
    if not low <= value <= high:
        raise UsageError(
            f"{name} is {value}, but goes from {low:g} to {high:g}", f"give --{name} a value in that range"
        )


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What a model is, beside its weights."""

    channels: int = 16
    """Channels of a cell, RGBA first; 4 to 256."""
    hidden: int = 128
    """Hidden units of the update network; 1 to 4096."""
    filter: Filter = Filter.SOBEL
    """Kernel of the perception."""
    fire_rate: float = 0.5
    """Chance that a cell updates in a step, above 0 and at most 1."""
    threshold: float = 0.1
    """Alpha above which a cell keeps its neighbourhood alive."""
    boundary: Boundary = Boundary.ZERO
    """What lies beyond the edge of the grid."""

    def __post_init__(self) -> None:
        within("channels", self.channels, 4, 256)
        within("hidden", self.hidden, 1, 4096)
        within("fire-rate", self.fire_rate, 0.001, 1)
        within("threshold", self.threshold, 0, 1)


@dataclass(frozen=True, kw_only=True)
class TargetConfig:
    """Which picture grows, and how large."""

    source: str = "phantom"
    """`phantom`, an image file, or FLAG[@SIZE][:SPLIT[:INDEX]] of MedMNIST."""
    size: int = 28
    """Longer side of the picture, in cells."""
    padding: int = 0
    """Empty cells around the picture, on each side."""
    colormap: Colormap = Colormap.GREY
    """Colours of a grey MedMNIST sample, from its darkest value to its brightest."""
    alpha: Alpha = Alpha.OPAQUE
    """Whether dark pixels are transparent: not; as far as they are dark; below a tenth of full brightness."""

    def __post_init__(self) -> None:
        within("size", self.size, 1, MAX_SIDE)
        within("padding", self.padding, 0, MAX_SIDE)
        side = self.size + 2 * self.padding
        if side > MAX_SIDE:
            raise UsageError(
                f"size {self.size} with padding {self.padding} makes {side} cells a side, but {MAX_SIDE} is the most",
                "give a smaller --size or --padding",
            )


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How training goes."""

    iterations: int = 2800
    """Optimiser steps in all."""
    learning_rate: float = 4e-3
    """Peak learning rate of Adam."""
    schedule: Schedule = Schedule.COSINE
    """How the learning rate falls after the warm-up."""
    batch_size: int = 4
    """Rollouts an iteration."""
    pool_size: int = 256
    """States kept between iterations."""
    regime: Regime = Regime.PERSISTENT
    """From the seed, from a pool, or from a pool with damage."""
    damaged: int = 2
    """States of a batch that are damaged, under `regenerating`."""
    loss: Loss = Loss.L2
    """What is minimised."""
    margin: float = 0.005
    """Errors up to this cost nothing under the hinge loss."""
    min_steps: int = 45
    """Fewest steps of a rollout."""
    max_steps: int = 76
    """Most steps of a rollout."""
    seed: int = 0
    """Of every random generator."""
    threads: int = 0
    """CPU threads; 0: as many as the machine gives."""
    device: Device = Device.AUTO
    """Where the rollouts run."""
    precision: Precision = Precision.FLOAT32
    """Of the factors of the network's products."""
    checkpoint: bool = True
    """Whether checkpoints are written, so that the run can be resumed."""
    checkpoint_every: int = 0
    """Iterations between two checkpoints; 0: 200, or more where writing would take over 2 % of the time."""
    initial: str = ""
    """Model file whose weights training starts from; empty: fresh ones."""

    def __post_init__(self) -> None:
        within("iterations", self.iterations, 1, 10**7)
        within("learning-rate", self.learning_rate, 1e-9, 10)
        within("batch-size", self.batch_size, 1, 4096)
        within("pool-size", self.pool_size, 1, 65536)
        within("damaged", self.damaged, 0, 4096)
        within("margin", self.margin, 0, 1)
        within("steps", self.min_steps, 1, 10**4)
        within("steps", self.max_steps, self.min_steps, 10**4)
        within("seed", self.seed, 0, 2**63 - 1)
        within("threads", self.threads, 0, 1024)
        within("checkpoint-every", self.checkpoint_every, 0, 10**7)
        if self.regime is not Regime.GROWING and self.batch_size > self.pool_size:
            raise UsageError(
                f"a batch of {self.batch_size} cannot be drawn from a pool of {self.pool_size}",
                f"give --pool-size {self.batch_size} or more, or a smaller --batch-size",
            )
        if self.regime is Regime.REGENERATING and self.damaged >= self.batch_size:
            raise UsageError(
                f"{self.damaged} damaged states leave none whole in a batch of {self.batch_size}",
                f"give --damaged {self.batch_size - 1} or less",
            )


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """All settings of a run: the tables of its record."""

    model: ModelConfig = ModelConfig()
    target: TargetConfig = TargetConfig()
    train: TrainConfig = TrainConfig()


def from_table(kind: type[T], table: Mapping[str, Any], where: str) -> T:
    """A dataclass of settings from a TOML or JSON table, every name and type checked.

    Raises UsageError for a name that does not exist (with the nearest that does) or a value of the wrong type.
    """
    fields = {field.name: field.default for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name not in fields:
            close = difflib.get_close_matches(name, fields, 1)
            mend = f"did you mean {close[0]}?" if close else f"choose from {', '.join(fields)}"
            raise UsageError(f"{where}: unknown setting {brief(name)}", mend)
        values[name] = typed(fields[name], name, value, where)
    try:
        return kind(**values)
    except UsageError as error:
        raise UsageError(f"{where}: {error.what}", error.mend) from None


def typed(default: Any, name: str, value: Any, where: str) -> Any:
    """A value as one of the type of `default`; UsageError where it is none."""
    kind = type(default)
    if issubclass(kind, StrEnum):
        if value not in list(kind):
            raise UsageError(f"{where}: {name} is {brief(value)}", f"choose from {', '.join(kind)}")
        return kind(value)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:
        raise UsageError(f"{where}: {name} is {brief(value)}", f"give a value of type {kind.__name__}")
    return value
