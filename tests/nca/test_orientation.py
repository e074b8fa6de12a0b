"""Turned and mirrored models, by symmetry: what is done to model and fire masks is done to the states."""

import dataclasses

import pytest
import torch

from ncatool.config.names import Boundary, Filter, SeedCells
from ncatool.config.schema import ModelConfig
from ncatool.data.target import Target
from ncatool.errors import UsageError
from ncatool.nca.model_file import ModelData
from ncatool.nca.orientation import turn_model
from ncatool.nca.rule import step
from ncatool.nca.seed import list_cells, make_seed
from ncatool.nca.state import ALPHA
from ncatool.nca.weights import draw_weights
from tests.nca.test_model_file import make_model

SIDE = 15
SYMMETRIC = [one for one in Filter if one.is_symmetric]
DIRECTED = [one for one in Filter if not one.is_symmetric]


def make_lively(filter_, cells=SeedCells.THREE, boundary=Boundary.ZERO):
    """A model that grows something without symmetry on a square grid, whose middle cell is its centre."""
    config = ModelConfig(channels=8, hidden=12, filter=filter_, boundary=boundary)
    generator = torch.Generator().manual_seed(3)
    weights = draw_weights(config, generator)
    output = torch.randn(8, 12, generator=generator) * 0.2
    output[ALPHA] = output[ALPHA].abs()  # many cells live
    weights = weights._replace(output_weight=output)
    pixels = torch.randint(0, 256, (SIDE, SIDE, 4), dtype=torch.uint8, generator=generator).numpy()
    seed = make_seed(8, cells) if cells is SeedCells.THREE else None
    return ModelData(weights, config, Target(pixels, 0, {}), own_seed=seed)


def turn(state, quarters):
    return torch.rot90(state, quarters, (1, 2))


def mirror(state):
    return state.flip(2)


def grow(model, fire):
    state = model.place_seeds(1)
    for mask in fire:
        state = step(state, model.weights, model.config, mask)
    return state


def make_fire(generator, steps=10):
    return [torch.rand(1, SIDE, SIDE, generator=generator) < 0.5 for _ in range(steps)]


def assert_same(found, expected, other):
    """Both are equal up to rounding, and so large and so different from another state that this says something."""
    assert expected.abs().max() > 0.3
    assert (expected != 0).float().mean() > 0.3
    assert (expected - other).abs().max() > 0.3
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("boundary", Boundary)
@pytest.mark.parametrize(
    ("filter_", "cells"), [*((one, SeedCells.THREE) for one in Filter), *((one, SeedCells.ONE) for one in DIRECTED)]
)
def test_right_angles_and_mirror_images_are_exact(filter_, cells, boundary, generator):
    model, fire = make_lively(filter_, cells, boundary), make_fire(generator)
    state = grow(model, fire)
    for quarters in (0, 1, 2, 3):
        if quarters:
            found = grow(turn_model(model, 90 * quarters), [turn(mask, quarters) for mask in fire])
            assert_same(found, turn(state, quarters), state)
        found = grow(turn_model(model, 90 * quarters, mirror=True), [turn(mirror(mask), quarters) for mask in fire])
        assert_same(found, turn(mirror(state), quarters), state)


@pytest.mark.parametrize("filter_", [Filter.SOBEL, *SYMMETRIC])
def test_other_angles_agree_with_each_other(filter_, generator):
    """Turned by 60 degrees: a right angle less than by 150, and the mirror image of one turned back by 60 degrees."""
    model, fire = make_lively(filter_), make_fire(generator)
    state = grow(turn_model(model, 60), fire)
    assert_same(grow(turn_model(model, 150), [turn(mask, 1) for mask in fire]), turn(state, 1), state)
    found = grow(turn_model(model, -60, mirror=True), [mirror(mask) for mask in fire])
    assert_same(found, mirror(state), state)
    assert list_cells(turn_model(model, 60).seed) == [(-1, -2), (-1, 2), (2, 0)]


def test_a_filter_with_a_direction_keeps_its_plain_seed():
    model = make_model()
    turned = turn_model(model, 30, mirror=True)
    assert turned.own_seed is None
    assert not torch.equal(turned.weights.hidden_weight, model.weights.hidden_weight)
    assert turn_model(model, 0) is model


@pytest.mark.parametrize("filter_", SYMMETRIC)
def test_nothing_to_turn(filter_):
    model = make_lively(filter_, SeedCells.ONE)
    lone = dataclasses.replace(model, own_seed=torch.zeros(3, 3, 8))
    lone.own_seed[0, 1] = 0.5
    for one in (model, lone):
        for how, flag in (((30, False), "--rotate"), ((0, True), "--mirror"), ((30, True), "--rotate")):
            with pytest.raises(UsageError, match=f"{filter_} filter is symmetric, and the seed is one cell") as caught:
                turn_model(one, *how)
            assert caught.value.hint.startswith(f"leave {flag} out")
