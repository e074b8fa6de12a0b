"""The measures: by hand, and against a second computation straight from their definitions."""

import dataclasses
import math
import statistics
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from ncatool.config.names import Damage
from ncatool.engine.advance import advance
from ncatool.errors import UsageError
from ncatool.evaluation import measures
from ncatool.evaluation.measures import measure_model
from ncatool.evaluation.models import Candidate
from ncatool.evaluation.protocol import Protocol, choose_persistence_step
from ncatool.evaluation.quartiles import Quartiles, compute_quartiles, find_end, find_first
from ncatool.evaluation.ssim import measure_ssim
from ncatool.evaluation.trajectory import DamageResult, make_damage_mask, run_trajectory
from ncatool.nca.model_file import load_model
from ncatool.nca.rule import step
from tests.rendering.test_playback import lively

GOLDEN = Path(__file__).parents[1] / "golden" / "phantom.safetensors"


def test_quartiles_by_hand():
    assert compute_quartiles([4, 1, 3, 2, 5]) == Quartiles(3, 2, 4)
    assert compute_quartiles([1, 2]) == Quartiles(1.5, 1.25, 1.75)
    assert compute_quartiles([7]) == Quartiles(7, 7, 7)
    assert compute_quartiles([1, math.inf, math.nan, 2]) == Quartiles(math.inf, 1.75, math.inf), (
        "never is later than any step"
    )


def test_first_and_last_by_hand():
    true = np.array([[0, 0, 1, 0], [0, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1]], bool)
    assert find_first(true).tolist() == [2, math.inf, 0, 3]
    assert find_end(true).tolist() == [3, 0, 2, math.inf]


def wound(before, *errors):
    picture = np.zeros((1, 1, 4), np.float32)
    return DamageResult(
        np.array(before, float), np.array(errors, float), np.zeros(len(before), int), (picture, picture)
    )


def test_regeneration_by_hand():
    """Harm 0.4: of it 0.2 are left, then 0.02, then the model is better than before."""
    found = wound([0.1], [0.5, 0.3, 0.12, 0.06])
    assert found.recovery[0].tolist() == pytest.approx([0, 0.5, 0.95, 1.1])
    assert found.regeneration == pytest.approx((1.1, 1.1, 1.1))
    assert found.healing_steps.median == 2, "nine tenths are undone"
    assert wound([0.1], [0.5, 0.9]).regeneration.median == pytest.approx(-1), "worse than the wound"
    assert wound([0.1], [0.5, 0.9]).healing_steps.median == math.inf
    many = wound([0.0] * 3, [1, 0.0], [1, 0.5], [1, math.inf])
    assert many.regeneration == (0.5, -math.inf, 0.75)
    assert wound([0.1], [0.1, 0.1]).regeneration.median == -math.inf, "no harm, nothing to undo"


def test_trials_that_make_no_sense():
    for settings in ({"rollouts": 0}, {"steps": 199}, {"steps": 10**7}, {"seed": -1}, {"seed": 2**63}):
        with pytest.raises(UsageError, match="but goes from"):
            Protocol(**settings)


def biased(channel, value):
    """A model whose cells do nothing but add to a channel."""
    model = lively()
    bias = torch.zeros(6)
    bias[channel] = value
    weights = model.weights._replace(output_weight=torch.zeros(6, 8), output_bias=bias)
    return type(model)(weights, model.config, model.target)


def test_health():
    def run(model):
        return run_trajectory(model, Protocol(steps=200), 0, 3)[0]

    dying = run(biased(3, -0.4))
    assert dying.dead.all()
    assert not dying.exploded.any()
    exploding = run(biased(5, 0.2))
    assert not exploding.dead.any()
    assert exploding.exploded.all()
    assert not run(biased(5, 0.0)).exploded.any()
    for wild in (biased(0, 1e30), biased(0, math.nan)):
        found = measure_model(wild, Protocol(rollouts=2, steps=200))
        assert found.exploded == 1
        assert found.worst.median == found.growth.median == found.settling.median == math.inf
        assert found.damage[Damage.LEFT].regeneration.median == -math.inf


def test_similarity_is_scikit_images_on_white():
    model = lively()
    wanted = model.target.premultiply()
    assert measure_ssim(wanted[None], model) == pytest.approx([1.0])
    empty = measure_ssim(np.zeros_like(wanted)[None], model)
    white = wanted[..., :3] + 1 - wanted[..., 3:]
    expected = structural_similarity(white, np.ones_like(white), win_size=7, channel_axis=-1, data_range=1.0)
    assert empty == pytest.approx([expected])


def dense(model, state, masks):
    """Every state of a rollout by the dense rule."""
    states = [state]
    for mask in masks:
        states.append(step(states[-1], model.weights, model.config, mask))
    return states


def quartiles(values):
    if len(values) == 1:
        return (values[0],) * 3
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return middle, low, high


