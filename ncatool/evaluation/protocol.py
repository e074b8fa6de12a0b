"""How well a model does, in numbers: does it grow, persist, regenerate, and does it stay healthy?

The measures of a trial, each over independent rollouts from the seed, errors always MSE over RGBA:
growth (the error at step 96, the first step under 1e-3), persistence (median and worst error from
step 200 on), settling (when it stops moving), regeneration (how much of a wound is undone 200 steps
later, and when nine tenths are), health (the share of rollouts that died or exploded).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ncatool.config.names import Damage
from ncatool.config.schema import within
from ncatool.engine.advance import advance
from ncatool.nca.damage import DAMAGE, SIZES, on_grid
from ncatool.nca.loss import error, mse
from ncatool.nca.model_file import Model
from ncatool.nca.state import living, seed
from ncatool.nca.types import Mask, State

GROWN = 96
"""Step at which growth is measured."""
SETTLED = 200
"""Step from which on persistence is measured, and at which wounds are made."""
HEALING = 200
"""Steps after a wound."""
GOOD = 1e-3
"""MSE under which a picture counts as grown."""
STILL = 1e-3
"""Mean change of RGBA in a step under which a picture counts as settled."""
HEALED = 0.9
"""Share of a wound's harm that is to be undone."""
EXPLODED = 10.0
"""Of any channel."""
SHOTS = (20, 60, 96, 200, 500, 2000)
"""Steps of which pictures are kept."""
_VALUES_AT_ONCE = 2**26
"""Of states that are advanced together: 256 MB."""

Tick = Callable[[], object]
"""Called after every step, for a progress bar."""
T = TypeVar("T", "Course", "Wound")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """How models are put to the test."""

    rollouts: int = 16
    """Independent rollouts, of a model."""
    steps: int = 2000
    """Steps of each."""
    seed: int = 0
    """Of the fire masks; models of one size get the same."""

    def __post_init__(self) -> None:
        within("rollouts", self.rollouts, 1, 4096)
        within("steps", self.steps, SETTLED, 10**6)
        within("seed", self.seed, 0, 2**62)

    @property
    def total(self) -> int:
        """Steps that are ticked for a model."""
        return self.steps + len(Damage) * HEALING


class Spread(NamedTuple):
    """Median and quartiles over rollouts; infinite: never."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float] | Float[np.ndarray, "rollouts"]) -> Spread:
    """Quartiles, interpolated as numpy does; what is no number counts as infinite."""
    ordered = np.sort(np.nan_to_num(np.asarray(values, np.float64), nan=np.inf, posinf=np.inf, neginf=-np.inf))

    def quantile(share: float) -> float:
        place = share * (len(ordered) - 1)
        below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
        return float(below + (above - below) * (place % 1)) if math.isfinite(above) else math.inf

    return Spread(quantile(0.5), quantile(0.25), quantile(0.75))


@dataclass(frozen=True)
class Course:
    """What rollouts from the seed went through, step by step."""

    mse: Float[np.ndarray, "rollouts moments"]
    """Over RGBA, the seed's first."""
    change: Float[np.ndarray, "rollouts steps"]
    """Mean absolute change of RGBA in each step."""
    dead: Bool[np.ndarray, "rollouts"]
    """Without a living cell at the end."""
    exploded: Bool[np.ndarray, "rollouts"]
    """Beyond 10, or no number, at any step."""
    ssim_grown: Float[np.ndarray, "rollouts"]
    """At the step where growth is measured."""
    ssim_final: Float[np.ndarray, "rollouts"]
    shots: dict[int, Float[np.ndarray, "height width 4"]]
    """The first rollout's RGBA at some steps, the last among them."""


