"""What grows where: steps, damage, grids, seeds, directions."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
import torch

from ncatool.config.names import Boundary, Damage, Filter, SeedCells
from ncatool.data.target import Target
from ncatool.errors import UsageError
from ncatool.nca.seed import make_seed, place_seed
from ncatool.rendering.damage_script import DamageEvent
from ncatool.rendering.playback import Playback, play_frames
from ncatool.rendering.timeline import RenderSettings, plan_moments
from tests.nca.test_model_file import make_model


def lively(**settings):
    """A model that does something: what it grows does not matter."""
    model = make_model(channels=6, hidden=8, **settings)
    weights = model.weights._replace(output_weight=torch.randn(6, 8, generator=torch.Generator().manual_seed(2)) * 0.02)
    return type(model)(weights, model.config, model.target)


def filmed(**how):
    rendering = RenderSettings(**how)
    film = Playback(lively(), rendering)
    return film, list(play_frames([film], rendering))


def visible(frame):
    return frame.scenes[0].cells[..., :4]


def test_frames_hold_the_seed_every_step_asked_for_and_the_last():
    film, found = filmed(steps=25, every=10)
    assert [frame.moment.step for frame in found] == [0, 10, 20, 25]
    assert np.array_equal(found[0].scenes[0].cells, place_seed(make_seed(6), 1, 13, 13)[0].numpy())
    assert np.array_equal(found[-1].scenes[0].cells, film.state[0].numpy())
    for earlier, later in pairwise(found):
        assert np.array_equal(later.scenes[0].before, earlier.scenes[0].cells)


def test_frames_do_not_depend_on_how_many_are_taken():
    ends = [filmed(steps=40, every=every)[0].state for every in (1, 7, 40)]
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2])


def test_every_damage_is_shown_before_and_after():
    _, found = filmed(steps=110, every=50, damage=tuple(DamageEvent(step) for step in range(10, 110, 10)))
    hits = [i for i, frame in enumerate(found) if frame.moment.change]
    assert [found[i].moment.step for i in hits] == list(range(10, 110, 10))
    erased = 0
    for i in hits:
        assert found[i - 1].moment.step == found[i].moment.step
        changed = (visible(found[i - 1]) != visible(found[i])).any(-1)
        assert not visible(found[i])[changed].any()
        erased += changed.sum()
    assert erased > 0


def test_a_scripted_wound_is_where_and_when_it_was_asked_for():
    _, found = filmed(
        steps=40, every=40, damage=(DamageEvent(30, Damage.TOP), DamageEvent(30, Damage.CIRCLE, 0.01, (11, 6)))
    )
    whole, hurt = (frame.scenes[0].cells for frame in found[1:3])
    expected = whole.copy()
    expected[2:7, 2:11] = 0
    expected[11, 6] = 0
    assert found[2].moment[:2] == (30, "damaged")
    assert np.array_equal(hurt, expected)


def test_the_plan_is_known_before_anything_grows():
    how = RenderSettings(steps=7, every=3, fps=20, hold=3, damage=(DamageEvent(3, Damage.LEFT), DamageEvent(7)))
    assert [tuple(moment) for moment in plan_moments(how)] == [
        (0, "", 50), (3, "", 50), (3, "damaged", 400), (6, "", 50), (7, "", 50), (7, "damaged", 3000)
    ]  # fmt: skip
    assert [frame.moment for frame in play_frames([Playback(lively(), how)], how)] == plan_moments(how)


def test_random_wounds_and_growth_come_from_the_seed():
    how = RenderSettings(steps=60, damage=(DamageEvent(30),), seed=1)
    ends = [
        Playback(lively(), settings)
        for settings in (how, how, RenderSettings(steps=60, damage=(DamageEvent(30),), seed=2))
    ]
    for film in ends:
        list(play_frames([film], how))
    assert torch.equal(ends[0].state, ends[1].state)
    assert not torch.equal(ends[0].state, ends[2].state)


def test_models_of_one_size_share_their_randomness():
    how = RenderSettings(steps=30, damage=(DamageEvent(20),))
    films = [Playback(lively(), how), Playback(lively(), how)]
    for frame in play_frames(films, how):
        assert np.array_equal(frame.scenes[0].cells, frame.scenes[1].cells)


def test_a_larger_grid_with_several_seeds():
    how = RenderSettings(steps=20, grid=(30, 40), at=((6, 6), (20, 30)))
    film = Playback(lively(), how)
    assert torch.equal(film.state, place_seed(make_seed(6), 1, 30, 40, how.at))
    assert film.state[0, 6, 6, 3] == film.state[0, 20, 30, 3] == 1
    assert film.state[0, ..., 3].sum() == 2
    target = film.model.target.premultiply()
    expected = np.zeros((30, 40, 4), np.float32)
    expected[0:13, 0:13] = target
    expected[14:27, 24:37] = target
    assert np.array_equal(film.expected, expected)
    list(play_frames([film], how))
    assert film.state.shape == (1, 30, 40, 6)


def test_targets_go_over_the_edge_only_where_the_grid_wraps():
    cut, wrapped = (
        Playback(lively(boundary=boundary), RenderSettings(at=((0, 6),))).expected
        for boundary in (Boundary.ZERO, Boundary.WRAP)
    )
    whole = lively().target.premultiply()
    assert np.array_equal(wrapped, np.roll(whole, -6, axis=0))
    assert np.array_equal(cut[:7], whole[6:])
    assert not cut[7:].any()


@pytest.mark.parametrize("at", [(13, 0), (0, 13)])
def test_a_seed_outside_the_grid(at):
    with pytest.raises(UsageError, match="lies outside the grid of 13x13 cells"):
        Playback(lively(), RenderSettings(at=(at,)))


def test_trim_cuts_to_what_the_target_shows():
    scene = filmed(steps=1, trim=True)[1][0].scenes[0]
    rows, columns = np.nonzero(lively().target.premultiply()[..., 3])
    assert scene.cells.shape == (np.ptp(rows) + 1, np.ptp(columns) + 1, 6)
    assert scene.expected.shape[:2] == scene.before.shape[:2] == scene.cells.shape[:2]


def test_what_is_wanted_turns_the_same_way():
    straight, turned, slanted = (Playback(lively(), RenderSettings(rotate=degrees)).expected for degrees in (0, 90, 30))
    np.testing.assert_allclose(turned, np.rot90(straight), atol=1e-6)
    assert slanted[..., 3].sum() == pytest.approx(straight[..., 3].sum(), rel=0.1)


def test_what_is_wanted_is_mirrored_before_it_is_turned():
    straight, mirrored, both = (
        Playback(lively(), RenderSettings(**how)).expected
        for how in ({}, {"mirror": True}, {"mirror": True, "rotate": 90})
    )
    assert not np.array_equal(mirrored, straight)
    assert np.array_equal(mirrored, straight[:, ::-1])
    np.testing.assert_allclose(both, np.rot90(mirrored), atol=1e-6)


def test_an_even_picture_is_mirrored_about_its_middle_cell():
    """Column 6 of 12 is the middle: 5 and 7 change places, and 0 has no partner."""
    model = lively()
    pixels = np.random.default_rng(1).integers(1, 256, (12, 12, 4), np.uint8)
    model = dataclasses.replace(model, target=Target(pixels, 0, {}))
    straight, mirrored = (Playback(model, RenderSettings(mirror=mirror)).expected for mirror in (False, True))
    assert np.array_equal(mirrored[:, 1:], straight[:, :0:-1])
    assert not mirrored[:, 0].any()


def three_celled(**settings):
    """All its cells fire in each step, so that symmetry holds without a look at fire masks."""
    model = lively(filter=Filter.GAUSSIAN, fire_rate=1.0, **settings)
    return dataclasses.replace(model, own_seed=make_seed(6, SeedCells.THREE))


def grown(**how):
    settings = RenderSettings(steps=9, **how)
    playback = Playback(three_celled(), settings)
    list(play_frames([playback], settings))
    return playback.state


def test_three_cells_turn_and_mirror_what_grows():
    """The middle of 13 x 13 cells is a cell."""
    state, slanted = grown(), grown(rotate=60)
    assert (state != 0).float().mean() > 0.3
    pairs = [
        (grown(rotate=180), torch.rot90(state, 2, (1, 2))),
        (grown(mirror=True), state.flip(2)),
        (grown(mirror=True, rotate=90), torch.rot90(state.flip(2), 1, (1, 2))),
        (grown(rotate=150), torch.rot90(slanted, 1, (1, 2))),
        (grown(mirror=True, rotate=-60), slanted.flip(2)),
    ]
    for found, expected in pairs:
        assert (found - state).abs().max() > 0.3
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_three_cells_have_their_middle_where_they_are_placed():
    found = grown(grid=(30, 40), at=((8, 9), (20, 30)))
    for y, x in ((8, 9), (20, 30)):
        torch.testing.assert_close(found[:, y - 6 : y + 7, x - 6 : x + 7], grown(), rtol=1e-4, atol=1e-5)


def test_a_restart_brings_the_turned_seed_back_where_it_was_placed():
    """As key r does in the terminal."""
    playback = Playback(three_celled(), RenderSettings(at=((2, 10),), rotate=180))
    for _ in range(2):
        assert playback.state[0, ..., 3].nonzero().tolist() == [[1, 8], [1, 12], [4, 10]]
        playback.advance_to(5)
        assert (playback.state[0, ..., 3] > 0).sum() > 20
        playback.restart()


@pytest.mark.parametrize(
    ("how", "where", "hint"),
    [
        ({"at": ((1, 6),)}, "row 1, column 6", "from row 2 to 11 and from column 2 to 10"),
        ({"at": ((12, 6),)}, "row 12, column 6", "from row 2 to 11"),
        ({"at": ((6, 1),)}, "row 6, column 1", "from column 2 to 10"),
        ({"at": ((6, 6), (6, 11))}, "row 6, column 11", "from column 2 to 10"),
        ({"at": ((11, 6),), "rotate": 180}, "row 11, column 6", "from row 1 to 10"),
        ({"grid": (3, 20)}, "row 1, column 10", "give a larger --grid"),
    ],
)
def test_a_seed_that_reaches_beyond_the_edge(how, where, hint):
    with pytest.raises(UsageError, match=f"a seed at {where} reaches beyond the edge of the grid of") as caught:
        Playback(three_celled(), RenderSettings(**how))
    assert hint in caught.value.hint
    wrapped = Playback(three_celled(boundary=Boundary.WRAP), RenderSettings(**how))
    assert (wrapped.state[0, ..., 3] == 1).sum() == 3 * len(how.get("at", [0]))


def test_symmetric_filters_have_no_direction():
    for how in ({"rotate": 45}, {"mirror": True}):
        with pytest.raises(UsageError, match="mean filter is symmetric"):
            Playback(lively(filter=Filter.MEAN), RenderSettings(**how))
