"""The rule against numbers worked by hand."""

import jaxtyping
import pytest
import torch

from ncatool.config.names import Boundary, Filter
from ncatool.config.schema import ModelConfig
from ncatool.nca.filters import filter_pair
from ncatool.nca.rule import find_alive, perceive, step, update
from ncatool.nca.state import ALPHA
from ncatool.nca.weights import Weights, draw_weights


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("sobel", [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]),
        ("scharr", [[-3, 0, 3], [-10, 0, 10], [-3, 0, 3]]),
        ("gaussian", [[1, 2, 1], [2, 4, 2], [1, 2, 1]]),
        ("laplacian", [[0, 1, 0], [1, -4, 1], [0, 1, 0]]),
        ("mean", [[1, 1, 1], [1, 1, 1], [1, 1, 1]]),
    ],
)
def test_filters(name, rows):
    divisor = {"sobel": 8, "scharr": 16, "gaussian": 16, "laplacian": 8, "mean": 9}[name]
    expected = torch.tensor(rows, dtype=torch.float32) / divisor
    original, transposed = filter_pair(Filter(name))
    assert torch.equal(original, expected)
    assert torch.equal(transposed, expected.T)


def make_lone_cell(height, width, y, x, value=1.0, channels=4):
    state = torch.zeros(1, height, width, channels)
    state[0, y, x] = value
    return state


def test_perception_is_blocked_and_is_a_correlation():
    """A lone 1: the cell to its left has it on the right, where sobel is 2/8; blocks: identity, filter, transposed."""
    perception = perceive(make_lone_cell(3, 3, 1, 1), ModelConfig(channels=4))
    assert perception.shape == (1, 3, 3, 12)
    assert perception[0, 1, 1].tolist() == [1] * 4 + [0] * 8
    assert perception[0, 1, 0].tolist() == [0] * 4 + [0.25] * 4 + [0] * 4
    assert perception[0, 0, 1].tolist() == [0] * 4 + [0] * 4 + [0.25] * 4
    assert perception[0, 2, 2].tolist() == [0] * 4 + [-0.125] * 4 + [-0.125] * 4


@pytest.mark.parametrize("boundary", Boundary)
def test_boundary(boundary):
    """A cell in the left column is a neighbour of the right column only where the grid wraps."""
    model = ModelConfig(channels=4, filter=Filter.MEAN, boundary=boundary)
    filtered = perceive(make_lone_cell(4, 4, 1, 0, value=9.0), model)[0, 1, 3, 4].item()
    assert filtered == pytest.approx(1.0 if boundary is Boundary.WRAP else 0.0)


@pytest.mark.parametrize("boundary", Boundary)
def test_alive_neighbourhood(boundary):
    model = ModelConfig(channels=4, boundary=boundary)
    living = find_alive(make_lone_cell(5, 5, 0, 0, value=0.11), model)[0, ..., 0]
    expected = torch.zeros(5, 5, dtype=torch.bool)
    indices = [0, 1, 4] if boundary is Boundary.WRAP else [0, 1]
    for y in indices:
        for x in indices:
            expected[y, x] = True
    assert torch.equal(living, expected)


def test_alive_is_above_the_threshold_not_at_it():
    model = ModelConfig(channels=4, threshold=0.5)
    assert not find_alive(make_lone_cell(3, 3, 1, 1, value=0.5), model).any()


def test_update_by_hand():
    """hidden = relu([1, 2] · y + [0, -10]), output = [[1, 1]] · hidden + 0.5, with y = (3, ...)."""
    weights = Weights(
        torch.tensor([[1.0] + [0.0] * 11, [2.0] + [0.0] * 11]),
        torch.tensor([0.0, -10.0]),
        torch.tensor([[1.0, 1.0]] + [[0.0, 0.0]] * 3),
        torch.tensor([0.5, 0.0, 0.0, 0.0]),
    )
    perception = torch.zeros(1, 1, 1, 12)
    perception[..., 0] = 3
    assert update(perception, weights).flatten().tolist() == [3.5, 0, 0, 0]


def make_growing_weights(channels=4):
    """Return weights with which every cell that fires gains 0.2 in all channels."""
    return Weights(torch.zeros(1, 3 * channels), torch.ones(1), torch.full((channels, 1), 0.2))


def test_step_updates_only_cells_that_fire_and_live():
    fire = torch.ones(1, 5, 5, dtype=torch.bool)
    fire[0, 2, 2] = False
    state = make_lone_cell(5, 5, 2, 2, value=0.5)
    final = step(state, make_growing_weights(), ModelConfig(channels=4), fire)[0, ..., ALPHA]
    expected = torch.zeros(5, 5)
    expected[1:4, 1:4] = 0.2
    expected[2, 2] = 0.5
    assert torch.allclose(final, expected)


def test_a_cell_that_fades_takes_its_neighbourhood_along():
    weights = make_growing_weights()._replace(output_weight=torch.full((4, 1), -0.2))
    fire = torch.zeros(1, 5, 5, dtype=torch.bool)
    fire[0, 2, 2] = True
    state = make_lone_cell(5, 5, 2, 2, value=0.25)
    state[0, 2, 3, 0] = 7.0
    assert not step(state, weights, ModelConfig(channels=4), fire).any()


def test_a_fresh_model_does_nothing(generator):
    model = ModelConfig()
    weights = draw_weights(model, generator)
    state = make_lone_cell(5, 5, 2, 2, channels=16)
    assert torch.equal(step(state, weights, model, torch.ones(1, 5, 5, dtype=torch.bool)), state)
    assert weights.hidden_weight.abs().max() <= 48**-0.5


def test_shapes_are_checked_under_test():
    with pytest.raises(jaxtyping.TypeCheckError):
        update(torch.zeros(1, 1, 12), draw_weights(ModelConfig(channels=4), torch.Generator()))
