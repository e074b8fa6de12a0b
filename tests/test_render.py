"""Animations and sheets, opened again by Pillow."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ncatool import render as rendering
from ncatool.errors import NcatoolError, UsageError
from ncatool.evaluate import figures
from ncatool.render import Film, Rendering, render
from ncatool.state import seed
from ncatool.view import colour, default_scale, enlarged, on_background
from tests.test_checkpoint import make_model


def lively(**settings):
    """A model that does something: what it grows does not matter."""
    model = make_model(channels=6, hidden=8, **settings)
    weights = model.weights._replace(output_weight=torch.randn(6, 8, generator=torch.Generator().manual_seed(2)) * 0.02)
    return type(model)(weights, model.config, model.target)


def passing(frames):
    return frames


def test_frames_hold_the_seed_every_step_asked_for_and_the_last():
    film = Film(lively(), Rendering(steps=25, every=10))
    frames = list(film.frames())
    assert [frame.step for frame in frames] == [0, 10, 20, 25]
    assert np.array_equal(frames[0].visible, seed(1, 13, 13, 6)[0, ..., :4].numpy())
    assert np.array_equal(frames[-1].visible, film.state[0, ..., :4].numpy())


def test_frames_do_not_depend_on_how_many_are_taken():
    ends = [list(Film(lively(), Rendering(steps=40, every=every)).frames())[-1].visible for every in (1, 7, 40)]
    for other in ends[1:]:
        assert np.array_equal(ends[0], other)


def test_every_damage_is_shown_before_and_after():
    frames = list(Film(lively(), Rendering(steps=110, every=50, damage=True)).frames())
    hits = [i for i, frame in enumerate(frames) if frame.damaged]
    assert [frames[i].step for i in hits] == list(range(10, 110, 10))
    erased = 0
    for i in hits:
        assert frames[i - 1].step == frames[i].step
        changed = (frames[i - 1].visible != frames[i].visible).any(-1)
        assert not frames[i].visible[changed].any()
        erased += changed.sum()
    assert erased > 0


def read(path):
    with Image.open(path) as image:
        pictures, pauses = [], []
        for i in range(image.n_frames):
            image.seek(i)
            pictures.append(np.asarray(image.convert("RGB")))
            pauses.append(image.info["duration"])
        return pictures, pauses, image.info.get("loop")


def test_gif(tmp_path):
    model, path = lively(), tmp_path / "a.gif"
    how = Rendering(steps=60, every=3, fps=20, scale=4, damage=True, background=colour("#102030"))
    final = render(model, path, how, passing)
    frames = list(Film(model, how).frames())
    pictures, pauses, loop = read(path)
    assert loop == 0, "it loops for ever"
    assert pictures[0].shape == (13 * 4, 13 * 4, 3)
    assert pauses[-1] == 2000
    assert sum(pauses) == sum(400 if frame.damaged else 50 for frame in frames[:-1]) + 2000
    for found, frame in ((pictures[0], frames[0]), (pictures[-1], frames[-1])):
        expected = enlarged(on_background(frame.visible, how.background), 4)
        assert np.abs(found.astype(int) - expected).max() < 40, "a palette of 256 colours comes near each"
    assert np.array_equal(final[0, ..., :4].numpy(), frames[-1].visible)
    assert (pictures[0][0, 0] == (16, 32, 48)).all()


def test_gif_has_one_palette(tmp_path):
    """No frame carries colours of its own: bit 7 of each image descriptor's flags is clear."""
    path = tmp_path / "a.gif"
    render(lively(), path, Rendering(steps=30, every=1, scale=1), passing)
    content = path.read_bytes()
    position = 13 + 3 * 2 ** ((content[10] & 7) + 1)
    images = 0
    while content[position] != 0x3B:
        if content[position] == 0x21:
            position += 2
        else:
            assert content[position] == 0x2C
            assert not content[position + 9] & 0x80
            images += 1
            position += 11
        while content[position]:
            position += content[position] + 1
        position += 1
    assert images > 10


def test_same_seed_same_bytes(tmp_path):
    for name, number in (("a", 1), ("b", 1), ("c", 2)):
        render(lively(), tmp_path / f"{name}.gif", Rendering(steps=40, seed=number), passing)
    first, again, other = ((tmp_path / f"{name}.gif").read_bytes() for name in "abc")
    assert first == again != other


def test_contact_sheet(tmp_path):
    path = tmp_path / "sheet.png"
    render(lively(), path, Rendering(steps=60, every=1, scale=5, damage=True), passing)
    with Image.open(path) as image:
        assert image.width > 6 * 13 * 5
        assert len(image.getcolors(10**6)) > 3


def test_stages_are_growth_then_each_damage_and_what_became_of_it():
    def steps(how):
        return [(frame.step, frame.damaged) for frame in rendering._stages(list(Film(lively(), how).frames()))]

    plain = steps(Rendering(steps=100, every=1))
    assert plain == [(s, False) for s in (0, 1, 4, 9, 16, 25, 36, 49, 64, 81, 100)]
    hurt = steps(Rendering(steps=110, every=1, damage=True))
    assert hurt[:5] == [(0, False), (2, False), (10, False), (10, True), (20, False)]
    assert hurt[-2:] == [(100, True), (110, False)]


def test_one_frame_is_enough(tmp_path):
    render(lively(), tmp_path / "a.gif", Rendering(steps=1), passing)
    render(lively(), tmp_path / "a.png", Rendering(steps=1), passing)


def test_ending_and_colour_are_checked(tmp_path):
    with pytest.raises(UsageError, match=r"\.avi") as caught:
        render(lively(), Path("a.avi"), Rendering(), passing)
    assert caught.value.mend == "choose an ending from .gif, .png"
    with pytest.raises(UsageError, match="not a colour"):
        colour("ultraviolet-ish")


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    for name in ("a.gif", "a.png"):
        with pytest.raises(NcatoolError, match="No space left"):
            render(lively(), tmp_path / name, Rendering(steps=5), passing)
    assert list(tmp_path.iterdir()) == []


def test_views_by_hand():
    visible = np.array([[[0.5, 0, 0, 0.5], [2, -1, np.nan, 1]]], np.float32)
    picture = on_background(visible, (0, 255, 0))
    assert picture[0, 0].tolist() == [128, 128, 0]
    assert picture[0, 1].tolist() == [255, 0, 0]
    assert enlarged(picture, 2).shape == (2, 4, 3)
    assert (default_scale(28, 28), default_scale(72, 40), default_scale(900, 900)) == (10, 3, 1)


def test_figures_by_hand():
    target = lively().target
    state = torch.from_numpy(target.premultiplied())[None] + 0.1
    found = figures(torch.cat([state, state], dim=-1), target)
    cells = 13 * 13 * 4
    expected = {"mse": 0.01, "psnr": 20, "l1": 0.1, "l2": 0.01, "manhattan": 0.1 * cells, "hinge": 0.095}
    assert found == pytest.approx(expected, rel=1e-4)
