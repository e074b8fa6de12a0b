"""The quality of a model in words, from the median error of a few rollouts along their way."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import torch

from ncatool.config.names import Damage, Regime
from ncatool.config.schema import TrainConfig
from ncatool.engine.advance import advance
from ncatool.evaluation.protocol import GROWN_MSE, PERSISTENCE_STEP, choose_persistence_step
from ncatool.evaluation.quartiles import compute_quartiles
from ncatool.evaluation.trajectory import measure_damage
from ncatool.nca.loss import compute_error, compute_mse, compute_psnr
from ncatool.nca.model_file import ModelData

COURSE_STEPS = (*range(8, 97, 8), *range(112, 201, 8), *range(225, 501, 25))
"""Steps at which the error is measured."""
MAX_ROLLOUTS = 4
TRAINING_SHARE = 0.05
"""Share of the steps of training that the rollouts may take, as far as one rollout is not more."""
BACKWARD_COST = 3
"""Steps of a rollout that one step of training takes as long as."""
BLURRED_MSE = 1e-2
"""MSE under which a picture can be made out."""
MAX_PICTURE_MSE = 1.0
"""MSE that no picture exceeds: its values and the target's are within 0 and 1."""
LEVEL_FACTOR = 2.0
"""Factor between errors that count as the same level."""


class Outcome(StrEnum):
    """What has become of a model."""

    GROWN = "grown"
    BLURRED = "blurred"
    UNGROWN = "not grown"
    FADING = "not persistent"
    EXPLODED = "exploded"
    BLANK = "blank"


@dataclass(frozen=True)
class Quality:
    """What has become of a model, in words and numbers."""

    outcome: Outcome
    words: str
    """What it does: `grows to 37 dB by step 96, holds to 500`."""
    advice: str
    """What one can do about it; empty where nothing need be done."""
    psnr: float
    """PSNR of the level that it reaches, in dB."""
    step: int
    """Step by which it reaches it."""
    final_psnr: float
    """PSNR at the last step."""

    def __str__(self) -> str:
        return f"{self.words}: {self.advice}" if self.advice else self.words


@dataclass(frozen=True)
class SeveralQuality(Quality):
    """The quality of a model of several pictures: outcome and advice are those of the worst, numbers are medians."""

    worst: str
    """The name of the picture that has become worst."""
    worst_psnr: float
    """PSNR at its last step, in dB."""


@dataclass(frozen=True)
class _Course:
    """The median MSE of the rollouts of one picture at each step, that of a blank picture, and that after healing."""

    steps: dict[int, float]
    blank: float
    healed: float | None

    @property
    def final(self) -> float:
        """The last error; infinite where it is no number."""
        last = self.steps[COURSE_STEPS[-1]]
        return math.inf if math.isnan(last) else last


def choose_rollouts(train: TrainConfig, pictures: int = 1) -> int:
    """Return how many rollouts of each picture are worth while after a training, from its settings alone."""
    steps = train.iterations * train.batch_size * (train.min_steps + train.max_steps) / 2 * BACKWARD_COST
    return max(1, min(MAX_ROLLOUTS, int(TRAINING_SHARE * steps / COURSE_STEPS[-1] / pictures)))


def measure_quality(model: ModelData, train: TrainConfig) -> Quality:
    """Run a few rollouts of 500 steps, and where training has damaged states, heal a circle; describe what is found."""
    pictures = model.pictures
    courses = [_measure_course(one, train, choose_rollouts(train, len(pictures))) for one in pictures]
    found = [_describe_course(course, train, model) for course in courses]
    if len(found) == 1:
        return found[0]
    worst = max(range(len(courses)), key=lambda i: courses[i].final)
    middle, name = _describe_course(_find_median(courses), train, model), pictures[worst].target.name
    words = f"{len(found)} pictures, median: {middle.words}; worst, {name}: {found[worst].words}"
    numbers = middle.psnr, middle.step, middle.final_psnr
    return SeveralQuality(
        found[worst].outcome, words, found[worst].advice, *numbers, worst=name, worst_psnr=found[worst].final_psnr
    )


def _find_median(courses: Sequence[_Course]) -> _Course:
    """Return the medians over pictures of all errors."""
    healed = [one.healed for one in courses if one.healed is not None]
    steps = {step: _compute_median([one.steps[step] for one in courses]) for step in COURSE_STEPS}
    return _Course(steps, _compute_median([one.blank for one in courses]), _compute_median(healed) if healed else None)


def _compute_median(errors: Sequence[float]) -> float:
    return compute_quartiles(np.asarray(errors)).median


def _describe_course(course: _Course, train: TrainConfig, model: ModelData) -> Quality:
    return describe_quality(course.steps, course.blank, train.regime, model.has_direction, course.healed)


