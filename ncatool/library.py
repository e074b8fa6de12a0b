"""The library's face: train, load, grow, watch and measure models from Python, as the commands do."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from ncatool.config.flat import adopt_model, build_config, check_setting, check_settings
from ncatool.config.names import Device
from ncatool.config.schema import SEPARATOR, split_sources
from ncatool.data.default_name import name_model
from ncatool.data.medmnist import choose_default_source
from ncatool.data.sources import resolve_source
from ncatool.data.targets import convert_pictures, load_target, name_kind
from ncatool.engine.choose import check_precision
from ncatool.engine.compiled import configure_process
from ncatool.engine.device import resolve_device
from ncatool.errors import UsageError
from ncatool.evaluation.models import Candidate, evaluate
from ncatool.evaluation.protocol import Protocol
from ncatool.evaluation.table import to_json
from ncatool.nca.model_file import ModelData, load_model, read_record
from ncatool.nca.model_name import find_model, find_record
from ncatool.nca.picture import enlarge, parse_background
from ncatool.nca.pictures import adopt_seeds
from ncatool.rendering.damage_script import parse_script
from ncatool.rendering.gif import Gif
from ncatool.rendering.layout import Layout
from ncatool.rendering.pace import plan_pace
from ncatool.rendering.playback import Playback, play_frames
from ncatool.rendering.render import check_outputs, render
from ncatool.rendering.timeline import RenderSettings
from ncatool.training.run import Run
from ncatool.training.run_files import RunFiles, list_inputs
from ncatool.training.signals import catch_signals
from ncatool.training.trainer import Report

Picture = str | Path | Image.Image | np.ndarray
"""A target: `phantom`, an image file, a MedMNIST sample, a Pillow image, or an array of the shape [height, width],
[height, width, 3] or [height, width, 4], of uint8 or of floats from 0 to 1; RGBA is not premultiplied."""


class Model:
    """A trained model: the weights, the settings of its rule, and the picture that it grows, or several."""

    def __init__(self, data: ModelData, path: Path) -> None:
        self.data = data
        """Weights, settings of the rule, and target."""
        self.path = path
        """The file that it was loaded from."""

    def __repr__(self) -> str:
        height, width = self.data.target.shape
        rule = self.data.config
        count = f"{len(self.pictures)} pictures, " if self.data.target.others else ""
        sizes = f"{height}x{width} cells, {rule.filter} filter, {rule.channels} channels"
        return f"Model({str(self.path)!r}: {count}{sizes})"

    @property
    def name(self) -> str:
        """The file's name without its ending; of one picture of several, with the picture's name after a colon."""
        picture = "" if self.data.target.others else self.data.target.name
        return f"{self.path.stem}:{picture}" if picture else self.path.stem

    @cached_property
    def pictures(self) -> dict[str, Model]:
        """The model of each picture, by its name: `model.pictures["lizard"].grow()`."""
        return {one.target.name or self.name: Model(one, self.path) for one in self.data.pictures}

    @cached_property
    def record(self) -> dict[str, Any]:
        """What the file beside the model, NAME.toml, says of its training; without it, what the model's header says."""
        return read_record(self.path, self.data)

    @property
    def target(self) -> UInt8[np.ndarray, "height width 4"]:
        """The picture that it grows, or the first of several: RGBA, not premultiplied, without padding."""
        return self.data.target.pixels

    def grow(self, steps: int = 200, **settings: Any) -> Float[np.ndarray, "height width channel"]:
        """Return the state after some steps: RGBA premultiplied by alpha, then the hidden channels.

        Settings are those of `ncatool render`: seed, damage (such as "circle@100"), grid (height, width), at (row and
        column of each seed), rotate (degrees), mirror. The fire masks are those of a rendering, so that both show the
        same cells. Raises UsageError for a model of several pictures: which is to grow?
        """
        chosen = make_render_settings(steps=steps, **{"every": max(1, steps), **settings})
        playback = Playback(self._require_one(), chosen)
        for _ in play_frames([playback], chosen):
            pass
        return playback.state[0].cpu().numpy().copy()

    def frames(self, steps: int = 500, **settings: Any) -> Iterator[Image.Image]:
        """Return the frames of a rendering one by one, as Pillow images; several pictures are tiles.

        Settings are those of `ncatool render`: every, scale, damage, background, view, overlay, trim, grid, at,
        rotate, mirror, seed.
        """
        chosen = make_render_settings(steps=steps, **settings)
        playbacks = self._list_playbacks(chosen)
        layout = Layout(playbacks, chosen)
        for frame in play_frames(playbacks, chosen):
            yield Image.fromarray(enlarge(layout.paint(frame), layout.scale))

    def save(self, *outputs: str | Path, force: bool = False, **settings: Any) -> None:
        """Write animations, videos, sheets or folders of frames, as `ncatool render` does.

        Settings are those of `frames`, and fps and hold. Raises UsageError for an output that exists, unless `force`
        is set, or whose ending means nothing.
        """
        names = [str(output) for output in outputs]
        check_outputs(names, force, [self.path, find_record(self.path)])
        chosen = plan_pace(self.data.pictures, make_render_settings(**settings), settings)
        render(self._list_playbacks(chosen), names, chosen, overwrite=force)

    def evaluate(
        self, rollouts: int = 16, steps: int = 2000, seed: int = 0, progress: Callable[[int, int], object] | None = None
    ) -> dict[str, Any]:
        """Measure how well the model grows, persists and regenerates; the names are those of `compare --json`.

        `progress` is called with the steps done and the steps in all. Raises UsageError for a model of several
        pictures: which is to be measured?
        """
        protocol = Protocol(rollouts=rollouts, steps=steps, seed=seed)
        candidate = Candidate(self.name, self.path, self._require_one(), self.record)
        done, total = 0, protocol.count_steps(candidate.model.target.shape)

        def count() -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress(done, total)

        return to_json(evaluate(candidate, protocol, count))

    def _require_one(self) -> ModelData:
        """Return the model; raise UsageError where it grows several pictures."""
        if self.data.target.others:
            raise UsageError(f"{self.path} grows {len(self.pictures)} pictures", f"choose one: {list(self.pictures)}")
        return self.data

    def _list_playbacks(self, settings: RenderSettings) -> list[Playback]:
        """Return a playback of each picture."""
        return [Playback(one.data, settings, name) for name, one in self.pictures.items()]

    def _repr_mimebundle_(
        self, include: Iterable[str] | None = None, exclude: Iterable[str] | None = None
    ) -> dict[str, Any]:
        """Show the model growing where it is the last line of a notebook's cell."""
        return {"image/gif": self._draw_gif(), "text/plain": repr(self)}

    def _draw_gif(self) -> bytes:
        buffer = io.BytesIO()
        chosen = plan_pace(self.data.pictures, RenderSettings(), ())
        playbacks = self._list_playbacks(chosen)
        layout = Layout(playbacks, chosen)
        writer = Gif(buffer, layout)
        for frame in play_frames(playbacks, chosen):
            writer.add(layout.paint(frame), frame.moment)
        writer.close()
        return buffer.getvalue()


