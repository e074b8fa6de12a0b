"""Scripts of damage: what they mean, and what they cannot mean."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ncatool.config.names import Damage
from ncatool.data.file_spec import FileSpec
from ncatool.errors import NcatoolError, UsageError
from ncatool.rendering.damage_script import DamageEvent, make_mask, parse_script, repeat_random


def test_events_come_in_the_order_of_their_steps():
    found = parse_script(["left@300, square:0.4@50", "circle:0.1:2:7.5@100", "random@0"], 300)
    assert found == (
        DamageEvent(0),
        DamageEvent(50, Damage.SQUARE, 0.4),
        DamageEvent(100, Damage.CIRCLE, 0.1, (2, 7.5)),
        DamageEvent(300, Damage.LEFT),
    )


def test_plain_damage_is_a_circle_every_hundred_steps_with_time_to_heal():
    assert [event.step for event in parse_script(["random"], 1100)] == list(range(100, 1001, 100))
    assert [event.step for event in repeat_random(500)] == [100, 200, 300, 400]
    assert [event.step for event in repeat_random(599, 200)] == [200, 300, 400]
    assert [[event.step for event in repeat_random(steps)] for steps in (150, 100, 3, 1)] == [[100], [50], [1], [1]]
    assert all(event.repeated and event.shape is None for event in repeat_random(500))
    assert parse_script(["1"], 550) == repeat_random(550)
    assert parse_script([], 100) == parse_script(["false"], 100) == ()


def test_the_name_of_a_mask_may_contain_a_comma():
    np.save("x,y.npy", INSIDE)
    (event,) = parse_script(["x,y.npy@5"], 100)
    assert (event.step, str(event.shape.path)) == (5, "x,y.npy")


@pytest.mark.parametrize(
    ("text", "what", "hint"),
    [
        ("circle", "'circle' does not say after which step", "circle@200"),
        ("circle@", "does not say after which step", "circle@200"),
        ("circle@-3", "does not say after which step", "circle@200"),
        ("circle@" + "9" * 5000, "does not say after which step", "circle@200"),
        ("circle@soon", "does not say after which step", "circle@200"),
        ("", "does not say after which step", "circle@200"),
        ("circle@101", "comes after the end: the last step is 100", "--steps 101"),
        (
            "oval@5",
            "there is no damage 'oval'",
            "circle, left, right, top, bottom, square, random, or give the file of a mask",
        ),
        ("mask.png@5", "there is no damage 'mask.png'", "file of a mask"),
        ("circle:big@5", "no number", "SHAPE@STEP"),
        ("circle:nan@5", "size nan", "shorter side"),
        ("circle:0@5", "size 0", "shorter side"),
        ("circle:1.5@5", "size 1.5", "shorter side"),
        ("circle:0.2:3@5", "position of 1 numbers", "10:14"),
        ("left:0.3@5", "a half has none", "left@5"),
        ("x" * 5000, "does not say", "SHAPE@STEP"),
    ],
)
def test_what_cannot_be_meant(text, what, hint):
    with pytest.raises(UsageError) as caught:
        parse_script([text], 100)
    assert what in caught.value.what
    assert hint in caught.value.hint
    assert len(caught.value.what) < 300


BOX = slice(2, 8), slice(2, 6)
GRID = 10, 8


def masked(event, side=4):
    return make_mask(event, BOX, GRID, side).numpy()


def test_shapes_lie_on_the_picture_not_on_its_padding():
    left = masked(DamageEvent(0, Damage.LEFT))
    assert left[2:8, 2:4].all()
    assert left.sum() == 12
    square = masked(DamageEvent(0, Damage.SQUARE, 0.25))
    assert np.argwhere(square).tolist() == [[4, 3], [4, 4], [5, 3], [5, 4]]


def test_positions_count_from_the_corner_of_the_grid():
    assert np.argwhere(masked(DamageEvent(0, Damage.CIRCLE, 0.1, (3, 4)))).tolist() == [[3, 4]]
    square = masked(DamageEvent(0, Damage.SQUARE, 0.25, (6, 2)))
    assert np.argwhere(square).tolist() == [[y, x] for y in (5, 6, 7) for x in (1, 2, 3)], "also beside the picture"


@pytest.mark.parametrize("centre", [(-1, 3), (3, 8), (10, 0), (float("nan"), 0)])
def test_positions_outside_the_grid(centre):
    with pytest.raises(UsageError, match=r"outside the grid of 10x8") as caught:
        masked(DamageEvent(0, Damage.CIRCLE, 0.1, centre))
    assert caught.value.hint == "rows go from 0 to 9, columns from 0 to 7"


def test_a_mask_is_where_an_image_is_light_and_not_transparent():
    pixels = np.zeros((12, 8, 4), np.uint8)
    pixels[:6] = 255
    pixels[:6, :2, 3] = 0
    Image.fromarray(pixels).save("mask.png")
    (event,) = parse_script(["mask.png@7"], 10)
    assert event == DamageEvent(7, FileSpec(Path("mask.png")))
    expected = torch.zeros(GRID, dtype=torch.bool)
    expected[2:5, 3:6] = True
    assert (masked(event) == expected.numpy()).all()


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"", "empty"), (b"no image", "not a picture"), (b"\x89PNG\r\n\x1a\n", "not a picture")],
)
def test_a_mask_that_is_no_image(content, what):
    Path("mask.png").write_bytes(content)
    (event,) = parse_script(["mask.png@7"], 10)
    with pytest.raises(NcatoolError, match=f"mask.png is {what}"):
        masked(event)


def save_deep(path, values):
    Image.fromarray(values).save(path)


INSIDE = np.zeros((10, 8), bool)
INSIDE[1:5, 2:6] = True


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("deep.png", lambda path: save_deep(path, INSIDE.astype(np.uint16) * 60000)),
        ("float.tif", lambda path: save_deep(path, INSIDE.astype(np.float32))),
        ("labels.png", lambda path: save_deep(path, INSIDE.astype(np.uint8) * 2)),
        ("labels.npy", lambda path: np.save(path, INSIDE.astype(np.int16))),
        ("volume.npy", lambda path: np.save(path, np.stack([~INSIDE, INSIDE.astype(int) * 1000, ~INSIDE]))),
        ("yes.npy", lambda path: np.save(path, INSIDE)),
    ],
)
def test_masks_of_every_kind(name, save):
    save(Path(name))
    (event,) = parse_script([f"{name}@7"], 10)
    whole = slice(0, 10), slice(0, 8)
    assert (make_mask(event, whole, (10, 8), 8).numpy() == INSIDE).all()


def test_a_mask_is_turned_upright_and_may_be_one_slice():
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(INSIDE).astype(np.uint8) * 255).save("turned.png", exif=exif)
    np.save("stack.npy", np.stack([INSIDE, ~INSIDE, ~INSIDE]))
    whole = slice(0, 10), slice(0, 8)
    for text in ("turned.png@7", "stack.npy:axial:0@7", "stack.npy:0@7"):
        (event,) = parse_script([text], 10)
        assert (make_mask(event, whole, (10, 8), 8).numpy() == INSIDE).all()
    with pytest.raises(NcatoolError, match="no axial slice 3"):
        make_mask(parse_script(["stack.npy:3@7"], 10)[0], whole, (10, 8), 8)
