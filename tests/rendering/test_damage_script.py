"""Scripts of damage: what they mean, and what they cannot mean."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ncatool.config.names import Damage
from ncatool.errors import NcatoolError, UsageError
from ncatool.rendering.damage_script import Event, parse, shape_mask, ten_times


def test_events_come_in_the_order_of_their_steps():
    found = parse(["left@300, square:0.4@50", "circle:0.1:2:7.5@100", "random@0"], 300)
    assert found == (
        Event(0),
        Event(50, Damage.SQUARE, 0.4),
        Event(100, Damage.CIRCLE, 0.1, (2, 7.5)),
        Event(300, Damage.LEFT),
    )


def test_plain_damage_is_ten_circles_at_equal_distances():
    assert [event.step for event in parse(["random"], 110)] == list(range(10, 110, 10))
    assert parse(["1"], 55) == ten_times(55)
    assert parse([], 100) == parse(["false"], 100) == ()


@pytest.mark.parametrize(
    ("text", "what", "mend"),
    [
        ("circle", "'circle' does not say after which step", "circle@200"),
        ("circle@", "does not say after which step", "circle@200"),
        ("circle@-3", "does not say after which step", "circle@200"),
        ("circle@" + "9" * 5000, "does not say after which step", "circle@200"),
        ("circle@soon", "does not say after which step", "circle@200"),
        ("", "does not say after which step", "circle@200"),
        ("circle@101", "comes after the end: the last step is 100", "--steps 101"),
        ("oval@5", "there is no damage 'oval'", "circle, left, right, top, bottom, square, random, or name an image"),
        ("mask.png@5", "there is no damage 'mask.png'", "image file"),
        ("circle:big@5", "no number", "SHAPE@STEP"),
        ("circle:nan@5", "size nan", "shorter side"),
        ("circle:0@5", "size 0", "shorter side"),
        ("circle:1.5@5", "size 1.5", "shorter side"),
        ("circle:0.2:3@5", "position of 1 numbers", "10:14"),
        ("left:0.3@5", "a half has none", "left@5"),
        ("x" * 5000, "does not say", "SHAPE@STEP"),
    ],
)
def test_what_cannot_be_meant(text, what, mend):
    with pytest.raises(UsageError) as caught:
        parse([text], 100)
    assert what in caught.value.what
    assert mend in caught.value.mend
    assert len(caught.value.what) < 300


BOX = slice(2, 8), slice(2, 6)
GRID = 10, 8


def masked(event, side=4):
    return shape_mask(event, BOX, GRID, side).numpy()


def test_shapes_lie_on_the_picture_not_on_its_padding():
    left = masked(Event(0, Damage.LEFT))
    assert left[2:8, 2:4].all()
    assert left.sum() == 12
    square = masked(Event(0, Damage.SQUARE, 0.25))
    assert np.argwhere(square).tolist() == [[4, 3], [4, 4], [5, 3], [5, 4]]


def test_positions_count_from_the_corner_of_the_grid():
    assert np.argwhere(masked(Event(0, Damage.CIRCLE, 0.1, (3, 4)))).tolist() == [[3, 4]]
    square = masked(Event(0, Damage.SQUARE, 0.25, (6, 2)))
    assert np.argwhere(square).tolist() == [[y, x] for y in (5, 6, 7) for x in (1, 2, 3)], "also beside the picture"


@pytest.mark.parametrize("centre", [(-1, 3), (3, 8), (10, 0), (float("nan"), 0)])
def test_positions_outside_the_grid(centre):
    with pytest.raises(UsageError, match=r"outside the grid of 10x8") as caught:
        masked(Event(0, Damage.CIRCLE, 0.1, centre))
    assert caught.value.mend == "rows go from 0 to 9, columns from 0 to 7"


def test_a_mask_is_where_an_image_is_light_and_not_transparent():
    pixels = np.zeros((12, 8, 4), np.uint8)
    pixels[:6] = 255
    pixels[:6, :2, 3] = 0
    Image.fromarray(pixels).save("mask.png")
    (event,) = parse(["mask.png@7"], 10)
    assert event == Event(7, Path("mask.png"))
    expected = torch.zeros(GRID, dtype=torch.bool)
    expected[2:5, 3:6] = True
    assert (masked(event) == expected.numpy()).all()


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n"])
def test_a_mask_that_is_no_image(content):
    Path("mask.png").write_bytes(content)
    (event,) = parse(["mask.png@7"], 10)
    with pytest.raises(NcatoolError, match="cannot be read as a mask"):
        masked(event)
