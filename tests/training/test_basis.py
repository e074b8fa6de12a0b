"""The basis in which the hidden weight is trained: the same map as in the columns of the rule."""

import pytest
import torch
import torch.nn.functional as F

from ncatool.config.names import Filter
from ncatool.config.schema import ModelConfig
from ncatool.nca.filters import filter_pair
from ncatool.nca.rule import perceive
from ncatool.training.basis import fold_basis, unfold_basis

# The sum of a stencil, and the factor that makes the weight of its middle cell, less that sum, four.
CONSTANTS = {Filter.GAUSSIAN: (1.0, 16 / 3), Filter.LAPLACIAN: (0.0, 8.0), Filter.MEAN: (1.0, 4.5)}
SYMMETRIC = [one for one in Filter if one.is_symmetric]


def test_the_symmetric_filters():
    assert set(SYMMETRIC) == set(CONSTANTS)
    for filter_ in Filter:
        own, transposed = filter_pair(filter_)
        assert torch.equal(own, transposed) == filter_.is_symmetric


@pytest.mark.parametrize("filter_", SYMMETRIC)
def test_folding_by_hand(filter_):
    """One channel: 3·x + 2·c(K∗x − sx) is (3 − 2cs)·x + c·K∗x + c·K∗x."""
    total, factor = CONSTANTS[filter_]
    folded = fold_basis(torch.tensor([[3.0, 2.0]]), filter_)
    torch.testing.assert_close(folded, torch.tensor([[3 - 2 * factor * total, factor, factor]]))


@pytest.mark.parametrize("filter_", SYMMETRIC)
def test_unfolding_undoes_folding(filter_, generator):
    trained = torch.randn(7, 10, generator=generator)
    torch.testing.assert_close(unfold_basis(fold_basis(trained, filter_), filter_), trained, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("filter_", SYMMETRIC)
def test_a_folded_weight_sees_what_the_basis_says(filter_, generator):
    """Against the stencil itself: A·x + B·c(K∗x − sx), at the edge of the grid, too."""
    total, factor = CONSTANTS[filter_]
    trained, state = torch.randn(7, 10, generator=generator), torch.randn(2, 6, 8, 5, generator=generator)
    seen = perceive(state, ModelConfig(channels=5, hidden=7, filter=filter_)) @ fold_basis(trained, filter_).T
    stencil = filter_pair(filter_)[0].expand(5, 1, 3, 3)
    filtered = F.conv2d(state.permute(0, 3, 1, 2), stencil, padding=1, groups=5).permute(0, 2, 3, 1)
    expected = state @ trained[:, :5].T + factor * (filtered - total * state) @ trained[:, 5:].T
    torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("filter_", SYMMETRIC)
def test_any_weight_has_a_place_in_the_basis(filter_, generator):
    """Also one whose columns of the filter and of its transpose differ, as of an imported model: it sees the same."""
    weight, state = torch.randn(7, 15, generator=generator), torch.randn(2, 6, 8, 5, generator=generator)
    seen = perceive(state, ModelConfig(channels=5, hidden=7, filter=filter_))
    folded = fold_basis(unfold_basis(weight, filter_), filter_)
    torch.testing.assert_close(seen @ folded.T, seen @ weight.T, rtol=1e-4, atol=1e-4)
    assert torch.equal(folded[:, 5:10], folded[:, 10:])


def test_gradients_flow_to_the_basis():
    """Of the sum of all columns by A it is 1; by B it is c(2/2 − s), summed over the three blocks."""
    trained = torch.zeros(2, 8, requires_grad=True)
    fold_basis(trained, Filter.MEAN).sum().backward()
    torch.testing.assert_close(trained.grad, torch.tensor([[1.0] * 4 + [4.5 - 4.5] * 4] * 2), atol=1e-5, rtol=0)
