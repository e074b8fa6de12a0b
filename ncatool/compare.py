"""Several models, the same trial: numbers, tables, pictures."""

from __future__ import annotations

import csv
import glob
import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ncatool.checkpoint import Model, labels, load_model
from ncatool.config import Damage, Metric, View
from ncatool.errors import NcatoolError, UsageError, brief
from ncatool.files import read_toml
from ncatool.film import Film, Rendering
from ncatool.loss import psnr
from ncatool.model import kernels
from ncatool.render import render
from ncatool.script import Event
from ncatool.state import SIZES
from ncatool.trial import GROWN, Measures, Spread, Tick, Trial, measure
from ncatool.view import VIEWS, WHITE, Picture, Scene, coloured, default_scale, enlarged, sheet

HALVES = (Damage.LEFT, Damage.RIGHT, Damage.TOP, Damage.BOTTOM)
TILE = 84
"""Pixels that the longer side of a picture takes on a sheet, about."""
ANIMATION = Rendering(steps=400, every=4, damage=(Event(200, Damage.CIRCLE, SIZES[Damage.CIRCLE]),))
"""All models grow side by side, and are wounded together."""


@dataclass(frozen=True)
class Contender:
    """A model to be compared, and what its record says of it."""

    name: str
    path: Path
    model: Model
    record: dict[str, Any] = field(default_factory=dict)

    def setting(self, table: str, name: str) -> str:
        """A value of the record as text; "?" where there is none."""
        values = self.record.get(table)
        return str(values.get(name, "?")) if isinstance(values, dict) else "?"

    @property
    def about(self) -> dict[str, str]:
        """What the table groups by: filter, loss, damage, target."""
        regime = self.setting("train", "regime")
        height, width = self.model.target.shape
        return {
            "filter": self.model.config.filter.value,
            "loss": self.setting("train", "loss"),
            "damage": {"?": "?", "regenerating": "yes"}.get(regime, "no"),
            "target": f"{self.setting('target', 'source')} {height}x{width}",
        }

    @cached_property
    def target_key(self) -> str:
        """The same for models that grow the same pixels on the same grid."""
        record = self.model.target.record()
        return f"{record['sha256']} {record['padding']}"

    @property
    def notes(self) -> list[str]:
        """What a reader of its numbers should know."""
        kernel, transposed = kernels(self.model.config.filter)
        if torch.equal(kernel, transposed):
            name = self.model.config.filter
            return [f"{name} is symmetric: both filtered channels are the same, and cells have no sense of direction"]
        return []


def _decibels(errors: Spread) -> Spread:
    return Spread(psnr(errors.median), psnr(errors.high), psnr(errors.low))


def _wounded(shape: Damage) -> dict[str, Callable[[Measures], Spread | float]]:
    return {
        f"regeneration_{shape}": lambda m: m.wounds[shape].regeneration,
        f"healing_steps_{shape}": lambda m: m.wounds[shape].steps,
    }


MEASURES: dict[str, Callable[[Measures], Spread | float]] = {
    f"mse_at_{GROWN}": lambda m: m.growth,
    f"psnr_at_{GROWN}": lambda m: _decibels(m.growth),
    f"ssim_at_{GROWN}": lambda m: m.ssim_grown,
    "step_under_0.001": lambda m: m.first_good,
    "mse_later": lambda m: m.persistence,
    "psnr_later": lambda m: _decibels(m.persistence),
    "mse_worst": lambda m: m.worst,
    "psnr_worst": lambda m: _decibels(m.worst),
    "ssim_final": lambda m: m.ssim_final,
    "settling_step": lambda m: m.settling,
    **{name: take for shape in Damage for name, take in _wounded(shape).items()},
    "regeneration_halves": lambda m: min(m.wounds[half].regeneration.median for half in HALVES),
    "dead": lambda m: m.dead,
    "exploded": lambda m: m.exploded,
}
"""Every measure by name, as JSON and CSV have it."""


@dataclass(frozen=True)
class Entry:
    """A contender after its trial."""

    contender: Contender
    numbers: dict[str, Spread | float]
    """Every measure by name."""
    measures: Measures

    def middle(self, name: str) -> float:
        """A measure's median."""
        value = self.numbers[name]
        return value.median if isinstance(value, Spread) else value