@dataclass(frozen=True)
class Wound:
    """What became of a wound."""

    before: Float[np.ndarray, "rollouts"]
    """MSE before it."""
    mse: Float[np.ndarray, "rollouts moments"]
    """With it, and after each step since."""
    shots: tuple[Float[np.ndarray, "height width 4"], Float[np.ndarray, "height width 4"]]
    """The first rollout's RGBA, damaged and at the end."""

    @property
    def undone(self) -> Float[np.ndarray, "rollouts moments"]:
        """R = 1 - (after - before) / (damaged - before): 0 with the wound, 1 when the error is what it was."""
        with np.errstate(all="ignore"):  # of what has exploded
            harm = self.mse[:, :1] - self.before[:, None]
            return np.where(harm > 0, 1 - (self.mse - self.before[:, None]) / harm, np.nan)

    @property
    def regeneration(self) -> Spread:
        """R at the end; minus infinity where the rollout exploded, and where the wound did no harm."""
        median, low, high = spread(1 - self.undone[:, -1])
        return Spread(1 - median, 1 - high, 1 - low)

    @property
    def steps(self) -> Spread:
        """Steps until nine tenths of the harm were undone."""
        return spread(_first(self.undone >= HEALED))


@dataclass(frozen=True)
class Measures:
    """A model's numbers."""

    growth: Spread
    """MSE at step 96."""
    first_good: Spread
    """First step with an MSE under 1e-3."""
    persistence: Spread
    """Median MSE of a rollout from step 200 on."""
    worst: Spread
    """Highest MSE of a rollout from step 200 on."""
    settling: Spread
    """Step from which on the mean change of RGBA stays under 1e-3 a step."""
    ssim_grown: Spread
    """Structural similarity over RGB on white, at step 96."""
    ssim_final: Spread
    """The same at the end."""
    wounds: dict[Damage, Wound]
    dead: float
    """Share of rollouts."""
    exploded: float
    """Share of rollouts."""
    course: Course


