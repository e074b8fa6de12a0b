"""Variation between rollouts: of states by hand, joined, in a comparison and in pictures."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ncatool.config.names import View
from ncatool.evaluation.measures import measure_model
from ncatool.evaluation.models import Candidate, name_measures
from ncatool.evaluation.protocol import Protocol
from ncatool.evaluation.table import format_number
from ncatool.evaluation.variation import join_variations, measure_variation
from ncatool.nca.model_file import load_model
from ncatool.rendering.comparison import draw_deviation
from ncatool.rendering.playback import Playback
from ncatool.rendering.timeline import RenderSettings
from tests.conftest import GOLDEN, run_in_process


@pytest.fixture
def states():
    return np.random.default_rng(3).random((7, 4, 5, 4)).astype(np.float32)


def test_the_deviation_is_that_of_numpy(states):
    variation = measure_variation(states)
    wide = states.astype(np.float64)
    np.testing.assert_allclose(variation.deviation, wide.std(axis=0))
    np.testing.assert_allclose(variation.map, wide.std(axis=0).mean(axis=-1))
    assert variation.mean_deviation == pytest.approx(wide.std(axis=0).mean())
    assert variation.nqm == pytest.approx(wide.std(axis=0).sum() / wide.mean(axis=0).sum())


def test_by_hand():
    """Half of the rollouts show 0.2, half 0.4, in one of two cells: a deviation of 0.1 there."""
    states = np.zeros((4, 1, 2, 4), np.float32)
    states[:2, 0, 0], states[2:, 0, 0] = 0.2, 0.4
    variation = measure_variation(states)
    np.testing.assert_allclose(variation.map, [[0.1, 0]], atol=1e-7)
    assert variation.mean_deviation == pytest.approx(0.05)
    assert variation.nqm == pytest.approx(0.1 / 0.3)


def test_batches_join_to_the_same(states):
    joined = join_variations(measure_variation(states[:2]), measure_variation(states[2:]))
    whole = measure_variation(states)
    assert joined.count == 7
    np.testing.assert_allclose(joined.mean, whole.mean)
    np.testing.assert_allclose(joined.deviation, whole.deviation)


def test_one_rollout_an_empty_grid_and_an_explosion_say_nothing(states):
    assert math.isinf(measure_variation(states[:1]).mean_deviation)
    assert format_number(measure_variation(states[:1]).mean_deviation) == "–"
    empty = measure_variation(np.zeros_like(states))
    assert empty.mean_deviation == 0
    assert math.isinf(empty.nqm)
    states[3] = np.nan
    states[4] = np.inf
    assert math.isinf(measure_variation(states).mean_deviation)


def test_a_comparison_tells_the_variation(monkeypatch):
    shutil.copy(GOLDEN, "m.safetensors")
    arguments = ["compare", "m.safetensors", "--rollouts", 4, "--steps", 200]
    done = run_in_process(*arguments, "--json", "--picture", "a.png", "--csv", "a.csv", "-q")
    assert done.returncode == 0, done.stderr
    (model,) = json.loads(done.stdout)["models"]
    playback = Playback(load_model(GOLDEN), RenderSettings(view=View.VARIANCE, rollouts=4))
    playback.advance_to(200)
    assert model["deviation_at_200"] == pytest.approx(playback.capture().variation.mean_deviation, rel=1e-5)
    assert model["nqm_at_200"] > model["deviation_at_200"] > 0
    assert "deviation_at_200" in Path("a.csv").read_text().splitlines()[0]
    monkeypatch.setattr("ncatool.evaluation.measures._MAX_STATE_VALUES", 2 * 28 * 28 * 16)
    batched = json.loads(run_in_process(*arguments, "--json", "-q").stdout)["models"][0]
    assert 0.2 < batched["deviation_at_200"] / model["deviation_at_200"] < 5, "other fire masks, the same model"
    assert (
        json.loads(run_in_process(*arguments[:2], "--rollouts", 1, "--steps", 200, "--json", "-q").stdout)["models"][0][
            "deviation_at_200"
        ]
        is None
    )


@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf"])
def test_the_sheet_of_a_comparison_shows_it(ending):
    shutil.copy(GOLDEN, "m.safetensors")
    for name in "ab":
        done = run_in_process(
            "compare", "m.safetensors", "--rollouts", 2, "--steps", 200, "--picture", f"{name}{ending}", "-q"
        )
        assert done.returncode == 0, done.stderr
    assert Path(f"a{ending}").read_bytes() == Path(f"b{ending}").read_bytes()
    if ending == ".svg":
        text = Path("a.svg").read_text()
        assert all(f">{label}</text>" in text for label in ("m", "error 200", "varies 200", "0.001", "target"))


def test_the_picture_of_one_model():
    model = load_model(GOLDEN)
    measures = measure_model(model, Protocol(rollouts=3, steps=200))
    picture = np.asarray(draw_deviation(name_measures(Candidate("m", GOLDEN, model), measures)))
    assert 392 + 28 <= picture.shape[0] <= 440
    cells = picture[28 + 7 : 28 + 392 : 14, 8 + 7 : 8 + 392 : 14].astype(int).sum(-1)
    deviation = measures.variation.map
    assert cells.shape == deviation.shape
    order = np.argsort(deviation.flat)
    assert cells.flat[order[-20:]].mean() > 5 * cells.flat[order[:400]].mean(), "bright where it varies"


def test_the_view_of_a_rendering():
    shutil.copy(GOLDEN, "m.safetensors")
    arguments = ["render", "m.safetensors", "--view", "variance", "--steps", 40, "--every", 20]
    done = run_in_process(*arguments, "a.apng", "a.png", "--rollouts", 3, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["rollouts"] == 3
    assert 0 < told["deviation"] < told["nqm"]
    with Image.open("a.apng") as image:
        first = np.asarray(image.convert("RGB")).astype(int)
        image.seek(2)
        last = np.asarray(image.convert("RGB")).astype(int)
    assert first[28:420, 8:400].max() < 10, "all start from the same seed"
    assert last[28:420, 8:400].max() > 100
    assert run_in_process(*arguments, "b.apng", "--rollouts", 5, "-q").returncode == 0
    assert Path("a.apng").read_bytes() != Path("b.apng").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--rollouts", 3], "--rollouts 3 has no meaning for --view rgba"),
        (["--rollouts", 3, "--view", "error"], "has no meaning for --view error"),
        (["--rollouts", 1, "--view", "variance"], "--rollouts"),
    ],
)
def test_rollouts_without_the_view_and_too_few(arguments, told):
    shutil.copy(GOLDEN, "m.safetensors")
    done = run_in_process("render", "m.safetensors", "a.gif", *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert not Path("a.gif").exists()