@pytest.mark.parametrize("rollouts", [3])
def test_all_measures_agree_with_a_second_computation(rollouts):
    """Straight from the definitions, sample by sample, on the dense rule with the same fire masks."""
    model = load_model(GOLDEN)
    trial = Protocol(rollouts=rollouts, steps=230, seed=5)
    found = measure_model(model, trial)

    def masks(seed, steps):
        generator = torch.Generator().manual_seed(seed)
        return [torch.rand(rollouts, 28, 28, generator=generator) < 0.5 for _ in range(steps)]

    def mse(state):
        return ((state[0, ..., :4] - target) ** 2).mean().item()

    target = torch.from_numpy(model.target.premultiply())
    start = torch.zeros(rollouts, 28, 28, 16)
    start[:, 14, 14, 3:] = 1
    states = dense(model, start, masks(5, 230))
    expected = {name: [] for name in ("growth", "grown_step", "persistence", "worst", "settling")}
    for i in range(rollouts):
        errors = [mse(state[i : i + 1]) for state in states]
        moves = [(b[i, ..., :4] - a[i, ..., :4]).abs().mean().item() for a, b in pairwise(states)]
        expected["growth"].append(errors[96])
        expected["grown_step"].append(next(n for n, value in enumerate(errors) if value < 1e-3))
        expected["persistence"].append(statistics.median(errors[200:]))
        expected["worst"].append(max(errors[200:]))
        moving = [n for n, value in enumerate(moves) if value >= 1e-3]
        expected["settling"].append(moving[-1] + 1 if moving[-1] + 1 < len(moves) else math.inf)
    for name, values in expected.items():
        assert tuple(getattr(found, name)) == pytest.approx(quartiles(values), rel=0.02, abs=1e-7), name
    shapes = {
        Damage.LEFT: (slice(None), slice(0, 14)), Damage.RIGHT: (slice(None), slice(14, 28)),
        Damage.TOP: (slice(0, 14), slice(None)), Damage.BOTTOM: (slice(14, 28), slice(None)),
        Damage.SQUARE: (slice(7, 21), slice(7, 21)),
    }  # fmt: skip
    for shape, (rows, columns) in shapes.items():
        hurt = states[200].clone()
        hurt[:, rows, columns] = 0
        healed = dense(model, hurt, masks(5 + 2**32, 200))
        undone, steps = [], []
        for i in range(rollouts):
            before, damaged = mse(states[200][i : i + 1]), mse(hurt[i : i + 1])
            back = [1 - (mse(state[i : i + 1]) - before) / (damaged - before) for state in healed]
            undone.append(back[-1])
            steps.append(next((n for n, value in enumerate(back) if value >= 0.9), math.inf))
        assert tuple(found.damage[shape].regeneration) == pytest.approx(quartiles(undone), rel=0.02, abs=0.02), shape
        if all(map(math.isfinite, steps)):
            assert tuple(found.damage[shape].healing_steps) == pytest.approx(quartiles(steps), abs=1)
    circle = make_damage_mask(model, Damage.CIRCLE)
    assert circle.sum() == sum((y - 13.5) ** 2 + (x - 13.5) ** 2 <= 8.4**2 for y in range(28) for x in range(28))
    assert found.dead == found.exploded == 0


def test_large_pictures_have_time_to_grow():
    """On 102x102 cells damage is done at step 204, and persistence begins there; shorter rollouts end before."""
    golden = load_model(GOLDEN)
    model = dataclasses.replace(golden, target=dataclasses.replace(golden.target, padding=37))
    trajectory, grown = run_trajectory(model, Protocol(rollouts=1, steps=210), 0, 1)
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(grown, advance(model, model.place_seeds(1), 204, generator))
    found = measure_model(model, Protocol(rollouts=1, steps=210))
    assert found.persistence.median == pytest.approx(np.median(trajectory.mse[0, 204:]))
    assert found.worst.median == trajectory.mse[0, 204:].max()
    assert found.damage[Damage.CIRCLE].mse.shape == (1, 205), "before it heals, and after each of 204 steps"
    short = measure_model(model, Protocol(rollouts=1, steps=200))
    assert short.persistence.median == trajectory.mse[0, 200]
    candidate = Candidate("m", GOLDEN, model)
    assert candidate.notes == ["102x102 cells take longer to grow and to heal: 204 steps take the place of 200"]
    assert Candidate("m", GOLDEN, golden).notes == []
    assert choose_persistence_step((28, 100)) == 200


def test_rollouts_that_do_not_fit_into_memory_at_once(monkeypatch):
    """Batches are trials of their own, with seeds that go on counting."""
    monkeypatch.setattr(measures, "_MAX_STATE_VALUES", 2 * 13 * 13 * 6)
    ticks = []
    trial = Protocol(rollouts=3, steps=200, seed=7)
    joined = measure_model(lively(), trial, lambda: ticks.append(1))
    assert len(ticks) == trial.count_steps((13, 13)) == 1400
    first, second = (measure_model(lively(), Protocol(rollouts=n, steps=200, seed=s)) for n, s in ((2, 7), (1, 9)))
    assert np.array_equal(joined.trajectory.mse, np.concatenate([first.trajectory.mse, second.trajectory.mse]))
    assert np.array_equal(
        joined.damage[Damage.TOP].mse, np.concatenate([one.damage[Damage.TOP].mse for one in (first, second)])
    )
    assert len(np.unique(joined.trajectory.mse[:, 200])) == 3
    assert sorted(joined.trajectory.snapshots) == [20, 60, 96, 200]
    for shot in joined.trajectory.snapshots.values():
        assert shot.base is None or shot.base.nbytes == shot.nbytes, "it does not keep its batch in memory"


def test_every_step_is_ticked():
    ticks = []
    trial = Protocol(rollouts=1, steps=200)
    measure_model(lively(), trial, lambda: ticks.append(1))
    assert len(ticks) == trial.count_steps((13, 13)) == 1400


def test_models_share_their_seeds():
    def run(seed):
        return run_trajectory(lively(), Protocol(steps=200, seed=seed), 0, 2)[0].mse

    assert np.array_equal(run(3), run(3))
    assert not np.array_equal(run(3), run(4))
