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
from ncatool.config.schema import check_range
from ncatool.engine.advance import advance
from ncatool.nca.damage import DAMAGE_SHAPES, DEFAULT_SIZES, pad_mask
from ncatool.nca.loss import compute_error, compute_mse
from ncatool.nca.model_file import ModelData
from ncatool.nca.state import has_living_cells, make_seed
from ncatool.nca.types import Mask, State

GROWTH_STEP = 96
"""Step at which growth is measured."""
PERSISTENCE_STEP = 200
"""Step from which on persistence is measured, and at which wounds are made."""
HEALING_STEPS = 200
"""Steps after a wound."""
GROWN_MSE = 1e-3
"""MSE under which a picture counts as grown."""
SETTLED_CHANGE = 1e-3
"""Mean change of RGBA in a step under which a picture counts as settled."""
HEALED_SHARE = 0.9
"""Share of a wound's harm that is to be undone."""
MAX_ABS_STATE = 10.0
"""Of any channel."""
SNAPSHOT_STEPS = (20, 60, 96, 200, 500, 2000)
"""Steps of which pictures are kept."""
_MAX_STATE_VALUES = 2**26
"""Of states that are advanced together: 256 MB."""

StepCallback = Callable[[], object]
"""Called after every step, for a progress bar."""
T = TypeVar("T", "Trajectory", "DamageResult")


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How models are put to the test."""

    rollouts: int = 16
    """Independent rollouts, of a model."""
    steps: int = 2000
    """Steps of each."""
    seed: int = 0
    """Of the fire masks; models of one size get the same."""

    def __post_init__(self) -> None:
        check_range("rollouts", self.rollouts, 1, 4096)
        check_range("steps", self.steps, PERSISTENCE_STEP, 10**6)
        check_range("seed", self.seed, 0, 2**62)

    @property
    def total_steps(self) -> int:
        """Steps that are ticked for a model."""
        return self.steps + len(Damage) * HEALING_STEPS


class Quartiles(NamedTuple):
    """Median and quartiles over rollouts; infinite: never."""

    median: float
    lower: float
    upper: float


def compute_quartiles(values: Sequence[float] | Float[np.ndarray, "rollouts"]) -> Quartiles:
    """Quartiles, interpolated as numpy does; what is no number counts as infinite."""
    ordered = np.sort(np.nan_to_num(np.asarray(values, np.float64), nan=np.inf, posinf=np.inf, neginf=-np.inf))

    def quantile(share: float) -> float:
        place = share * (len(ordered) - 1)
        below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
        return float(below + (above - below) * (place % 1)) if math.isfinite(above) else math.inf

    return Quartiles(quantile(0.5), quantile(0.25), quantile(0.75))


@dataclass(frozen=True)
class Trajectory:
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
    snapshots: dict[int, Float[np.ndarray, "height width 4"]]
    """The first rollout's RGBA at some steps, the last among them."""


@dataclass(frozen=True)
class DamageResult:
    """What became of a wound."""

    before: Float[np.ndarray, "rollouts"]
    """MSE before it."""
    mse: Float[np.ndarray, "rollouts moments"]
    """With it, and after each step since."""
    snapshots: tuple[Float[np.ndarray, "height width 4"], Float[np.ndarray, "height width 4"]]
    """The first rollout's RGBA, damaged and at the end."""

    @property
    def recovery(self) -> Float[np.ndarray, "rollouts moments"]:
        """R = 1 - (after - before) / (damaged - before): 0 with the wound, 1 when the error is what it was."""
        with np.errstate(all="ignore"):  # of what has exploded
            harm = self.mse[:, :1] - self.before[:, None]
            return np.where(harm > 0, 1 - (self.mse - self.before[:, None]) / harm, np.nan)

    @property
    def regeneration(self) -> Quartiles:
        """R at the end; minus infinity where the rollout exploded, and where the wound did no harm."""
        median, low, high = compute_quartiles(1 - self.recovery[:, -1])
        return Quartiles(1 - median, 1 - high, 1 - low)

    @property
    def healing_steps(self) -> Quartiles:
        """Steps until nine tenths of the harm were undone."""
        return compute_quartiles(_find_first(self.recovery >= HEALED_SHARE))


