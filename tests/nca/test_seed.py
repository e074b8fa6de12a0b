"""Seeds by hand: their cells, their places on a grid, and how they turn."""

import numpy as np
import pytest
import torch

from ncatool.config.names import SeedCells
from ncatool.nca.seed import choose_radius, fits_grid, is_plain, list_cells, make_seed, place_seed, turn_seed

RED, GREEN, BLUE = range(3)


def find_colours(seed):
    """Rows and columns of a seed's cells from its middle, by the colour of each."""
    middle = seed.shape[0] // 2, seed.shape[1] // 2
    return {seed[middle[0] + y, middle[1] + x, :3].argmax().item(): (y, x) for y, x in list_cells(seed)}


def test_one_cell_by_hand():
    seed = make_seed(6)
    assert seed.tolist() == [[[0, 0, 0, 1, 1, 1]]]
    assert is_plain(seed)
    assert list_cells(seed) == [(0, 0)]


def test_three_cells_by_hand():
    """Every third hidden channel is 1, from another on for each colour."""
    seed = make_seed(9, SeedCells.THREE, 1.0)
    assert seed.shape == (3, 3, 9)
    assert seed[0, 1].tolist() == [1, 0, 0, 1, 1, -1, -1, 1, -1]
    assert seed[find_row(seed, GREEN)].tolist() == [0, 1, 0, 1, -1, 1, -1, -1, 1]
    assert seed[find_row(seed, BLUE)].tolist() == [0, 0, 1, 1, -1, -1, 1, -1, -1]
    assert seed.any(dim=-1).sum() == 3
    assert not is_plain(seed)


def find_row(seed, colour):
    y, x = find_colours(seed)[colour]
    return y + seed.shape[0] // 2, x + seed.shape[1] // 2


@pytest.mark.parametrize(
    ("radius", "side", "cells"),
    [
        (1.0, 3, [(-1, 0), (0, 1), (0, -1)]),
        (1.5, 5, [(-2, 0), (1, 1), (1, -1)]),
        (2.0, 5, [(-2, 0), (1, 2), (1, -2)]),
        (2.5, 5, [(-2, 0), (1, 2), (1, -2)]),
        (3.0, 7, [(-3, 0), (2, 3), (2, -3)]),
        (5.0, 11, [(-5, 0), (2, 4), (2, -4)]),
        (64.0, 129, [(-64, 0), (32, 55), (32, -55)]),
    ],
)
def test_places_of_three_cells_by_radius(radius, side, cells):
    seed = make_seed(5, SeedCells.THREE, radius)
    assert seed.shape == (side, side, 5)
    assert find_colours(seed) == dict(zip((RED, GREEN, BLUE), cells, strict=True))


def test_three_cells_are_never_in_line():
    """Not even after rounding: in line, they would leave a mirror axis."""
    for hundredths in range(100, 1300):
        (a, b), (c, d), (e, f) = list_cells(make_seed(4, SeedCells.THREE, hundredths / 100))
        assert (c - a) * (f - b) != (e - a) * (d - b), hundredths


def test_three_cells_lie_a_third_of_the_shorter_side_apart_but_on_what_is_opaque():
    opaque = np.ones((28, 40), bool)
    assert choose_radius(opaque) == 9
    opaque[14 - 9, 20] = False
    assert choose_radius(opaque) == 8
    disc = np.hypot(*np.indices((28, 28)) - 14) <= 5.5
    assert choose_radius(disc) == 5
    assert choose_radius(~disc) == 9
    assert choose_radius(np.hypot(*np.indices((28, 28)) - 14) > 20) == 9, "none lies on it at any radius"
    upper = np.indices((28, 28))[0] < 15
    assert choose_radius(upper) == 1, "of a larger one the lower two would lie beside it"
    assert choose_radius(np.ones((1, 2), bool)) == 1


def test_other_seeds_are_not_plain():
    assert not is_plain(torch.ones(1, 1, 6))
    assert not is_plain(place_seed(make_seed(6), 1, 3, 3)[0]), "of the same cell, but laid out in a larger one"


def test_cells_count_from_the_middle():
    """Of an even side, the middle is the later of the two cells, as on a grid."""
    seed = torch.zeros(2, 3, 4)
    seed[0, 2, 0] = -0.5
    seed[1, 1, 3] = 1
    assert list_cells(seed) == [(-1, 1), (0, 0)]
    assert list_cells(torch.zeros(2, 3, 4)) == []


