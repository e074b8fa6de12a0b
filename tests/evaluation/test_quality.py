"""The quality of a model in words: each kind of outcome, and models that have it."""

import dataclasses
import math

import pytest
import torch

from ncatool.config.names import Regime
from ncatool.config.schema import TrainConfig
from ncatool.engine.advance import measure_mse
from ncatool.evaluation.protocol import Protocol
from ncatool.evaluation.quality import COURSE_STEPS, MAX_ROLLOUTS, choose_rollouts, describe_quality, measure_quality
from ncatool.evaluation.trajectory import run_trajectory
from ncatool.nca.loss import compute_error, compute_mse, compute_psnr
from ncatool.nca.model_file import load_model
from ncatool.nca.weights import Weights, draw_weights
from tests.conftest import GOLDEN
from tests.rendering.test_playback import three_celled

BLANK = 0.4


def course(**points):
    """The errors between some steps, drawn as a line on a logarithmic scale."""
    known = {0: math.log(BLANK), **{int(name[1:]): math.log(value) for name, value in points.items()}}
    steps = sorted(known)

    def at(step):
        low, high = max(s for s in steps if s <= step), min((s for s in steps if s >= step), default=steps[-1])
        part = (step - low) / (high - low) if high > low else 0
        return math.exp(known[low] + part * (known[high] - known[low]))

    return {step: at(min(step, steps[-1])) for step in COURSE_STEPS}


LONGER = "train longer"


@pytest.mark.parametrize(
    ("points", "settings", "outcome", "words"),
    [
        ({"s96": 2e-4, "s500": 2e-4}, {}, "grown", "grows to 34 dB by step 88, holds to 500"),
        ({"s96": 2e-4, "s200": 2e-4, "s500": 9e-4}, {}, "grown", "grows to 34 dB by step 88, 30 dB at 500"),
        (
            {"s96": 1e-4, "s500": 1e-4},
            {"regime": Regime.REGENERATING, "healed": 2e-4},
            "grown",
            "grows to 37 dB by step 88, holds to 500, heals a circle to 37 dB",
        ),
        (
            {"s96": 2e-4, "s200": 3e-4, "s500": 0.1},
            {},
            "not persistent",
            f"grows to 34 dB by step 88, but does not persist, 10 dB by step 500: {LONGER}, or with --damage",
        ),
        (
            {"s96": 2e-4, "s500": 0.1},
            {"regime": Regime.REGENERATING, "healed": 0.1},
            "not persistent",
            f"grows to 34 dB by step 88, but does not persist, 10 dB by step 500: {LONGER}",
        ),
        (
            {"s96": 2e-4, "s500": 0.1},
            {"regime": Regime.GROWING},
            "not persistent",
            "grows to 34 dB by step 88, but does not persist, 10 dB by step 500: --regime growing trains growth alone; "
            "train with --regime persistent",
        ),
        ({"s96": 5e-3, "s500": 4e-3}, {}, "blurred", f"grows to a blur of 21 dB by step 88, holds to 500: {LONGER}"),
        (
            {"s96": 4e-3, "s500": 4e-3},
            {"has_direction": False},
            "blurred",
            "grows to a blur of 22 dB by step 88, holds to 500: --seed-cells three gives cells a sense of direction, "
            "which this filter does not; or train longer",
        ),
        ({"s96": 0.05, "s500": 0.06}, {}, "not grown", f"has not grown yet, 13 dB at best: {LONGER}"),
        (
            {"s96": 0.1, "s500": 3376},
            {},
            "exploded",
            f"explodes (MSE 3,376 by step 500): {LONGER}, or with a lower --learning-rate",
        ),
        (
            {"s96": 1e-4, "s200": 1e-4, "s500": 1e20},
            {},
            "exploded",
            f"grows to 37 dB by step 88, then explodes (MSE 1.0e+20 by step 500): {LONGER}, or with a lower "
            "--learning-rate",
        ),
        (
            {"s500": BLANK},
            {},
            "blank",
            f"stays blank: no cell shows anything at step 500: {LONGER}, with a lower --learning-rate, or with "
            "another --seed",
        ),
    ],
)
def test_each_outcome_has_its_words(points, settings, outcome, words):
    quality = describe_quality(course(**points), BLANK, **{"regime": Regime.PERSISTENT, **settings})
    assert (quality.outcome, str(quality)) == (outcome, words)


@pytest.mark.parametrize("value", [math.inf, 1e300])
def test_numbers_beyond_all_others(value):
    quality = describe_quality(dict.fromkeys(COURSE_STEPS, value), BLANK, Regime.PERSISTENT)
    assert quality.outcome == "exploded"
    assert quality.words.startswith("explodes (")
    assert not {"nan", "inf"} & set(quality.words.split())


TRAIN = TrainConfig(iterations=2800)


def test_a_trained_model_grows_and_holds():
    quality = measure_quality(load_model(GOLDEN), TRAIN)
    assert quality.outcome == "grown"
    assert quality.words.endswith(", holds to 500")
    assert quality.psnr == pytest.approx(42, abs=4)
    assert quality == measure_quality(load_model(GOLDEN), TRAIN), "the same each time"


@pytest.mark.parametrize(("bias", "outcome"), [(1e6, "exploded"), (-5.0, "blank")])
def test_models_that_fail(bias, outcome):
    model = load_model(GOLDEN)
    weights = Weights(*model.weights[:2], torch.zeros_like(model.weights.output_weight), torch.full((16,), bias))
    assert measure_quality(type(model)(weights, model.config, model.target), TRAIN).outcome == outcome


def test_rollouts_start_from_the_whole_seed():
    """No cell ever changes, so that the seed is all that is measured, at each step."""
    model = dataclasses.replace(three_celled(), weights=draw_weights(three_celled().config, torch.Generator()))
    target = torch.from_numpy(model.target.premultiply())
    for one, count in ((model, 3), (dataclasses.replace(model, own_seed=None), 1)):
        start = one.place_seeds(1)
        assert (start[..., 3] == 1).sum() == count
        mse = compute_mse(compute_error(start, target)).item()
        assert measure_quality(one, TRAIN).final_psnr == pytest.approx(compute_psnr(mse), abs=0.01)
        trajectory, _ = run_trajectory(one, Protocol(rollouts=2, steps=200), 0, 2)
        assert trajectory.mse == pytest.approx(mse)
        assert measure_mse(one, [0, 9], 2, torch.Generator()).numpy() == pytest.approx(mse)


def test_the_measure_stays_short_beside_the_training():
    assert choose_rollouts(TrainConfig(iterations=1)) == 1
    assert choose_rollouts(TrainConfig(iterations=30)) <= 2
    assert choose_rollouts(TRAIN) == MAX_ROLLOUTS