def measure(model: Model, trial: Trial, tick: Tick = lambda: None) -> Measures:
    """Puts a model to the test, as many rollouts at once as memory allows."""
    height, width = model.target.shape
    most = max(1, _VALUES_AT_ONCE // (height * width * model.config.channels))
    parts = []
    for first in range(0, trial.rollouts, most):
        # Only the first batch is seen to pass: the others are as long.
        seen = tick if first == 0 else lambda: None
        parts.append(_part(model, trial, first, min(most, trial.rollouts - first), seen))
    course = _joined([course for course, _ in parts])
    return _summed_up(course, {shape: _joined([wounds[shape] for _, wounds in parts]) for shape in Damage})


def _part(model: Model, trial: Trial, first: int, count: int, tick: Tick) -> tuple[Course, dict[Damage, Wound]]:
    """Some of the rollouts, and their wounds."""
    course, settled = run_course(model, trial, first, count, tick)
    return course, {shape: wound(model, settled, shape, trial.seed + first, tick) for shape in Damage}


def _joined(parts: Sequence[T]) -> T:
    """Courses or wounds of several batches as one; pictures are the first one's."""
    arrays = {f.name: [getattr(part, f.name) for part in parts] for f in dataclasses.fields(parts[0])}
    whole: dict[str, Any] = {name: np.concatenate(values) for name, values in arrays.items() if name != "shots"}
    return dataclasses.replace(parts[0], **whole)


def _summed_up(course: Course, wounds: dict[Damage, Wound]) -> Measures:
    late = course.mse[:, SETTLED:]
    return Measures(
        growth=spread(course.mse[:, GROWN]),
        first_good=spread(_first(course.mse < GOOD)),
        persistence=spread([spread(values).median for values in late]),
        worst=spread(late.max(axis=1)),
        settling=spread(_last(~(course.change < STILL))),
        ssim_grown=spread(course.ssim_grown),
        ssim_final=spread(course.ssim_final),
        wounds=wounds,
        dead=float(course.dead.mean()),
        exploded=float(course.exploded.mean()),
        course=course,
    )


def _first(true: Bool[np.ndarray, "rollouts steps"]) -> Float[np.ndarray, "rollouts"]:
    """The first step at which something is true; infinite: never."""
    return np.where(true.any(axis=1), true.argmax(axis=1), np.inf)


def _last(true: Bool[np.ndarray, "rollouts steps"]) -> Float[np.ndarray, "rollouts"]:
    """The first step after which something is no longer true; infinite where it is true to the end."""
    after = true.shape[1] - true[:, ::-1].argmax(axis=1)
    return np.where(true.any(axis=1), np.where(true[:, -1], np.inf, after), 0.0)


def _together(values: Sequence[Float[Tensor, "batch"]]) -> Float[np.ndarray, "batch moments"]:
    """Numbers of every moment, fetched at once from where they are; what is no number counts as infinite."""
    return np.nan_to_num(torch.stack([*values], dim=1).cpu().numpy().astype(np.float64), nan=np.inf, posinf=np.inf)


def _visible(state: State) -> Float[np.ndarray, "batch height width 4"]:
    return state[..., :4].cpu().numpy().copy()


def _wanted(model: Model) -> Float[Tensor, "height width 4"]:
    return torch.from_numpy(model.target.premultiplied()).to(model.device)


def run_course(model: Model, trial: Trial, first: int, count: int, tick: Tick = lambda: None) -> tuple[Course, State]:
    """So many rollouts from the seed, counted from `first`; and the states that wounds are made to."""
    generator = torch.Generator().manual_seed(trial.seed + first)
    wanted = _wanted(model)
    state = settled = seed(count, *model.target.shape, model.config.channels).to(model.device)
    errors, changes, shots, similar = [mse(error(state, wanted))], [], {}, {}
    exploded = torch.zeros(count, dtype=torch.bool, device=model.device)
    for step in range(1, trial.steps + 1):
        before, state = state, advance(model, state, 1, generator)
        errors.append(mse(error(state, wanted)))
        changes.append((state[..., :4] - before[..., :4]).abs().mean(dim=(1, 2, 3)))
        flat = state.flatten(1)
        exploded |= ~((flat.amin(dim=1) >= -EXPLODED) & (flat.amax(dim=1) <= EXPLODED))
        if step in (*SHOTS, trial.steps):
            shots[step] = _visible(state[:1])[0]
        if step in (GROWN, trial.steps):
            similar[step] = np.array(ssim(_visible(state), model))
        settled = state if step == SETTLED else settled
        tick()
    course = Course(
        mse=_together(errors),
        change=torch.stack(changes, dim=1).cpu().numpy(),
        dead=~living(state, model.config.threshold).cpu().numpy(),
        exploded=exploded.cpu().numpy(),
        ssim_grown=similar[GROWN],
        ssim_final=similar[trial.steps],
        shots=shots,
    )
    return course, settled


def shape_of(model: Model, shape: Damage) -> Mask:
    """Cells that a wound erases, of its usual size, in the middle of the picture."""
    picture = DAMAGE[shape](*model.target.pixels.shape[:2], SIZES.get(shape, 0.0))
    return on_grid(picture, model.target.padding)


def wound(model: Model, settled: State, shape: Damage, number: int, tick: Tick = lambda: None) -> Wound:
    """Erases a shape from every state and watches what becomes of it, with fire masks of this number."""
    generator = torch.Generator().manual_seed(number + 2**32)
    wanted = _wanted(model)
    state = settled.clone()
    state[:, shape_of(model, shape).to(model.device)] = 0
    damaged, errors = _visible(state[:1])[0], [mse(error(state, wanted))]
    for _ in range(HEALING):
        state = advance(model, state, 1, generator)
        errors.append(mse(error(state, wanted)))
        tick()
    return Wound(_together([mse(error(settled, wanted))])[:, 0], _together(errors), (damaged, _visible(state[:1])[0]))


def ssim(visible: Float[np.ndarray, "rollouts height width 4"], model: Model) -> list[float]:
    """Structural similarity with the target, RGB on white, as scikit-image has it; 1: the same.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004.
    """
    from skimage.metrics import structural_similarity

    def on_white(picture: Float[np.ndarray, "height width 4"]) -> Float[np.ndarray, "height width 3"]:
        shown = np.clip(np.nan_to_num(picture), 0, 1)
        return np.clip(shown[..., :3] + 1 - shown[..., 3:], 0, 1)

    wanted = on_white(model.target.premultiplied())
    window = min(7, *wanted.shape[:2])
    window -= 1 - window % 2
    if window < 3:
        return [math.nan] * len(visible)
    return [
        float(structural_similarity(wanted, on_white(picture), win_size=window, channel_axis=-1, data_range=1.0))
        for picture in visible
    ]