def list_places(state):
    return [tuple(place) for place in state.any(dim=-1).nonzero().tolist()]


@pytest.mark.parametrize(("height", "width"), [(7, 9), (8, 6), (5, 5)])
def test_a_seed_lies_in_the_middle(height, width):
    seed = make_seed(6, SeedCells.THREE)
    state = place_seed(seed, 2, height, width)
    assert state.shape == (2, height, width, 6)
    y, x = height // 2, width // 2
    assert list_places(state[0]) == [(y - 2, x), (y + 1, x - 2), (y + 1, x + 2)]
    assert torch.equal(state[0, y - 2 : y + 3, x - 2 : x + 3], seed)
    assert torch.equal(state[0], state[1])


def test_a_seed_at_several_places():
    seed = make_seed(6, SeedCells.THREE, 1)
    state = place_seed(seed, 1, 9, 9, [(1, 1), (7, 4)])[0]
    assert list_places(state) == [(0, 1), (1, 0), (1, 2), (6, 4), (7, 3), (7, 5)]
    assert torch.equal(state[6:9, 3:6], seed)


def test_a_seed_across_edges():
    """What lies above the grid comes in at the bottom, what lies to the right of it at the left."""
    seed = make_seed(6, SeedCells.THREE, 1)
    state = place_seed(seed, 1, 4, 5, [(0, 4)])[0]
    assert list_places(state) == [(0, 0), (0, 3), (3, 4)]
    assert torch.equal(state[3, 4], seed[0, 1]), "red"
    assert torch.equal(state[0, 0], seed[1, 2]), "green"


def test_what_fits_a_grid():
    seed = make_seed(6, SeedCells.THREE)
    assert fits_grid(seed, 5, 5)
    assert not fits_grid(seed, 5, 4)
    assert fits_grid(seed, 4, 5), "its lowest row is empty"
    assert not fits_grid(seed, 3, 5)
    assert fits_grid(seed, 9, 9, (2, 2))
    assert not fits_grid(seed, 9, 9, (1, 2)), "the cell above the middle"
    assert not fits_grid(seed, 9, 9, (2, 1)), "one of those below it"
    assert fits_grid(seed, 9, 9, (7, 6))
    assert not fits_grid(seed, 9, 9, (8, 6))
    assert fits_grid(make_seed(6), 1, 1)


def test_a_quarter_turn_by_hand():
    """Counter-clockwise: what lay above the middle lies to its left, what lay to its right lies above."""
    seed = make_seed(6, SeedCells.THREE)
    assert find_colours(turn_seed(seed, 90)) == {RED: (0, -2), GREEN: (-2, 1), BLUE: (2, 1)}
    assert find_colours(turn_seed(seed, -90)) == {RED: (0, 2), GREEN: (2, -1), BLUE: (-2, -1)}
    assert find_colours(turn_seed(seed, 180)) == {RED: (2, 0), GREEN: (-1, -2), BLUE: (-1, 2)}
    assert find_colours(turn_seed(seed, 45)) == {RED: (-1, -1), GREEN: (-1, 2), BLUE: (2, -1)}


def test_a_mirrored_seed_by_hand():
    """Mirrored left to right first, then turned."""
    seed = make_seed(6, SeedCells.THREE)
    assert find_colours(turn_seed(seed, 0, mirror=True)) == {RED: (-2, 0), GREEN: (1, -2), BLUE: (1, 2)}
    assert find_colours(turn_seed(seed, 90, mirror=True)) == {RED: (0, -2), GREEN: (2, 1), BLUE: (-2, 1)}


@pytest.mark.parametrize("degrees", [0, 90, 180, 270, 360])
@pytest.mark.parametrize("mirror", [False, True])
def test_four_quarter_turns_are_none(degrees, mirror):
    seed = make_seed(6, SeedCells.THREE, 3)
    there_and_back = turn_seed(turn_seed(seed, degrees, mirror), -degrees if not mirror else degrees, mirror)
    assert torch.equal(place_seed(there_and_back, 1, 11, 11), place_seed(seed, 1, 11, 11))


def test_turning_one_cell_changes_nothing():
    assert torch.equal(turn_seed(make_seed(6), 30, mirror=True), make_seed(6))
