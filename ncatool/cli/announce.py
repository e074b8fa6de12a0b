"""What a command is about to do, in one line, before torch is imported: that takes seconds.

Nothing is said where an error is to be expected, which then stands alone; nothing here checks anything for good.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncatool.cli import terminal
from ncatool.config.names import Damage, Regime
from ncatool.config.schema import ModelConfig, RunConfig, TargetConfig, TrainConfig, split_sources
from ncatool.data.expansion import shorten_sources
from ncatool.data.file_spec import locate_file
from ncatool.data.medmnist import find_file
from ncatool.data.sample_spec import parse_spec
from ncatool.errors import NcatoolError
from ncatool.files.atomic import check_writable
from ncatool.files.toml import read_toml
from ncatool.nca.model_header import ModelHeader, read_header
from ncatool.nca.model_name import MODEL_SUFFIX, find_record

if TYPE_CHECKING:
    from ncatool.sweep.plan import PlannedRun

MAX_NAME = 40
"""Letters of a name that the line holds."""


def announce_training(
    config: RunConfig,
    given: Collection[str],
    out: Path,
    root: Path | None,
    force: bool,
    minutes: float | None = None,
) -> None:
    """Say what is trained: `phantom 28×28 · sobel · l2 · 2,800 iterations → phantom.safetensors`.

    `given` are the flat names of the settings that do not have their defaults; with `minutes` they decide how many
    iterations there are.
    """
    ready = out.suffix == MODEL_SUFFIX and _can_write([out], force)
    if not ready or not _is_here(config.target, root) or not _can_start(config, given):
        return
    initial = config.train.initial
    rule = [f"from {_shorten(initial)}"] if initial else [config.model.filter.value, *_list_sizes(config.model)]
    parts = [describe_target(config.target), *rule, config.train.loss.value, *_list_regime(config.train)]
    _announce([*parts, f"{minutes:g} min" if minutes else f"{config.train.iterations:,} iterations"], str(out))


def announce_resumption(model: Path, iterations: int | None) -> None:
    """Say which run goes on, how far it is and how far it goes."""
    header, record = read_header(model), _read_record(model)
    done, planned = record.get("result", {}).get("iterations"), record.get("train", {}).get("iterations")
    if header is None or not isinstance(done, int) or not isinstance(planned, int):
        return
    _announce([*describe_header(header), f"iteration {done:,} of {iterations or planned:,}"], str(model))


def announce_rendering(words: Sequence[str], steps: int | None, force: bool) -> None:
    """Say which models are rendered, and to which outputs; nothing beside a GIF on stdout, as filters do."""
    models, outputs = _split_words(words)
    headers = [header for model in models if (header := read_header(model)) is not None]
    can_show = _can_write([Path(output) for output in outputs], force) if outputs else sys.stderr.isatty()
    if len(headers) != len(models) or not models or "-" in outputs or not can_show:
        return
    about = describe_header(headers[0]) if len(models) == 1 else [f"{len(models)} models"]
    _announce([*about, *([f"{steps:,} steps"] if steps else [])], ", ".join(outputs) or "this terminal")


def announce_comparison(
    models: Sequence[Path], rollouts: int, steps: int, outputs: Sequence[Path], force: bool
) -> None:
    """Say how many models are measured, and how."""
    if not any(read_header(model) for model in models) or not _can_write(outputs, force):
        return
    count = "1 model" if len(models) == 1 else f"{len(models)} models"
    times = "1 rollout" if rollouts == 1 else f"{rollouts} rollouts"
    measures = [f"{times} of {steps:,} steps", f"{len(Damage)} kinds of damage"]
    _announce([count, *measures], ", ".join(map(str, outputs)))


def announce_sweep(planned: Sequence[PlannedRun], out: Path, root: Path | None, dry_run: bool) -> None:
    """Say how many runs there are, what is varied, and the iterations of all."""
    existing = next(folder for folder in (out, *out.parents) if folder.exists())
    if not _can_write([existing / "new"], True) or not all(_can_start(run.config, run.given) for run in planned):
        return
    if not all(_is_here(target, root) for target in {run.config.target for run in planned}):
        return
    varied: dict[str, dict[str, None]] = {}
    for run in planned:
        for name, value in run.varied.items():
            text = ("yes" if value else "no") if isinstance(value, bool) else str(value)
            text = shorten_sources(text) if name == "target" else text
            varied.setdefault(name, {})[_shorten(text)] = None
    parts = [f"{name.replace('_', ' ')} {_list_some(list(values))}" for name, values in varied.items()]
    targets = {describe_target(run.config.target) for run in planned}
    iterations = sum(run.config.train.iterations for run in planned)
    first = f"{len(planned)} runs of {targets.pop() if len(targets) == 1 else f'{len(targets)} targets'}"
    _announce([first, *parts, f"{iterations:,} iterations"], "timing only" if dry_run else f"{out}/")


def announce_conversion(source: Path, out: Path, force: bool) -> None:
    """Say which model is written in which form."""
    header = read_header(source)
    if source.is_file() and _can_write([out], force):
        _announce([_shorten(source.name), *(describe_header(header) if header is not None else [])], str(out))


def announce_gallery(models: Sequence[Path], out: Path, force: bool) -> None:
    """Say how many models one page shows."""
    if all(read_header(model) is not None for model in models) and out.suffix == ".html" and _can_write([out], force):
        _announce([f"{len(models)} models on one page"], str(out))


def announce_fetching(flags: Sequence[str], size: int, folder: Path, source: Path | None) -> None:
    """Say which sets are brought into which folder."""
    if source is None or source.is_file():
        origin = [] if source is None else [f"from {_shorten(str(source))}"]
        _announce([_list_some(flags, "sets"), f"{size} pixels", *origin], f"{folder}{os.sep}")


def describe_target(target: TargetConfig) -> str:
    """Return a target's name and size; of a picture from a file only the longer side is known yet."""
    margin = f" + {target.padding} around" if target.padding else ""
    sources = split_sources(target.source)
    if len(sources) > 1:
        return f"{len(sources)} pictures ({_shorten(shorten_sources(target.source))}) {target.size} cells{margin}"
    found = locate_file(target.source)
    if found is not None and (found.part or found.path.suffix or found.path.is_dir()):
        return f"{_shorten(found.name)} {target.size} cells{margin}"
    return f"{_shorten(target.source)} {target.size}×{target.size}{margin}"