def load(path: str | Path, device: str = "auto") -> Model:
    """Load a model file.

    `device` is auto, cpu, cuda or mps. Raises NcatoolError for a file that is missing, damaged, not a model, or
    contradicted by the record beside it.
    """
    configure_process(0)
    place = resolve_device(Device(device))
    found = find_model(str(path))
    return Model(load_model(found).move_to(place), found)


def train(
    target: Picture | Sequence[Picture] | None = None,
    out: str | Path | None = None,
    *,
    progress: Callable[[Report], object] | None = None,
    root: str | Path | None = None,
    force: bool = False,
    **settings: Any,
) -> Model:
    """Train a model that grows a picture, and leave the files that `ncatool train` leaves, with the same bytes.

    Of a list of pictures, one model learns all; a text, such as a folder's name, may stand for several. `out` is the
    model file, by default named after the target: phantom.safetensors, photo.safetensors.

    Settings are the options of `ncatool train` with underscores (`from_` is the option `--from`); `root` is the folder
    of MedMNIST files. `progress` is called with a report after each iteration. An interruption saves everything, for
    `ncatool resume`, and is raised again. Raises UsageError for a setting that does not exist or is out of range, and
    NcatoolError where training fails; the last good model is then saved.
    """
    folder = None if root is None else Path(root)
    named = {name.rstrip("_"): value for name, value in settings.items()}
    pictures = _list_pictures(named.pop("target", None) if target is None else target, folder)
    named["target"] = SEPARATOR.join(one if isinstance(one, str) else name_kind(one) for one in pictures)
    given = check_settings(named, "ncatool.train")
    model = name_model(given["target"]) if out is None else Path(out)
    run = prepare_run(given, model, root=folder, force=force, pictures=pictures)
    with run.files.lock(), catch_signals() as stopped:
        run.files.check(force)  # another process may have written them meanwhile
        for report in run.train(lambda: stopped() is not None):
            if progress is not None:
                progress(report)
        if run.trainer.iteration < run.config.train.iterations:
            raise KeyboardInterrupt
        run.write_results()
    return load(model, run.config.train.device)


