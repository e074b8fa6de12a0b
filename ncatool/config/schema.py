"""All settings of a run as frozen dataclasses, each checked when it is made."""

from __future__ import annotations

import math
import os
import re
import sys
from dataclasses import dataclass

from ncatool.config.names import (
    Alpha,
    Boundary,
    Colormap,
    Device,
    Filter,
    Loss,
    Optimiser,
    Precision,
    Regime,
    Schedule,
    SeedCells,
    Window,
)
from ncatool.errors import UsageError, shorten

FILE_FORMAT = "ncatool-1"


MAX_SIDE = 1024
"""Largest height or width of a grid, in cells: 64 MB a state of 16 channels."""

MAX_SEED_RADIUS = 64
"""Largest distance of a seed's cells from its middle."""

MAX_THREADS = 1024
"""Most threads of the CPU that a process takes."""


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise UsageError for a setting outside [low, high], or NaN."""
    if not low <= value <= high:
        raise UsageError(
            f"{name} is {shorten(value)}, but goes from {low:g} to {high:g}", f"give --{name} a value in that range"
        )


def check_file_name(name: str) -> None:
    """Raise UsageError for a file name that the files of a run cannot contain, as it is not UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError:
        utf8 = sys.getfilesystemencoding() == "utf-8"
        hint = "rename the file" if utf8 else "set PYTHONUTF8=1, as this shell's locale has no such letters"
        raise UsageError(f"the name {name} is not UTF-8", hint) from None
    if "\0" in name:
        raise UsageError(f"the name {shorten(name)} contains a zero byte", "give the name of a file")


SEPARATOR = " + "
"""What stands between the sources of several pictures."""
_MAX_PARTS_OF_NAME = 8
"""Parts between ` + ` that the name of one file may have: many sources take no time to tell apart."""
_MAX_COLONS = 4
"""Colons behind the name of a file, which say what part of it is meant."""


def split_sources(text: str) -> list[str]:
    """Return the sources that a text names, one for each picture; the name of a file that exists may contain ` + `.

    The longest name that exists is meant.
    """
    parts, found = text.split(SEPARATOR), list[str]()
    while parts:
        joined = (SEPARATOR.join(parts[:count]) for count in range(min(len(parts), _MAX_PARTS_OF_NAME), 1, -1))
        source = next(filter(_names_file, joined), parts[0])
        parts = parts[source.count(SEPARATOR) + 1 :]
        found.append(source if os.path.lexists(source) else source.strip())
    return found


def _names_file(text: str) -> bool:
    """Return whether a text is the name of a file, or with colons one and its part."""
    names = (text.rsplit(":", count)[0] for count in range(min(text.count(":"), _MAX_COLONS) + 1))
    return any(SEPARATOR not in text[len(name) :] and os.path.lexists(name) for name in names)


def parse_window(text: str) -> Window | tuple[float, float, bool]:
    """Return the name of a window, or its lowest and highest value and whether a sigmoid leads from one to the other.

    Raises UsageError for text that is neither.
    """
    if text.lower() in list(Window):
        return Window(text.lower())
    words = text.lower().split(":")
    is_sigmoid = words[2:] == ["sigmoid"]
    try:
        low, high = map(float, words[: 2 if is_sigmoid else None])
    except ValueError:
        low, high = 0.0, 0.0
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UsageError(f"window is {shorten(text)}", f"give LOW:HIGH, such as -160:240, or {', '.join(Window)}")
    return low, high, is_sigmoid