def _measure_course(model: ModelData, train: TrainConfig, count: int) -> _Course:
    generator = torch.Generator().manual_seed(train.seed + 3)
    target = torch.from_numpy(model.target.premultiply()).to(model.device)
    state = intact = model.place_seeds(count)
    persistence_step = min(choose_persistence_step(model.target.shape), COURSE_STEPS[-1])
    damage_step = next(step for step in COURSE_STEPS if step >= persistence_step)
    course, done = {}, 0
    for step in COURSE_STEPS:
        state, done = advance(model, state, step - done, generator), step
        course[step] = compute_quartiles(compute_mse(compute_error(state, target)).cpu().numpy()).median
        intact = state if step == damage_step else intact
    healed = None
    if train.regime is Regime.REGENERATING:
        healed = compute_quartiles(measure_damage(model, intact, Damage.CIRCLE, train.seed).mse[:, -1]).median
    return _Course(course, float(target.square().mean()), healed)


def describe_quality(
    course: Mapping[int, float],
    blank: float,
    regime: Regime,
    has_direction: bool = True,
    healed: float | None = None,
) -> Quality:
    """Describe a model by its median MSE at each step.

    `blank` is the MSE of cells that show nothing, `healed` that of states 200 steps after a circle of them was erased;
    `has_direction` is that of the model.
    """
    best, last = min(course.values()), max(course)
    step = next((step for step, mse in course.items() if mse <= LEVEL_FACTOR * best), last)
    late = max(mse for at, mse in course.items() if at >= min(last, max(step, PERSISTENCE_STEP)))
    outcome = _find_outcome(best, late, course[last], blank)
    words = _describe_growth(outcome, best, course[step], step)
    end = _describe_end(outcome, best, course[step], late, last)
    healing = f", heals a circle to {_format_psnr(healed)}" if healed is not None and _holds(outcome) else ""
    numbers = (round(compute_psnr(course[step]), 2), step, round(compute_psnr(course[last]), 2))
    return Quality(outcome, f"{words}{end}{healing}", _advise(outcome, regime, has_direction), *numbers)


def _find_outcome(best: float, late: float, final: float, blank: float) -> Outcome:
    if not late <= MAX_PICTURE_MSE:
        return Outcome.EXPLODED
    if best > BLURRED_MSE:
        return Outcome.BLANK if final > 0.9 * blank else Outcome.UNGROWN
    if late > max(LEVEL_FACTOR * best, GROWN_MSE):
        return Outcome.FADING if late > LEVEL_FACTOR**2 * best else Outcome.BLURRED
    return Outcome.GROWN if best <= GROWN_MSE else Outcome.BLURRED


def _holds(outcome: Outcome) -> bool:
    return outcome in (Outcome.GROWN, Outcome.BLURRED)


def _describe_growth(outcome: Outcome, best: float, level: float, step: int) -> str:
    if outcome is Outcome.BLANK:
        return "stays blank"
    if best > BLURRED_MSE:
        return "explodes" if outcome is Outcome.EXPLODED else f"has not grown yet, {_format_psnr(best)} at best"
    blur = "a blur of " if best > GROWN_MSE else ""
    return f"grows to {blur}{_format_psnr(level)} by step {step}"


def _describe_end(outcome: Outcome, best: float, level: float, late: float, last: int) -> str:
    """Return how it ends, as the sentence's second half."""
    if outcome is Outcome.EXPLODED:
        size = f"MSE {late:,.4g}" if late < 1e6 else f"MSE {late:.1e}" if math.isfinite(late) else "beyond all numbers"
        return f"{'' if best > BLURRED_MSE else ', then explodes'} ({size} by step {last})"
    if outcome is Outcome.BLANK:
        return f": no cell shows anything at step {last}"
    if outcome is Outcome.UNGROWN:
        return ""
    if outcome is Outcome.FADING:
        return f", but does not persist, {_format_psnr(late)} by step {last}"
    return f", holds to {last}" if late <= LEVEL_FACTOR * level else f", {_format_psnr(late)} at {last}"


def _advise(outcome: Outcome, regime: Regime, has_direction: bool) -> str:
    if outcome is Outcome.GROWN:
        return ""
    if outcome in (Outcome.BLURRED, Outcome.UNGROWN) and not has_direction:
        return "--seed-cells three gives cells a sense of direction, which this filter does not; or train longer"
    if outcome in (Outcome.BLURRED, Outcome.UNGROWN):
        return "train longer"
    if outcome is Outcome.BLANK:
        return "train longer, with a lower --learning-rate, or with another --seed"
    if regime is Regime.GROWING:
        return "--regime growing trains growth alone; train with --regime persistent"
    if outcome is Outcome.EXPLODED:
        return "train longer, or with a lower --learning-rate"
    return "train longer" if regime is Regime.REGENERATING else "train longer, or with --damage"


def _format_psnr(mse: float) -> str:
    return f"{compute_psnr(mse):.0f} dB"