def _list_pictures(target: Any, root: Path | None) -> list[str | Image.Image | np.ndarray]:
    """Return the pictures of a target, of which a text may name several; without a target the default one."""
    given = target if isinstance(target, list | tuple) else [choose_default_source(root) if target is None else target]
    pictures: list[str | Image.Image | np.ndarray] = []
    for one in given:
        if isinstance(one, str | Path):
            _, source = check_setting("target", str(one), "ncatool.train")
            pictures += split_sources(resolve_source(source, root))
        else:
            pictures.append(one)
    if not pictures:
        raise UsageError("the list of targets is empty", "name a picture, or leave the target out")
    return pictures


def prepare_run(
    given: Mapping[str, Any],
    out: Path,
    *,
    root: Path | None = None,
    force: bool = False,
    pictures: Sequence[str | Image.Image | np.ndarray] = (),
    inputs: Sequence[Path] = (),
) -> Run:
    """Check what a run needs, before anything is written, and return the run.

    `given` are the settings that were given, by their flat names, each of its type; `pictures`, if any, take the place
    of the target that they name; `inputs` are files that have been read already. Raises UsageError for a target or a
    model to start from that cannot be read, for settings that contradict that model, for files of the run that exist,
    unless `force` is set, and for those that are inputs themselves.
    """
    config = build_config(given)
    start = load_model(Path(config.train.initial)) if config.train.initial else None
    if start is not None:
        config = adopt_model(config, given, start.config, start.train)
    check_precision(resolve_device(config.train.device), config.train.precision)
    if all(isinstance(one, str) for one in pictures):
        target = load_target(config.target, root)
    else:
        target = convert_pictures(pictures, config.target, root)
    files = RunFiles(out)
    files.check(force, [*inputs, *list_inputs(config)])
    configure_process(config.train.threads)
    seed = adopt_seeds(start, target, config.train.seed) if start else None
    return Run(config, target, files, start.weights if start else None, seed)


def make_render_settings(**settings: Any) -> RenderSettings:
    """Return the settings of a rendering; damage may be a script such as "circle@200", background a colour's name.

    Raises UsageError for a setting that does not exist, or a value that has no meaning.
    """
    fields = [field.name for field in dataclasses.fields(RenderSettings)]
    for name in settings:
        if name not in fields:
            raise UsageError(f"there is no setting {name} of a rendering", f"choose from {', '.join(fields)}")
    steps = settings.get("steps", RenderSettings.steps)
    if isinstance(settings.get("damage"), str):
        settings["damage"] = parse_script([settings["damage"]], steps)
    if isinstance(settings.get("background"), str):
        settings["background"] = parse_background(settings["background"])
    return RenderSettings(**settings)


__all__ = ["Model", "load", "train"]
