import numpy as np
import pytest
import torch

from ncatool.errors import UsageError
from ncatool.rendering.playback import Playback, play_frames
from ncatool.rendering.render import choose_stages
from ncatool.rendering.sowing import BLEND_COUNT, Sowing, blend_seeds, name_places, parse_morphs
from ncatool.rendering.timeline import RenderSettings, plan_moments
from tests.several import NAMES, make_several


@pytest.fixture
def model():
    return make_several()


def test_named_places_grow_several_pictures_on_one_grid(model):
    settings = RenderSettings(
        steps=3, every=1, grid=(13, 30), sow=name_places([(6, 6), (6, 22)], ["blue", "red"], model)
    )
    playback = Playback(model, settings)
    assert torch.equal(playback.state[0, 6, 6], model.seeds[2, 0, 0])
    assert torch.equal(playback.state[0, 6, 22], model.seeds[0, 0, 0])
    assert len(playback.state[0].any(dim=-1).nonzero()) == 2
    assert np.allclose(playback.expected[6, 6] * 255, model.target.pictures[2].pixels[0, 0])
    assert np.allclose(playback.expected[6, 22] * 255, model.target.pixels[0, 0])
    list(play_frames([playback], settings))
    assert playback.state[0, :, :11].any()
    assert playback.state[0, :, 18:].any()


def test_a_later_seed_is_sown_into_what_has_grown_and_changes_what_is_expected(model):
    settings = RenderSettings(steps=20, every=20, sow=parse_morphs(["green@8"], model, 20))
    playback = Playback(model.pictures[0], settings)
    frames = list(play_frames([playback], settings))
    assert [(frame.moment.step, frame.moment.change) for frame in frames] == [(0, ""), (8, ""), (8, "sown"), (20, "")]
    before, after = (frame.scenes[0] for frame in frames[1:3])
    assert np.array_equal(after.cells[6, 6], model.seeds[1, 0, 0].numpy())
    changed = (before.cells != after.cells).any(axis=-1)
    assert changed.sum() == 1, "what has grown is still there"
    assert np.allclose(before.expected[6, 6] * 255, model.target.pixels[0, 0])
    assert np.allclose(after.expected[6, 6] * 255, model.target.pictures[1].pixels[0, 0])
    playback.restart()
    assert np.array_equal(playback.expected, before.expected)
    moments = plan_moments(settings)
    assert 2 in choose_stages(moments)


def test_blended_seeds_lead_from_one_picture_to_the_other(model):
    blended = blend_seeds(model, "red:blue")
    assert len(blended) == BLEND_COUNT
    assert torch.equal(blended[0].seed, model.seeds[0])
    assert torch.equal(blended[-1].seed, model.seeds[2])
    assert torch.allclose(blended[BLEND_COUNT // 2].seed, (model.seeds[0] + model.seeds[2]) / 2)
    assert [one.target.name for one in blended] == ["red"] * 5 + ["blue"] * 4


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("red", "no picture and step"),
        ("red@", "no picture and step"),
        ("red@0", "no picture and step"),
        ("@20", "no picture and step"),
        ("red@x", "no picture and step"),
        ("red@99", "the last step is 50"),
        ("rde@20", "no picture 'rde'"),
    ],
)
def test_morphs_that_mean_nothing_are_refused(model, text, what):
    with pytest.raises(UsageError, match=what):
        parse_morphs([text], model, 50)


@pytest.mark.parametrize("text", ["red", "red:red", "red:", ":", "red:rde"])
def test_blends_that_mean_nothing_are_refused(model, text):
    with pytest.raises(UsageError):
        blend_seeds(model, text)


def test_either_all_places_have_names_or_none(model):
    with pytest.raises(UsageError, match="--at 1,2 names no picture"):
        name_places([(3, 3), (1, 2)], ["red", ""], model)
    with pytest.raises(UsageError, match="model of one picture"):
        name_places([(3, 3)], ["red"], model.pictures[0])


def test_a_seed_beyond_the_grid_is_refused_wherever_and_whenever_it_is_sown(model):
    for sowing in (Sowing(model.pictures[0], (3, 40)), Sowing(model.pictures[1], (40, 3), step=9)):
        with pytest.raises(UsageError, match="outside the grid"):
            Playback(model, RenderSettings(steps=10, sow=(sowing,)))


def test_turned_pictures_stand_at_their_places():
    model = make_several(names=NAMES[:2])
    settings = RenderSettings(steps=1, grid=(13, 30), rotate=90, sow=name_places([(6, 6), (6, 22)], NAMES[:2], model))
    playback = Playback(model, settings)
    assert torch.equal(playback.state[0, 6, 22], model.seeds[1, 0, 0])
