"""A rendering's outputs: animations, videos, a sheet of stages, a folder of frames, stdout; all from one rollout."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from ncatool.errors import NcatoolError, UsageError
from ncatool.files.atomic import check_writable, replacing, unwritable
from ncatool.nca.picture import Picture, enlarged
from ncatool.rendering import video
from ncatool.rendering.apng import Apng
from ncatool.rendering.film import Film, Frame, frames
from ncatool.rendering.gif import Gif
from ncatool.rendering.layout import Canvas
from ncatool.rendering.sheet import sheet
from ncatool.rendering.timeline import Moment, Rendering
from ncatool.rendering.video import Mp4, WebM
from ncatool.rendering.webp import WebP
from ncatool.rendering.writer import Writer

STAGES = 11
GROWTH_STAGES = 3
"""Frames of growth on a contact sheet, where nothing is damaged and where something is."""
SHEET_WIDTH = 1600
"""Pixels that a sheet's pictures take in a row, at most."""
STDOUT = "-"

Add = Callable[[Picture, Moment], None]


class Sheet:
    """The stages and the target, labelled, as PNG."""

    def __init__(self, file: BinaryIO, canvas: Canvas) -> None:
        self._file, self._canvas = file, canvas
        self._chosen = set(stages(canvas.moments))
        self._scale = canvas.scale if canvas.how.scale else max(1, canvas.scale // 2)
        self._shown: list[tuple[str, Picture]] = []
        self._seen = 0

    def add(self, picture: Picture, moment: Moment) -> None:
        if self._seen in self._chosen:
            label = f"{moment.step} damaged" if moment.damaged else f"step {moment.step}"
            self._shown.append((label, enlarged(picture, self._scale)))
        self._seen += 1

    def close(self) -> None:
        goal = self._canvas.goal()
        if goal is not None:
            self._shown.append(("target", enlarged(goal, self._scale)))
        labels, pictures = zip(*self._shown, strict=True)
        columns = max(1, min(6, SHEET_WIDTH // pictures[0].shape[1]))
        sheet(pictures, labels, columns, self._canvas.ground).save(self._file, "PNG")


def stages(moments: Sequence[Moment]) -> list[int]:
    """Indices of growth, denser at the start; then of each damage, and how far it has healed before the next one."""
    hits = [i for i, moment in enumerate(moments) if moment.damaged]
    end, count = (hits[0] - 1, GROWTH_STAGES) if hits else (len(moments) - 1, STAGES)
    grown = {round(end * (i / (count - 1)) ** 2) for i in range(count)}
    healed = [i - 1 for i in hits[1:]] + [len(moments) - 1]
    return sorted({*grown, *hits, *healed})


FORMATS: dict[str, type[Writer]] = {
    ".gif": Gif,
    ".webp": WebP,
    ".apng": Apng,
    ".mp4": Mp4,
    ".webm": WebM,
    ".png": Sheet,
}
"""What each ending means."""


def _is_folder(path: Path, text: str) -> bool:
    return text.endswith(("/", os.sep)) or path.is_dir()


@contextmanager
def _told(text: str) -> Iterator[None]:
    """An output's failure is told in its name: not in that of another one, which it would reach next."""
    try:
        yield
    except BrokenPipeError:
        # What Python would still flush at its end has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise NcatoolError("stdout was closed before the GIF was whole", "let the reader read to the end") from None
    except OSError as error:
        raise unwritable(Path(text), error) from None


@contextmanager
def _to_file(path: Path, canvas: Canvas) -> Iterator[Add]:
    with replacing(path) as partial, partial.open("wb") as file:
        writer = FORMATS[path.suffix.lower()](file, canvas)
        yield writer.add
        writer.close()


@contextmanager
def _to_stdout(canvas: Canvas) -> Iterator[Add]:
    """A GIF as it grows."""
    writer = Gif(sys.stdout.buffer, canvas)
    yield writer.add
    with _told("stdout"):
        writer.close()
        sys.stdout.buffer.flush()


_NAME = "step-{step:07d}{mark}.png"
_NAMES = "step-[0-9]*.png"


@contextmanager
def _to_folder(folder: Path, canvas: Canvas) -> Iterator[Add]:
    """A PNG a frame; the folder holds all of them or what it held before."""
    new = not folder.exists()
    with _told(str(folder)):
        folder.mkdir(exist_ok=True)
    try:
        yield from _filling(folder, canvas)
    finally:
        if new and not any(folder.iterdir()):
            folder.rmdir()


def _filling(folder: Path, canvas: Canvas) -> Iterator[Add]:
    with tempfile.TemporaryDirectory(dir=folder, prefix=".", suffix=".partial") as name:
        partial = Path(name)

        def add(picture: Picture, moment: Moment) -> None:
            file = partial / _NAME.format(step=moment.step, mark="-damaged" if moment.damaged else "")
            Image.fromarray(enlarged(picture, canvas.scale)).save(file, "PNG")

        yield add
        with _told(str(folder)):
            for old in folder.glob(_NAMES):
                old.unlink()
            for file in sorted(partial.iterdir()):
                file.replace(folder / file.name)


def sorted_out(files: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Models and outputs: the first name is a model's, and so is any other that ends in .safetensors."""
    is_model = [i == 0 or Path(text).suffix == ".safetensors" for i, text in enumerate(files)]
    models = [Path(text) for text, model in zip(files, is_model, strict=True) if model]
    return models, [text for text, model in zip(files, is_model, strict=True) if not model]


def check_outputs(outputs: Sequence[str], force: bool) -> None:
    """Refuses, before anything grows, what is of no format, what exists already, and what cannot be written."""
    for text in outputs:
        if text == STDOUT:
            if sys.stdout.isatty():
                raise UsageError("stdout is a terminal, which shows no GIF", "redirect it, as - > OUT.gif")
        elif _is_folder(Path(text), text):
            _check_folder(Path(text), force)
        else:
            _check_file(Path(text), force)
    absolute = [text if text == STDOUT else str(Path(text).absolute()) for text in outputs]
    doubled = [text for text, path in zip(outputs, absolute, strict=True) if absolute.count(path) > 1]
    if doubled:
        raise UsageError(f"{doubled[-1]} is named twice", "name each output once")


def _check_folder(path: Path, force: bool) -> None:
    if path.is_dir() and any(path.glob(_NAMES)) and not force:
        raise UsageError(f"{path} holds frames already", "give another name, or --force to replace them")
    check_writable([path / ".frames" if path.is_dir() else path], force)


def _check_file(path: Path, force: bool) -> None:
    if path.suffix.lower() not in FORMATS:
        raise UsageError(
            f"{path} ends in {path.suffix or 'nothing'}",
            f"choose an ending from {', '.join(FORMATS)}, a folder as frames/, or - for a GIF on stdout",
        )
    if FORMATS[path.suffix.lower()] in (Mp4, WebM):
        video.check()
    check_writable([path], force)


def _opened(text: str, canvas: Canvas) -> AbstractContextManager[Add]:
    path = Path(text)
    if text == STDOUT:
        return _to_stdout(canvas)
    return _to_folder(path, canvas) if _is_folder(path, text) else _to_file(path, canvas)


def render(
    films: Sequence[Film],
    outputs: Sequence[str],
    how: Rendering,
    watch: Callable[[Iterator[Frame]], Iterator[Frame]] = iter,
) -> None:
    """Lets the films run and writes all outputs on the way; `watch` sees the frames pass, for a progress bar.

    Raises UsageError and NcatoolError where an output cannot be written; what was there before is then untouched.
    """
    canvas = Canvas(films, how)
    with ExitStack() as stack:
        adders = {text: stack.enter_context(_opened(text, canvas)) for text in outputs}
        for frame in watch(frames(films, how)):
            picture = canvas.paint(frame)
            for text, add in adders.items():
                with _told(text):
                    add(picture, frame.moment)