@dataclass(frozen=True)
class Measures:
    """A model's numbers."""

    growth: Quartiles
    """MSE at step 96."""
    grown_step: Quartiles
    """First step with an MSE under 1e-3."""
    persistence: Quartiles
    """Median MSE of a rollout from step 200 on."""
    worst: Quartiles
    """Highest MSE of a rollout from step 200 on."""
    settling: Quartiles
    """Step from which on the mean change of RGBA stays under 1e-3 a step."""
    ssim_grown: Quartiles
    """Structural similarity over RGB on white, at step 96."""
    ssim_final: Quartiles
    """The same at the end."""
    damage: dict[Damage, DamageResult]
    dead: float
    """Share of rollouts."""
    exploded: float
    """Share of rollouts."""
    trajectory: Trajectory


def measure_model(model: ModelData, trial: Protocol, tick: StepCallback = lambda: None) -> Measures:
    """Puts a model to the test, as many rollouts at once as memory allows."""
    height, width = model.target.shape
    most = max(1, _MAX_STATE_VALUES // (height * width * model.config.channels))
    parts = []
    for first in range(0, trial.rollouts, most):
        # Only the first batch is seen to pass: the others are as long.
        seen = tick if first == 0 else lambda: None
        parts.append(_measure_rollouts(model, trial, first, min(most, trial.rollouts - first), seen))
    course = _concatenate([course for course, _ in parts])
    return _summarise(course, {shape: _concatenate([wounds[shape] for _, wounds in parts]) for shape in Damage})


def _measure_rollouts(
    model: ModelData, trial: Protocol, first: int, count: int, tick: StepCallback
) -> tuple[Trajectory, dict[Damage, DamageResult]]:
    """Some of the rollouts, and their wounds."""
    course, settled = run_trajectory(model, trial, first, count, tick)
    return course, {shape: measure_damage(model, settled, shape, trial.seed + first, tick) for shape in Damage}


def _concatenate(parts: Sequence[T]) -> T:
    """Courses or wounds of several batches as one; pictures are the first one's."""
    arrays = {f.name: [getattr(part, f.name) for part in parts] for f in dataclasses.fields(parts[0])}
    whole: dict[str, Any] = {name: np.concatenate(values) for name, values in arrays.items() if name != "snapshots"}
    return dataclasses.replace(parts[0], **whole)


def _summarise(course: Trajectory, wounds: dict[Damage, DamageResult]) -> Measures:
    late = course.mse[:, PERSISTENCE_STEP:]
    return Measures(
        growth=compute_quartiles(course.mse[:, GROWTH_STEP]),
        grown_step=compute_quartiles(_find_first(course.mse < GROWN_MSE)),
        persistence=compute_quartiles([compute_quartiles(values).median for values in late]),
        worst=compute_quartiles(late.max(axis=1)),
        settling=compute_quartiles(_find_last(~(course.change < SETTLED_CHANGE))),
        ssim_grown=compute_quartiles(course.ssim_grown),
        ssim_final=compute_quartiles(course.ssim_final),
        damage=wounds,
        dead=float(course.dead.mean()),
        exploded=float(course.exploded.mean()),
        trajectory=course,
    )


def _find_first(true: Bool[np.ndarray, "rollouts steps"]) -> Float[np.ndarray, "rollouts"]:
    """The first step at which something is true; infinite: never."""
    return np.where(true.any(axis=1), true.argmax(axis=1), np.inf)


def _find_last(true: Bool[np.ndarray, "rollouts steps"]) -> Float[np.ndarray, "rollouts"]:
    """The first step after which something is no longer true; infinite where it is true to the end."""
    after = true.shape[1] - true[:, ::-1].argmax(axis=1)
    return np.where(true.any(axis=1), np.where(true[:, -1], np.inf, after), 0.0)


def _fetch_values(values: Sequence[Float[Tensor, "batch"]]) -> Float[np.ndarray, "batch moments"]:
    """Numbers of every moment, fetched at once from where they are; what is no number counts as infinite."""
    return np.nan_to_num(torch.stack([*values], dim=1).cpu().numpy().astype(np.float64), nan=np.inf, posinf=np.inf)


def _copy_visible(state: State) -> Float[np.ndarray, "batch height width 4"]:
    return state[..., :4].cpu().numpy().copy()


def _target_tensor(model: ModelData) -> Float[Tensor, "height width 4"]:
    return torch.from_numpy(model.target.premultiply()).to(model.device)


def run_trajectory(
    model: ModelData, trial: Protocol, first: int, count: int, tick: StepCallback = lambda: None
) -> tuple[Trajectory, State]:
    """So many rollouts from the seed, counted from `first`; and the states that wounds are made to."""
    generator = torch.Generator().manual_seed(trial.seed + first)
    wanted = _target_tensor(model)
    state = settled = make_seed(count, *model.target.shape, model.config.channels).to(model.device)
    errors, changes, shots, similar = [compute_mse(compute_error(state, wanted))], [], {}, {}
    exploded = torch.zeros(count, dtype=torch.bool, device=model.device)
    for step in range(1, trial.steps + 1):
        before, state = state, advance(model, state, 1, generator)
        errors.append(compute_mse(compute_error(state, wanted)))
        changes.append((state[..., :4] - before[..., :4]).abs().mean(dim=(1, 2, 3)))
        flat = state.flatten(1)
        exploded |= ~((flat.amin(dim=1) >= -MAX_ABS_STATE) & (flat.amax(dim=1) <= MAX_ABS_STATE))
        if step in (*SNAPSHOT_STEPS, trial.steps):
            shots[step] = _copy_visible(state[:1])[0]
        if step in (GROWTH_STEP, trial.steps):
            similar[step] = np.array(measure_ssim(_copy_visible(state), model))
        settled = state if step == PERSISTENCE_STEP else settled
        tick()
    course = Trajectory(
        mse=_fetch_values(errors),
        change=torch.stack(changes, dim=1).cpu().numpy(),
        dead=~has_living_cells(state, model.config.threshold).cpu().numpy(),
        exploded=exploded.cpu().numpy(),
        ssim_grown=similar[GROWTH_STEP],
        ssim_final=similar[trial.steps],
        snapshots=shots,
    )
    return course, settled


def damage_mask(model: ModelData, shape: Damage) -> Mask:
    """Cells that a wound erases, of its usual size, in the middle of the picture."""
    picture = DAMAGE_SHAPES[shape](*model.target.pixels.shape[:2], DEFAULT_SIZES.get(shape, 0.0))
    return pad_mask(picture, model.target.padding)


def measure_damage(
    model: ModelData, settled: State, shape: Damage, number: int, tick: StepCallback = lambda: None
) -> DamageResult:
    """Erases a shape from every state and watches what becomes of it, with fire masks of this number."""
    generator = torch.Generator().manual_seed(number + 2**32)
    wanted = _target_tensor(model)
    state = settled.clone()
    state[:, damage_mask(model, shape).to(model.device)] = 0
    damaged, errors = _copy_visible(state[:1])[0], [compute_mse(compute_error(state, wanted))]
    for _ in range(HEALING_STEPS):
        state = advance(model, state, 1, generator)
        errors.append(compute_mse(compute_error(state, wanted)))
        tick()
    return DamageResult(
        _fetch_values([compute_mse(compute_error(settled, wanted))])[:, 0],
        _fetch_values(errors),
        (damaged, _copy_visible(state[:1])[0]),
    )


def measure_ssim(visible: Float[np.ndarray, "rollouts height width 4"], model: ModelData) -> list[float]:
    """Structural similarity with the target, RGB on white, as scikit-image has it; 1: the same.

    Wang et al., "Image quality assessment: from error visibility to structural similarity", 2004.
    """
    from skimage.metrics import structural_similarity

    def on_white(picture: Float[np.ndarray, "height width 4"]) -> Float[np.ndarray, "height width 3"]:
        shown = np.clip(np.nan_to_num(picture), 0, 1)
        return np.clip(shown[..., :3] + 1 - shown[..., 3:], 0, 1)

    wanted = on_white(model.target.premultiply())
    window = min(7, *wanted.shape[:2])
    window -= 1 - window % 2
    if window < 3:
        return [math.nan] * len(visible)
    return [
        float(structural_similarity(wanted, on_white(picture), win_size=window, channel_axis=-1, data_range=1.0))
        for picture in visible
    ]
