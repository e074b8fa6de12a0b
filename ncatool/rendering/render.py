"""A rendering's outputs: animations, videos, a sheet of stages, a folder of frames, stdout; all from one rollout."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from ncatool.data.file_spec import FileSpec
from ncatool.errors import NcatoolError, UsageError
from ncatool.files.atomic import check_writable, describe_write_error, replace_atomically
from ncatool.nca.model_name import MODEL_SUFFIX, find_record, leave_out_checkpoints
from ncatool.nca.picture import Picture, enlarge
from ncatool.rendering import video
from ncatool.rendering.apng import Apng
from ncatool.rendering.colour_bar import draw_colour_bar
from ncatool.rendering.drawing import SHEET_FORMATS
from ncatool.rendering.gif import Gif
from ncatool.rendering.layout import Layout
from ncatool.rendering.playback import Frame, Playback, play_frames
from ncatool.rendering.sheet import arrange_drawing, join_drawings
from ncatool.rendering.timeline import Moment, RenderSettings
from ncatool.rendering.video import Mp4, WebM
from ncatool.rendering.webp import WebP
from ncatool.rendering.writer import Writer

STAGE_COUNT = 11
GROWTH_STAGE_COUNT = 3
"""Frames of growth on a contact sheet: where nothing is damaged, and at least where something is, two for a damage."""
MAX_SHEET_WIDTH = 1600
"""Pixels that a sheet's pictures take in a row, at most."""
STDOUT = "-"

Add = Callable[[Picture, Moment], None]