@dataclass(frozen=True)
class Column:
    """A measure in the table."""

    name: str
    heading: str
    meaning: str
    ranked: bool = True
    """Whether one can be better than another: what never moves has settled, too."""

    @property
    def high(self) -> bool:
        """Whether more is better."""
        return self.name.startswith(HIGH)


def columns(metric: Metric) -> list[Column]:
    """The measures of the table, errors in this metric."""
    errors = {
        Metric.MSE: [
            Column(f"mse_at_{GROWN}", f"MSE {GROWN}", f"mean squared error over RGBA at step {GROWN}"),
            Column("mse_later", "MSE 200+", "median error from step 200 on"),
            Column("mse_worst", "worst", "highest error from step 200 on"),
        ],
        Metric.PSNR: [
            Column(f"psnr_at_{GROWN}", f"PSNR {GROWN}", f"peak signal-to-noise ratio in dB at step {GROWN}"),
            Column("psnr_later", "PSNR 200+", "its median from step 200 on"),
            Column("psnr_worst", "worst", "its lowest from step 200 on"),
        ],
        Metric.SSIM: [
            Column(f"ssim_at_{GROWN}", f"SSIM {GROWN}", f"structural similarity, RGB on white, at step {GROWN}"),
            Column("ssim_final", "SSIM end", "the same at the last step"),
        ],
    }[metric]
    return [
        *errors,
        Column("step_under_0.001", "grown at", "first step with an MSE under 0.001"),
        Column("settling_step", "settles", "step from which on the mean change stays under 0.001 a step", ranked=False),
        Column("regeneration_circle", "circle", "share of the harm of a circle that 200 steps undo"),
        Column("regeneration_halves", "halves", "the same of the half that is undone worst"),
        Column("regeneration_square", "square", "the same of a square in the middle"),
        Column("dead", "dead", "share of rollouts without a living cell at the end"),
        Column("exploded", "exploded", "share of rollouts beyond 10, or no number"),
    ]


def _may_be_model(path: Path) -> bool:
    return path.suffix == ".safetensors" and not path.name.endswith(".checkpoint.safetensors")


def model_paths(names: Sequence[str]) -> list[Path]:
    """Files, the models in folders (at any depth, without checkpoints), and what patterns match; each once."""
    paths: dict[Path, None] = {}
    for name in names:
        path = Path(name)
        matches = [path]
        if path.is_dir():
            matches = [found for found in sorted(path.rglob("*")) if _may_be_model(found)]
        elif not path.exists() and glob.has_magic(name):
            found_names = sorted(glob.glob(name, recursive=True))  # noqa: PTH207 - may be absolute
            matches = [Path(match) for match in found_names if _may_be_model(Path(match))]
        if not matches:
            raise UsageError(f"there is no model in {name}", "name model files, folders that hold some, or a pattern")
        paths.update(dict.fromkeys(matches))
    return list(paths)


def load(paths: Sequence[Path], device: torch.device) -> tuple[list[Contender], dict[Path, NcatoolError]]:
    """What can be loaded, grouped by filter, loss, damage; and what was wrong with the rest."""
    contenders, failed = [], {}
    for path, name in zip(paths, labels(paths), strict=True):
        sidecar = path.with_suffix(".toml")
        try:
            model = load_model(path).on(device)
            contenders.append(Contender(name, path, model, read_toml(sidecar) if sidecar.exists() else {}))
        except NcatoolError as error:
            failed[path] = error
    return sorted(contenders, key=lambda one: (*one.about.values(), one.name)), failed


def compare(contender: Contender, trial: Trial, tick: Tick = lambda: None) -> Entry:
    """Puts a model to the test."""
    measures = measure(contender.model, trial, tick)
    return Entry(contender, {name: take(measures) for name, take in MEASURES.items()}, measures)


HIGH = ("psnr", "ssim", "regeneration")
"""How the names of measures begin of which more is better."""
SORTABLE = ("name", "filter", "loss", "damage", "target")


def ordered(entries: Sequence[Entry], by: str) -> list[Entry]:
    """Sorted by a measure, the best first, or by what a contender is."""
    if by in SORTABLE:
        return sorted(entries, key=lambda entry: {**entry.contender.about, "name": entry.contender.name}[by])
    sign = -1 if by.startswith(HIGH) else 1

    def place(entry: Entry) -> tuple[bool, float]:
        value = entry.middle(by)
        return not math.isfinite(value), sign * value

    return sorted(entries, key=place)


