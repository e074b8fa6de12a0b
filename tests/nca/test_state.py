"""Seed and damage."""

import pytest
import torch

from ncatool.config.names import Damage
from ncatool.nca.damage import DAMAGE_SHAPES, HALVES, circle_mask, draw_circle, draw_damage, pad_mask
from ncatool.nca.seed import make_seed, place_seed


def test_seed_is_one_cell_in_the_middle():
    state = place_seed(make_seed(6), 2, 7, 9)
    assert state.shape == (2, 7, 9, 6)
    assert state[:, 3, 4].tolist() == [[0, 0, 0, 1, 1, 1]] * 2
    assert state.sum() == 6


def test_circle_by_hand():
    expected = [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    assert circle_mask(3, 3, 1, 1, 1.2).int().tolist() == expected


@pytest.mark.parametrize("shape", Damage)
@pytest.mark.parametrize("size", [(6, 10), (7, 5), (3, 3)])
def test_every_shape_erases_something_inside_the_picture(shape, size):
    mask = DAMAGE_SHAPES[shape](*size, 0.3)
    assert mask.shape == size
    assert mask.any()


def test_halves_by_hand():
    assert DAMAGE_SHAPES[Damage.LEFT](2, 4, 0)[0].tolist() == [True, True, False, False]
    assert DAMAGE_SHAPES[Damage.BOTTOM](4, 2, 0)[:, 0].tolist() == [False, False, True, True]
    left, right = (DAMAGE_SHAPES[shape](3, 5, 0) for shape in (Damage.LEFT, Damage.RIGHT))
    assert torch.equal(left, ~right)


def test_damage_lands_on_the_picture_at_every_padding(generator):
    for padding in (0, 1, 16):
        for _ in range(50):
            visible = torch.zeros(12, 9, dtype=torch.bool)
            visible[2, 3:5] = True
            circle = draw_circle(visible, generator)
            assert (circle & visible).any(), "it erases some visible cell"
            mask = pad_mask(circle, padding)
            assert mask.shape == (12 + 2 * padding, 9 + 2 * padding)
            inner = mask[padding : padding + 12, padding : padding + 9]
            assert inner.any()
            assert inner.sum() == mask.sum()


def test_training_erases_halves_beside_circles(generator):
    visible = torch.ones(12, 9, dtype=torch.bool)
    halves = {shape: DAMAGE_SHAPES[shape](12, 9, 0) for shape in HALVES}
    drawn = [draw_damage(visible, generator) for _ in range(2000)]
    counts = [sum(torch.equal(one, half) for one in drawn) for half in halves.values()]
    assert min(counts) > 40
    assert 0.12 < sum(counts) / len(drawn) < 0.18


def test_a_circle_is_drawn_even_if_no_cell_is_visible(generator):
    assert draw_circle(torch.zeros(5, 5, dtype=torch.bool), generator).any()