def describe_header(header: ModelHeader) -> list[str]:
    """Return target, grid and filter of a model."""
    source, (height, width), names = header.get("target", "source"), header.shape, header.get("target", "names")
    if isinstance(names, list):
        return [f"{len(names)} pictures {height}×{width}", str(header.get("model", "filter"))]
    name = f"{_shorten(Path(str(source)).name)} " if source else ""
    return [f"{name}{height}×{width}", str(header.get("model", "filter"))]


def _announce(parts: Sequence[str], out: str) -> None:
    terminal.print_note(" · ".join(parts) + (f" → {out}" if out else ""))


def _shorten(text: str) -> str:
    return terminal.clean_line(text, MAX_NAME)


def _list_some(values: Sequence[str], noun: str = "values") -> str:
    return ", ".join(values) if len(values) <= 5 else f"{len(values)} {noun}"


def _list_sizes(model: ModelConfig) -> list[str]:
    """Return the sizes of the network that are not the usual ones."""
    sizes = {"channels": model.channels, "hidden units": model.hidden}
    usual = {"channels": ModelConfig.channels, "hidden units": ModelConfig.hidden}
    return [f"{size} {name}" for name, size in sizes.items() if size != usual[name]]


def _list_regime(train: TrainConfig) -> list[str]:
    words = {Regime.GROWING: "growing only", Regime.REGENERATING: "damage"}
    return [words[train.regime]] if train.regime in words else []


def _is_here(target: TargetConfig, root: Path | None) -> bool:
    """Return whether a target seems to be on this machine, with all of its pictures."""
    return all(_is_source_here(source, root) for source in split_sources(target.source))


def _is_source_here(source: str, root: Path | None) -> bool:
    if source == "phantom" or locate_file(source) is not None:
        return True
    spec = parse_spec(source)
    return spec is not None and find_file(spec.dataset, root) is not None


def _can_start(config: RunConfig, given: Collection[str]) -> bool:
    """Return whether the model to start from, if any, seems to be one, and of the rule that is asked for."""
    if not config.train.initial:
        return True
    header = read_header(Path(config.train.initial))
    rule = dataclasses.asdict(config.model)
    return header is not None and all(header.get("model", name) == rule[name] for name in rule if name in given)


def _can_write(outputs: Sequence[Path], force: bool) -> bool:
    """Return whether outputs seem to be free to write."""
    try:
        check_writable([path for path in outputs if not path.is_dir()], force)
    except NcatoolError:
        return False
    return True


def _read_record(model: Path) -> dict[str, Any]:
    try:
        record = read_toml(find_record(model)) if find_record(model).is_file() else {}
    except NcatoolError:
        return {}
    return {name: table for name, table in record.items() if isinstance(table, dict)}


def _split_words(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Return the models among the words of `render`, which may be named without their ending, and the outputs."""
    models, outputs = [], []
    for word in words:
        whole = Path(word if word.endswith(MODEL_SUFFIX) else f"{word}{MODEL_SUFFIX}")
        if word.endswith(MODEL_SUFFIX) or (not Path(word).suffix and read_header(whole) is not None):
            models.append(whole)
        else:
            outputs.append(word)
    return models, outputs