def check_sortable(by: str) -> None:
    """Refuses what no column is called."""
    if by not in (*SORTABLE, *MEASURES):
        choices = ", ".join((*SORTABLE, *MEASURES))
        raise UsageError(f"there is no column {brief(by)} to sort by", f"choose from {choices}")


def best(entries: Sequence[Entry], column: Column) -> set[str]:
    """Names of those that are best in a column among those of their target; nobody where most of them are."""
    found: set[str] = set()
    if not column.ranked:
        return found
    rivals: dict[str, list[Entry]] = {}
    for entry in entries:
        rivals.setdefault(entry.contender.target_key, []).append(entry)
    for group in rivals.values():
        values = {entry.contender.name: entry.middle(column.name) for entry in group}
        top = (max if column.high else min)(values.values())
        winners = {name for name, value in values.items() if value == top}
        if math.isfinite(top) and 2 * len(winners) <= len(group):
            found |= winners
    return found


def shown(value: float) -> str:
    """A number as the table has it; a dash for never."""
    if not math.isfinite(value):
        return "–"
    if abs(value) < 1e5 and (value == round(value) or abs(value) >= 100):
        return str(round(value))
    return f"{value:.3g}" if 0.01 <= abs(value) < 100 else f"{value:.1e}"


def plain(entry: Entry) -> dict[str, Any]:
    """A model's numbers as JSON has them: quartiles by name, null for never."""

    def value(number: Spread | float) -> Any:
        if isinstance(number, Spread):
            return {"median": _finite(number.median), "q25": _finite(number.low), "q75": _finite(number.high)}
        return _finite(number)

    contender = entry.contender
    about = {"model": contender.name, "path": str(contender.path), **contender.about, "notes": contender.notes}
    return {**about, **{name: value(number) for name, number in entry.numbers.items()}}


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def as_csv(entries: Sequence[Entry]) -> str:
    """A row a model: what it is, then each measure's median and quartiles; empty for never."""
    text = io.StringIO()
    rows = [flat(entry) for entry in entries]
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def flat(entry: Entry) -> dict[str, Any]:
    """A model's row of the CSV."""
    row: dict[str, Any] = {}
    for name, value in plain(entry).items():
        if isinstance(value, dict):
            row.update({name: value["median"], f"{name}_q25": value["q25"], f"{name}_q75": value["q75"]})
        else:
            row[name] = "; ".join(value) if isinstance(value, list) else value
    return row


def strip(entry: Entry) -> Image.Image:
    """Target, stages, wound, what became of it, and where the last step is wrong; the first rollout's."""
    model, measures = entry.contender.model, entry.measures
    wanted = model.target.premultiplied()
    scale = default_scale(wanted.shape[0], wanted.shape[1], TILE)
    damaged, healed = measures.wounds[Damage.CIRCLE].shots
    moments = {f"step {step}": shot for step, shot in sorted(measures.course.shots.items())}
    pictures: dict[str, Picture] = {
        label: coloured(visible, WHITE, scale)
        for label, visible in {"target": wanted, **moments, "damaged": damaged, "healed": healed}.items()
    }
    final = measures.course.shots[max(measures.course.shots)]
    (error,) = VIEWS[View.ERROR](Scene(final, final, wanted), WHITE, scale)
    pictures["error at the end"] = error.picture
    enlarged_ = [enlarged(picture, scale) for picture in pictures.values()]
    return sheet(enlarged_, list(pictures), len(pictures), WHITE)


def picture(entries: Sequence[Entry]) -> Image.Image:
    """A strip a model, its name below."""
    strips = [np.asarray(strip(entry)) for entry in entries]
    return sheet(strips, [entry.contender.name for entry in entries], 1, WHITE)


def animate(contenders: Sequence[Contender], out: str, watch: Callable[[Any], Any]) -> None:
    """All models side by side, from the seed, wounded together half-way."""
    films = [Film(contender.model, ANIMATION, contender.name) for contender in contenders]
    render(films, [out], ANIMATION, watch)