def parse_crop(text: str) -> tuple[int, int, int, int] | None:
    """Return the first row, first column, height and width that text of the form Y,X,HEIGHT,WIDTH names.

    None for an empty text. Raises UsageError for any other.
    """
    if not text:
        return None
    match = re.fullmatch(r" *(\d{1,9}) *, *(\d{1,9}) *, *(\d{1,9}) *, *(\d{1,9}) *", text, re.ASCII)
    y, x, height, width = map(int, match.groups()) if match else (0, 0, 0, 0)
    if not (height and width):
        raise UsageError(f"crop is {shorten(text)}", "give --crop Y,X,HEIGHT,WIDTH in pixels, such as 100,200,256,256")
    return y, x, height, width


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The rule of a model, beside its weights."""

    channels: int = 16
    """Channels of a cell, RGBA first; 4 to 256."""
    hidden: int = 128
    """Hidden units of the update network; 1 to 4096."""
    filter: Filter = Filter.SOBEL
    """Stencil of the perception."""
    fire_rate: float = 0.5
    """Chance that a cell updates in a step, above 0 and at most 1."""
    threshold: float = 0.1
    """Alpha above which a cell keeps its neighbourhood alive."""
    boundary: Boundary = Boundary.ZERO
    """What lies beyond the edge of the grid."""

    def __post_init__(self) -> None:
        check_range("channels", self.channels, 4, 256)
        check_range("hidden", self.hidden, 1, 4096)
        check_range("fire-rate", self.fire_rate, 0.001, 1)
        check_range("threshold", self.threshold, 0, 1)


@dataclass(frozen=True, kw_only=True)
class TargetConfig:
    """The picture that grows, and its size."""

    source: str = "phantom"
    """`phantom`, an image file, or FLAG[@SIZE][:SPLIT[:INDEX]] of MedMNIST."""
    size: int = 28
    """Longer side of the picture, in cells."""
    padding: int = 0
    """Empty cells around the picture, on each side."""
    colormap: Colormap = Colormap.GREY
    """Colours of a grey MedMNIST sample, from its darkest value to its brightest."""
    alpha: str = Alpha.OPAQUE.value
    """What of the picture is transparent: a name of `Alpha`, or the file of a mask, outside of which it is."""
    window: str = Window.AUTO.value
    """Values that become black and white: a name of `Window`, or LOW:HIGH."""
    crop: str = ""
    """Part of a large picture that is used, as Y,X,HEIGHT,WIDTH in its own pixels; empty: all of it."""

    def __post_init__(self) -> None:
        check_file_name(self.source)
        check_file_name(self.alpha)
        parse_window(self.window)
        parse_crop(self.crop)
        check_range("size", self.size, 1, MAX_SIDE)
        check_range("padding", self.padding, 0, MAX_SIDE)
        side = self.size + 2 * self.padding
        if side > MAX_SIDE:
            raise UsageError(
                f"size {self.size} with padding {self.padding} makes {side} cells a side, but {MAX_SIDE} is the most",
                "give a smaller --size or --padding",
            )


PLACE_SETTINGS = ("device", "threads", "checkpoint", "checkpoint_every")
"""Settings of training that say where and how it is done; they are no part of what makes a model what it is."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of training."""

    iterations: int = 1400
    """Optimiser steps in all."""
    optimiser: Optimiser = Optimiser.MUON
    """What changes the weights."""
    learning_rate: float = 0.01
    """Peak learning rate."""
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
    """The loss that is minimised, over the first four channels."""
    margin: float = 0.005
    """Error up to which the hinge loss is 0."""
    seed_cells: SeedCells = SeedCells.AUTO
    """Cells that growth starts from; under `auto` one, or three where the filter is symmetric."""
    seed_radius: float = 0.0
    """Distance of three cells from the middle, in cells; 0: a third of the picture's shorter side, or less
    where that is transparent."""
    min_steps: int = 45
    """Fewest steps of a rollout."""
    max_steps: int = 76
    """Most steps of a rollout."""
    widening: float = 0.0
    """Share of the iterations in which the part of the grid that grows widens from the middle; 0: all grows at once."""
    seed: int = 0
    """Seed of every random generator."""
    threads: int = 0
    """CPU threads; 0: as many as the machine gives."""
    device: Device = Device.AUTO
    """Where the rollouts run."""
    precision: Precision = Precision.FLOAT32
    """Precision of the factors of the network's products."""
    checkpoint: bool = True
    """Whether checkpoints are written, so that the run can be resumed."""
    checkpoint_every: int = 0
    """Iterations between two checkpoints; 0: 200, or more where writing would take over 2 % of the time."""
    initial: str = ""
    """Model file whose weights training starts from; empty: fresh ones."""

    def __post_init__(self) -> None:
        check_file_name(self.initial)
        check_range("iterations", self.iterations, 1, 10**7)
        check_range("learning-rate", self.learning_rate, 1e-9, 10)
        check_range("batch-size", self.batch_size, 1, 4096)
        check_range("pool-size", self.pool_size, 1, 65536)
        check_range("damaged", self.damaged, 0, 4096)
        check_range("margin", self.margin, 0, 1)
        if self.seed_radius != 0:
            check_range("seed-radius", self.seed_radius, 1, MAX_SEED_RADIUS)
        check_range("steps", self.min_steps, 1, 10**4)
        check_range("steps", self.max_steps, self.min_steps, 10**4)
        check_range("widening", self.widening, 0, 1)
        check_range("seed", self.seed, 0, 2**63 - 1)
        check_range("threads", self.threads, 0, MAX_THREADS)
        check_range("checkpoint-every", self.checkpoint_every, 0, 10**7)
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
