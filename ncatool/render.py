"""States become frames, frames become an animation or a sheet of stages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from ncatool.checkpoint import Model
from ncatool.errors import UsageError
from ncatool.evaluate import advance
from ncatool.files import replacing
from ncatool.state import State, on_grid, random_circle, seed
from ncatool.view import Picture, default_scale, enlarged, on_background, sheet

DAMAGES = 10
"""Circles that plain `--damage` erases in the course of a rendering."""
STAGES = 11
GROWTH_STAGES = 3
"""Frames of growth on a contact sheet, where nothing is damaged and where something is."""
_LAST_PAUSE = 2000
_DAMAGE_PAUSE = 400
"""Milliseconds."""
_PALETTE_FRAMES = 64


@dataclass(frozen=True)
class Rendering:
    """How a model is shown."""

    steps: int = 500
    """Steps from the seed."""
    every: int = 2
    """Steps between two frames."""
    fps: float = 25
    """Frames a second."""
    scale: int = 0
    """Pixels a cell and side; 0: chosen for comfort."""
    damage: bool = False
    """Erase a random circle ten times on the way."""
    seed: int = 0
    """Of the random generators."""
    background: tuple[int, int, int] = (255, 255, 255)
    """What shows through transparent cells."""


@dataclass(frozen=True)
class Frame:
    """A moment of a rollout."""

    step: int
    visible: Float[np.ndarray, "height width 4"]
    """Premultiplied RGBA as the cells hold it, not clipped."""
    damaged: bool


class Film:
    """A rollout from the seed, frame by frame; `state` is where it has got to."""

    def __init__(self, model: Model, how: Rendering) -> None:
        self.model, self.how = model, how
        self.state: State = seed(1, *model.target.shape, model.config.channels)
        self._fire = torch.Generator().manual_seed(how.seed)
        self._draws = torch.Generator().manual_seed(how.seed + 1)

    def frames(self) -> Iterator[Frame]:
        """The seed, every so many steps, every damage (once before, once after), and the last step."""
        how = self.how
        hits = {round(how.steps * i / (DAMAGES + 1)) for i in range(1, DAMAGES + 1)} if how.damage else set()
        shown = sorted({*range(0, how.steps, how.every), *hits, how.steps})
        done = 0
        for step in shown:
            self.state, done = advance(self.model, self.state, step - done, self._fire), step
            yield self._frame(step, damaged=False)
            if step in hits:
                self._hit()
                yield self._frame(step, damaged=True)

    def _frame(self, step: int, *, damaged: bool) -> Frame:
        return Frame(step, self.state[0, ..., :4].numpy().copy(), damaged)

    def _hit(self) -> None:
        circle = random_circle(torch.from_numpy(self.model.target.visible), self._draws)
        self.state = self.state.clone()
        self.state[:, on_grid(circle, self.model.target.padding)] = 0


def _gif(path: Path, film: Film, frames: Iterator[Frame], scale: int) -> None:
    """One palette for all frames, found on a sample of them; small and quick to write."""
    pictures, pauses = [], []
    for frame in frames:
        pictures.append(on_background(frame.visible, film.how.background))
        pauses.append(_DAMAGE_PAUSE if frame.damaged else max(20, round(1000 / film.how.fps)))
    pauses[-1] = _LAST_PAUSE
    target = on_background(film.model.target.premultiplied(), film.how.background)
    sample = [*pictures[:: max(1, len(pictures) // _PALETTE_FRAMES)], pictures[-1], target]
    palette = Image.fromarray(np.concatenate(sample)).quantize(256, dither=Image.Dither.NONE)

    colours = bytes(palette.getpalette() or [])

    def indexed(picture: Picture) -> Image.Image:
        chosen = Image.fromarray(picture).quantize(palette=palette, dither=Image.Dither.NONE)
        image = Image.fromarray(enlarged(np.asarray(chosen), scale))
        image.putpalette(colours)
        return image

    first, *rest = (indexed(picture) for picture in pictures)
    with replacing(path) as partial:
        first.save(
            partial, "GIF", save_all=True, append_images=rest, duration=pauses, loop=0, optimize=False, palette=colours
        )


def _stages(frames: Sequence[Frame]) -> list[Frame]:
    """Growth, denser at the start; then each damage, and how far it has healed when the next one comes."""
    hits = [i for i, frame in enumerate(frames) if frame.damaged]
    end, count = (hits[0] - 1, GROWTH_STAGES) if hits else (len(frames) - 1, STAGES)
    grown = {round(end * (i / (count - 1)) ** 2) for i in range(count)}
    healed = [i - 1 for i in hits[1:]] + [len(frames) - 1]
    return [frames[i] for i in sorted({*grown, *hits, *healed})]


def _png(path: Path, film: Film, frames: Iterator[Frame], scale: int) -> None:
    """The stages and the target, labelled."""
    chosen = _stages(list(frames))
    shown = [frame.visible for frame in chosen] + [film.model.target.premultiplied()]
    labels = [f"{frame.step} damaged" if frame.damaged else f"step {frame.step}" for frame in chosen] + ["target"]
    background = film.how.background
    pictures = [enlarged(on_background(visible, background), scale) for visible in shown]
    image = sheet(pictures, labels, 6, background)
    with replacing(path) as partial:
        image.save(partial, "PNG")


_Writer = Callable[[Path, Film, Iterator[Frame], int], None]
FORMATS: dict[str, _Writer] = {".gif": _gif, ".png": _png}
"""What each ending means: an animation, or a contact sheet of stages."""


def check_format(path: Path) -> None:
    """Refuses an ending that means no format."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path} ends in {path.suffix or 'nothing'}", f"choose an ending from {', '.join(FORMATS)}")


def render(model: Model, path: Path, how: Rendering, watch: Callable[[Iterator[Frame]], Iterator[Frame]]) -> State:
    """Writes the rendering and returns the final state; `watch` sees the frames pass, for a progress bar."""
    check_format(path)
    film = Film(model, how)
    scale = how.scale or default_scale(*model.target.shape)
    if path.suffix.lower() == ".png" and not how.scale:
        scale = max(1, scale // 2)
    FORMATS[path.suffix.lower()](path, film, watch(film.frames()), scale)
    return film.state
