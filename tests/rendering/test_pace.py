"""The pace of a rendering: what is shown slowly, where it ends, when it is damaged."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ncatool.config.names import Damage
from ncatool.nca.model_file import load_model
from ncatool.rendering.damage_script import DamageEvent, repeat_random
from ncatool.rendering.pace import find_settled, measure_changes, plan_pace
from ncatool.rendering.playback import Playback, play_frames
from ncatool.rendering.timeline import RenderSettings, plan_moments
from tests.conftest import GOLDEN, run_in_process
from tests.rendering.test_playback import lively


@pytest.fixture(scope="module")
def golden():
    return load_model(GOLDEN)


def read_pauses(path):
    with Image.open(path) as image:
        pauses = []
        for i in range(image.n_frames):
            image.seek(i)
            image.load()
            pauses.append(image.info["duration"])
        return image.size, pauses


def test_the_seed_stays_growth_is_slow_and_the_end_comes_once_it_has_settled(golden):
    settings = plan_pace([golden], RenderSettings(), ())
    moments = plan_moments(settings)
    steps = [moment.step for moment in moments]
    assert moments[0].pause == 500
    assert moments[-1].pause == 2000
    assert {moment.pause for moment in moments[1:-1]} == {40}
    changes = measure_changes(golden, RenderSettings(), 500)
    settled = find_settled(changes)
    assert 100 < settled < 200
    assert changes[settled:].max() < 0.1 * changes.max()
    assert settled + 40 <= settings.steps < settled + 60
    gaps = np.diff(steps)
    growing = gaps[np.array(steps[:-1]) < settled - 10]
    assert set(growing) <= {1, 2}
    assert 60 <= len(growing) <= 90, "about three seconds"
    assert gaps[-3] == 4 * growing[0], "the rest is quicker"


def test_a_rollout_in_advance_is_the_one_that_is_shown(golden):
    settings = RenderSettings(steps=120, every=1, damage=(DamageEvent(100, Damage.LEFT),))
    cells = [frame.scenes[0].cells for frame in play_frames([Playback(golden, settings)], settings)]
    shown = (golden.target.premultiply()[..., 3] > 0).sum()
    expected = [np.abs(cells[i + 1] - cells[i])[..., :4].sum() / (4 * shown) for i in (0, 49, 99)]
    assert measure_changes(golden, settings, 120)[[0, 49, 99]] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"steps": 300}, lambda moments: moments[-1].step == 300 and moments[0].pause == 500),
        ({"every": 7}, lambda moments: [moment.step for moment in moments[:-1]] == list(range(0, moments[-1].step, 7))),
        ({"fps": 10}, lambda moments: {moment.pause for moment in moments[:-1]} == {100}),
        (
            {"steps": 60, "every": 3, "fps": 20},
            lambda moments: moments == plan_moments(RenderSettings(steps=60, every=3, fps=20)),
        ),
    ],
)
def test_what_is_given_holds(given, expected, golden):
    assert expected(plan_moments(plan_pace([golden], RenderSettings(**given), given)))


@pytest.mark.parametrize("ending", [".gif", ".webp"])
def test_the_command_paces_its_animation(ending):
    shutil.copy(GOLDEN, "m.safetensors")
    done = run_in_process("render", "m.safetensors", f"a{ending}", "-q")
    assert done.returncode == 0, done.stderr
    size, pauses = read_pauses(f"a{ending}")
    assert size == (392, 392)
    assert pauses[0] == 500
    assert pauses[-1] == 2000
    assert sum(pauses) < 8000
    done = run_in_process("render", "m.safetensors", f"b{ending}", "-q", "--steps", 20, "--every", 2, "--fps", 25)
    assert done.returncode == 0, done.stderr
    assert read_pauses(f"b{ending}")[1] == [40] * 10 + [2000]


def test_plain_damage_waits_for_growth_and_lets_each_wound_close(golden):
    settings = plan_pace([golden], RenderSettings(damage=repeat_random(500)), ())
    assert [event.step for event in settings.damage] == [200, 300, 400]
    assert settings.steps == 500
    errors = {}
    for frame in play_frames([Playback(golden, settings)], settings):
        errors[frame.moment[:2]] = frame.scenes[0].mse
    for event in settings.damage:
        before, after = errors[event.step, ""], errors[event.step, "damaged"]
        healed = errors[event.step + 100, ""]
        assert before < 1e-3
        assert after > 10 * before
        assert healed < 1e-3, "nothing is erased that has not healed"


@pytest.mark.parametrize(
    ("steps", "expected"), [(1100, list(range(200, 1001, 100))), (350, [200]), (250, [200]), (150, [75]), (1, [1])]
)
def test_plain_damage_within_given_steps(steps, expected, golden):
    settings = plan_pace([golden], RenderSettings(steps=steps, damage=repeat_random(steps)), {"steps"})
    assert [event.step for event in settings.damage] == expected
    assert settings.steps == steps


def test_given_damage_stays_and_is_healed_before_the_end(golden):
    event = DamageEvent(150, Damage.LEFT)
    settings = plan_pace([golden], RenderSettings(damage=(event,)), ())
    assert settings.damage == (event,)
    assert 250 <= settings.steps <= 500
    late = plan_pace([golden], RenderSettings(damage=(DamageEvent(480, Damage.LEFT),)), ())
    assert late.steps == 580
    steps = [moment.step for moment in plan_moments(settings) if 150 <= moment.step <= 190]
    assert max(np.diff(steps)) <= 2, "healing is as slow as growth"


def test_what_never_settles_ends_where_it_did():
    """This one does not grow anything that would last."""
    changes = np.full(500, 0.5)
    assert find_settled(changes) is None
    assert find_settled(np.full(500, np.inf)) is None
    assert find_settled(np.zeros(500)) == 10
    assert find_settled(np.zeros(3)) is None
    settings = plan_pace([lively(), lively()], RenderSettings(steps=30), ())
    assert settings.steps <= 30


def test_several_models_end_with_the_last(golden):
    alone = plan_pace([golden], RenderSettings(), ()).steps
    assert plan_pace([golden, golden], RenderSettings(), ()).steps == alone


def test_an_animation_of_a_comparison_is_paced(tmp_path):
    shutil.copy(GOLDEN, "m.safetensors")
    done = run_in_process("compare", "m.safetensors", "--rollouts", 1, "--steps", 200, "--animation", "a.gif", "-q")
    assert done.returncode == 0, done.stderr
    _, pauses = read_pauses(Path("a.gif"))
    assert pauses[0] == 500
    assert len(pauses) == 102
