"""The demonstration: a picture grows in the terminal, is wounded, and heals. Without torch, so it starts at once."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool

from ncatool.nca.numpy_rule import ArrayModel, ArrayState, make_seed_array, step_array
from ncatool.nca.picture import BLACK, compose
from ncatool.rendering.half_blocks import draw_half_blocks, fit_picture
from ncatool.rendering.keys import read_keys

if TYPE_CHECKING:
    from rich.console import RenderableType

DEMO_MODEL = Path(__file__).parent / "demo.safetensors"
"""A model of an eosinophil of BloodMNIST, trained with damage."""

KEYS = "q stop   d damage   space pause"
ABOUT = (
    "A white blood cell grows from {seed} of a grid. All {cells} cells run the same network of {weights:,} weights, "
    "and each sees only its eight neighbours. None of them has the picture."
)
FRAME_SECONDS = 0.04
"""Seconds between two frames."""
_MAX_SCALE = 4
"""Largest side of a cell in pixels of the terminal."""
_TEXT_WIDTH = 34
"""Columns of the text beside the picture."""

Wound = Bool[np.ndarray, "height width"]


@dataclass(frozen=True)
class Phase:
    """A part of the demonstration."""

    until: int
    """Its last step."""
    text: str
    """What happens in it."""
    pace: int
    """Steps between two frames."""
    pause: float = 0.5
    """Seconds that its first frame is shown."""
    erase: Callable[[int, int], Wound] | None = None
    """Returns the cells of a grid that are erased when it begins."""


def _left_half(height: int, width: int) -> Wound:
    return np.broadcast_to(np.arange(width) < width // 2, (height, width))


def _disk(height: int, width: int, y: float = 0.5, x: float = 0.5, radius: float = 0.2) -> Wound:
    rows, columns = np.mgrid[:height, :width]
    return np.hypot(rows - y * height, columns - x * width) < radius * min(height, width)


PHASES = (
    Phase(100, "It grows", pace=1),
    Phase(150, "It has grown, and stays", pace=2, pause=0),
    Phase(300, "The left half is erased, and heals", pace=2, pause=1, erase=_left_half),
    Phase(450, "A hole in the middle, and it heals", pace=2, pause=1, erase=_disk),
)


class Demo:
    """The state of the picture, and how near it is to its target."""

    def __init__(self, model: ArrayModel, seed: int = 0) -> None:
        self.model = model
        self.state: ArrayState = make_seed_array(model)
        self.step = 0
        self.quality: list[float] = []
        """PSNR in dB at the end of each phase that is over."""
        self._generator = np.random.default_rng(seed)
        self._expected = model.target.premultiply()

    def advance(self, steps: int) -> None:
        """Compute some steps."""
        for _ in range(steps):
            fire = self._generator.random(self.state.shape[:2]) < self.model.config.fire_rate
            self.state = step_array(self.state, self.model, fire)
        self.step += steps

    def erase(self, cells: Wound) -> None:
        """Set cells to zero."""
        self.state = np.where(cells[..., None], np.float32(0), self.state)

    def erase_anywhere(self) -> None:
        """Set the cells of a random disk to zero."""
        height, width = self.state.shape[:2]
        y, x = self._generator.uniform(0.3, 0.7, 2)
        self.erase(_disk(height, width, y, x))

    def describe(self) -> dict[str, Any]:
        """Return the step, and the PSNR in dB when the picture had grown and after each time that it has healed."""
        names = ("psnr_at_100", "psnr_grown", "psnr_healed", "psnr_healed_again")
        return {"steps": self.step, **dict(zip(names, self.quality, strict=False))}

    def measure_psnr(self) -> float:
        """Return the peak signal-to-noise ratio over RGBA, premultiplied by alpha, in dB."""
        return -10 * math.log10(float(np.square(self.state[..., :4] - self._expected).mean()))


def list_frames(demo: Demo) -> Iterator[tuple[Phase, float]]:
    """Let the demonstration run; yield the phase and the seconds of each frame."""
    for phase in PHASES:
        if phase.erase is not None:
            demo.erase(phase.erase(*demo.state.shape[:2]))
        yield phase, phase.pause or FRAME_SECONDS
        while demo.step < phase.until:
            demo.advance(min(phase.pace, phase.until - demo.step))
            yield phase, FRAME_SECONDS
        demo.quality.append(demo.measure_psnr())


def describe_cells(model: ArrayModel) -> str:
    """Return in words what a model grows from, and how many cells and weights it has."""
    height, width = model.target.shape
    sown = int(model.seed.any(axis=-1).sum())
    weights = sum(array.size for array in model.weights.values())
    seed = "a single cell" if sown == 1 else f"{sown} cells"
    return ABOUT.format(seed=seed, cells=height * width, weights=weights)


def show_demo(demo: Demo) -> None:
    """Show the demonstration on stderr until it ends or q is pressed."""
    from rich.console import Console
    from rich.live import Live

    console = Console(stderr=True, highlight=False)
    with read_keys() as wait_for_key, Live(console=console, auto_refresh=False) as live:
        due = time.monotonic()
        for phase, seconds in list_frames(demo):
            due = max(due, time.monotonic()) + seconds
            paused, key = False, "start"
            while key or paused or time.monotonic() < due:
                if key:
                    live.update(_draw(demo, phase, console.width, console.height), refresh=True)
                key = wait_for_key(1.0 if paused else max(0.01, due - time.monotonic()))
                if key == "q":
                    return
                if key == "d":
                    demo.erase_anywhere()
                paused ^= key == " "


def _draw(demo: Demo, phase: Phase, width: int, height: int) -> RenderableType:
    """Draw the picture, and beside it, or below where there is no room, what it is and what happens."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    picture = compose(demo.state[..., :4], BLACK)
    beside = width >= picture.shape[1] + _TEXT_WIDTH
    room = (width - _TEXT_WIDTH if beside else width, height - (2 if beside else 5))
    shown = draw_half_blocks(fit_picture(picture, *room, _MAX_SCALE), *room)
    status = Text(f"step {demo.step:<4} {demo.measure_psnr():5.1f} dB\n{phase.text}", "bold")
    keys = Text(KEYS, "dim")
    if not beside:
        return Group(shown, status, keys)
    about = Text(describe_cells(demo.model))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(width=_TEXT_WIDTH - 2)
    table.add_row(shown, Group(about, "", status, "", keys))
    return table