class Sheet:
    """The stages and the target, labelled, as PNG."""

    image_format = "png"

    def __init__(self, file: BinaryIO, canvas: Layout) -> None:
        self._file, self._canvas = file, canvas
        self._chosen = set(choose_stages(canvas.moments))
        self._shown: list[tuple[str, Picture]] = []
        self._seen = 0

    def add(self, picture: Picture, moment: Moment) -> None:
        if self._seen in self._chosen:
            label = f"step {moment.step} {moment.change}".strip()
            self._shown.append((label, enlarge(picture, self._canvas.scale)))
        self._seen += 1

    def close(self) -> None:
        height, width = self._shown[0][1].shape[:2]
        goal, scale = self._canvas.paint_targets(), self._canvas.colour_scale
        if goal is not None:
            self._shown.append(("target", enlarge(goal, self._canvas.scale)))
        labels, contents = zip(*self._shown, strict=True)
        columns = max(1, min(6, MAX_SHEET_WIDTH // width))
        sheet = arrange_drawing(contents, labels, columns, self._canvas.background)
        if scale is not None:
            bar = draw_colour_bar(scale, height, self._canvas.background)
            sheet = join_drawings(sheet, arrange_drawing([bar], [self._canvas.colour_label], 1, sheet.background))
        sheet.save(self._file, self.image_format)


class SvgSheet(Sheet):
    """A sheet as SVG."""

    image_format = "svg"


class PdfSheet(Sheet):
    """A sheet as PDF."""

    image_format = "pdf"


def choose_stages(moments: Sequence[Moment]) -> list[int]:
    """Return indices of growth, denser at the start; then of each change, and of what comes of it before the next."""
    hits = [i for i, moment in enumerate(moments) if moment.change]
    end, count = hits[0] - 1 if hits else len(moments) - 1, max(GROWTH_STAGE_COUNT, STAGE_COUNT - 2 * len(hits))
    grown = {round(end * (i / (count - 1)) ** 2) for i in range(count)}
    healed = [i - 1 for i in hits[1:]] + [len(moments) - 1]
    return sorted({*grown, *hits, *healed})


WRITERS: dict[str, type[Writer]] = {
    ".gif": Gif,
    ".webp": WebP,
    ".apng": Apng,
    ".mp4": Mp4,
    ".webm": WebM,
    ".png": Sheet,
    ".svg": SvgSheet,
    ".pdf": PdfSheet,
}
"""What each ending means."""


def _is_folder(path: Path, text: str) -> bool:
    return text.endswith(("/", os.sep)) or path.is_dir()


@contextmanager
def _name_output_in_errors(text: str) -> Iterator[None]:
    """Name the output that failed in the error, not another one that is open, too."""
    try:
        yield
    except BrokenPipeError:
        raise NcatoolError("stdout was closed before the GIF was whole", "let the reader read to the end") from None
    except OSError as error:
        if text == STDOUT:
            what = f"stdout cannot be written: {'it is closed' if error.errno == errno.EBADF else error.strerror}"
            raise NcatoolError(what, "give it a file with space or a program that reads it, as - > OUT.gif") from None
        raise describe_write_error(Path(text), error) from None


@contextmanager
def _open_file(path: Path, canvas: Layout, overwrite: bool) -> Iterator[Add]:
    with replace_atomically(path, overwrite) as partial, partial.open("wb") as file:
        writer = WRITERS[path.suffix.lower()](file, canvas)
        yield writer.add
        writer.close()


@contextmanager
def _open_stdout(canvas: Layout) -> Iterator[Add]:
    """A GIF as it grows."""
    # A descriptor of its own: the command line's stdout would drop what cannot be written.
    file = open(os.dup(sys.stdout.fileno()), "wb")  # noqa: PTH123, SIM115 - closing it may fail
    try:
        with _name_output_in_errors(STDOUT):
            writer = Gif(file, canvas)
        yield writer.add
        with _name_output_in_errors(STDOUT):
            writer.close()
            file.flush()
    finally:
        with suppress(OSError):
            file.close()


_STEP_DIGITS = 7
_CHANGE_MARK = ".then-"
"""Stands before the change that a frame shows; it sorts behind `.png`, whether sorting regards punctuation or not."""
_FRAME_PATTERN = "step-[0-9]*.png"


@contextmanager
def _open_folder(folder: Path, canvas: Layout) -> Iterator[Add]:
    """A PNG a frame, whose names sort in the order of time; the folder holds all of them or what it held before."""
    new = not folder.exists()
    with _name_output_in_errors(str(folder)):
        folder.mkdir(exist_ok=True)
    try:
        yield from _write_frames(folder, canvas)
    finally:
        if new and not any(folder.iterdir()):
            folder.rmdir()


def _write_frames(folder: Path, canvas: Layout) -> Iterator[Add]:
    with tempfile.TemporaryDirectory(dir=folder, prefix=".", suffix=".partial") as name:
        partial = Path(name)

        digits = max(_STEP_DIGITS, len(str(canvas.settings.steps)))

        def add(picture: Picture, moment: Moment) -> None:
            file = partial / f"step-{moment.step:0{digits}d}{_CHANGE_MARK + moment.change if moment.change else ''}.png"
            Image.fromarray(enlarge(picture, canvas.scale)).save(file, "PNG")

        yield add
        with _name_output_in_errors(str(folder)):
            for old in folder.glob(_FRAME_PATTERN):
                old.unlink()
            for file in sorted(partial.iterdir()):
                file.replace(folder / file.name)


def split_arguments(files: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Models and outputs: the first name is a model's, and so is any other that ends in .safetensors."""
    is_model = [i == 0 or Path(text).suffix == MODEL_SUFFIX for i, text in enumerate(files)]
    models = [Path(text) for text, model in zip(files, is_model, strict=True) if model]
    outputs = [text for text, model in zip(files, is_model, strict=True) if not model]
    return leave_out_checkpoints(models), outputs


def check_outputs(outputs: Sequence[str], force: bool, inputs: Sequence[Path] = ()) -> None:
    """Refuses, before anything grows, what is of no format, exists already, is read itself, or cannot be written."""
    for text in outputs:
        if text == STDOUT:
            if sys.stdout.isatty():
                raise UsageError("stdout is a terminal, which shows no GIF", "redirect it, as - > OUT.gif")
        elif _is_folder(Path(text), text):
            _check_folder(Path(text), force, inputs)
        else:
            _check_file(Path(text), force, inputs)
    absolute = [text if text == STDOUT else str(Path(text).absolute()) for text in outputs]
    doubled = [text for text, path in zip(outputs, absolute, strict=True) if absolute.count(path) > 1]
    if doubled:
        raise UsageError(f"{doubled[-1]} is named twice", "name each output once")


def list_inputs(models: Sequence[Path], settings: RenderSettings) -> list[Path]:
    """Return the files that a rendering reads: models, their records, masks of damage."""
    masks = [event.shape.path for event in settings.damage if isinstance(event.shape, FileSpec)]
    return [*models, *map(find_record, models), *masks]


def _check_folder(path: Path, force: bool, inputs: Sequence[Path]) -> None:
    frames = list(path.glob(_FRAME_PATTERN)) if path.is_dir() else []
    if frames and not force:
        raise UsageError(f"{path} holds frames already", "give another name, or --force to replace them")
    check_writable([*frames, path / ".frames" if path.is_dir() else path], force, inputs)


def _check_file(path: Path, force: bool, inputs: Sequence[Path]) -> None:
    if path.suffix.lower() not in WRITERS:
        raise UsageError(
            f"{path} ends in {path.suffix or 'nothing'}",
            f"choose an ending from {', '.join(WRITERS)}, a folder as frames/, or - for a GIF on stdout",
        )
    if WRITERS[path.suffix.lower()] in (Mp4, WebM):
        video.check_available()
    check_writable([path], force, inputs)


def is_sheet(text: str) -> bool:
    """Return whether an output is a sheet of stages."""
    path = Path(text)
    return not _is_folder(path, text) and path.suffix.lower() in SHEET_FORMATS


def _open_output(text: str, canvas: Layout, overwrite: bool) -> AbstractContextManager[Add]:
    path = Path(text)
    if text == STDOUT:
        return _open_stdout(canvas)
    return _open_folder(path, canvas) if _is_folder(path, text) else _open_file(path, canvas, overwrite)


def render(
    films: Sequence[Playback],
    outputs: Sequence[str],
    how: RenderSettings,
    watch: Callable[[Iterator[Frame]], Iterator[Frame]] = iter,
    overwrite: bool = True,
) -> None:
    """Lets the films run and writes all outputs on the way; `watch` sees the frames pass, for a progress bar.

    Raises UsageError and NcatoolError where an output cannot be written, or exists by then, unless `overwrite` is set;
    what was there before is then untouched.
    """
    layouts = {for_sheet: Layout(films, how, for_sheet) for for_sheet in {is_sheet(text) for text in outputs}}
    with ExitStack() as stack:
        adders = {text: stack.enter_context(_open_output(text, layouts[is_sheet(text)], overwrite)) for text in outputs}
        for frame in watch(play_frames(films, how)):
            pictures = {for_sheet: layout.paint(frame) for for_sheet, layout in layouts.items()}
            for text, add in adders.items():
                with _name_output_in_errors(text):
                    add(pictures[is_sheet(text)], frame.moment)
