"""`Muon` against its formula, and runs that it trains: stopped, restored and vectorised like any other."""

import pytest
import torch

from ncatool.training.adam import Adam
from ncatool.training.muon import MOMENTUM, Muon, orthogonalise
from tests.training.test_adam import draw_gradients, make_parameters, take_steps


@pytest.mark.parametrize("shape", [(7, 12), (12, 7), (5, 5), (1, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_orthogonalised_matrices_have_singular_values_near_one(shape, dtype, generator):
    matrix = torch.randn(shape, generator=generator, dtype=dtype)
    found = orthogonalise(matrix)
    assert found.dtype == dtype
    values = torch.linalg.svdvals(found)
    assert 0.6 < values.min() <= values.max() < 1.3
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    assert (found * (left @ right)).sum() > 0.9 * found.norm() * min(shape) ** 0.5, "its own directions"


def test_matrices_take_the_momentum_and_the_rest_adam():
    """Two steps by hand; a matrix with more rows than columns moves further."""
    parameters, biases = make_parameters(), [make_parameters()[1]]
    muon, adam = Muon(parameters), Adam(biases)
    gradients = draw_gradients(2)
    take_steps(parameters, muon.step, gradients)
    take_steps(biases, adam.step, [[batch[1]] for batch in gradients])
    assert torch.equal(parameters[1], biases[0])
    for i in (0, 2):
        expected, momentum = torch.ones_like(parameters[i]), torch.zeros_like(parameters[i])
        for number, batch in enumerate(gradients):
            momentum = MOMENTUM * momentum + (1 - MOMENTUM) * batch[i]
            direction = orthogonalise(MOMENTUM * momentum + (1 - MOMENTUM) * batch[i])
            rows, columns = expected.shape
            expected = expected - 0.01 / (1 + number) * max(1, rows / columns) ** 0.5 * direction
        torch.testing.assert_close(parameters[i], expected)


def test_state_is_saved_and_restored():
    uninterrupted, interrupted = make_parameters(), make_parameters()
    take_steps(uninterrupted, Muon(uninterrupted).step, draw_gradients(6))
    first = Muon(interrupted)
    assert first.state_tensors() == {}
    take_steps(interrupted, first.step, draw_gradients(6)[:3])
    saved = first.state_tensors()
    expected = {f"{i}.{part}" for i, one in enumerate(interrupted) for part in Muon.list_parts(one.shape)}
    assert saved.keys() == expected
    other = Muon(interrupted)
    other.load_state(saved)
    for tensor in saved.values():
        tensor.fill_(torch.nan)  # the restored state is a copy
    for number, batch in enumerate(draw_gradients(6)[3:], 3):
        for parameter, gradient in zip(interrupted, batch, strict=True):
            parameter.grad = gradient.clone()
        other.step(0.01 / (1 + number))
    assert all(torch.equal(a, b) for a, b in zip(uninterrupted, interrupted, strict=True))
    other.load_state({})
    assert other.state_tensors() == {}
