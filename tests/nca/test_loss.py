"""The losses against numbers worked by hand."""

import math

import pytest
import torch

from ncatool.config.names import Loss
from ncatool.nca.loss import LOSSES, compute_error, compute_mse, compute_psnr


def test_losses_by_hand():
    """One pixel with errors 0.5, -0.25, 0, 1, and one without any."""
    values = torch.tensor([[0.5, -0.25, 0.0, 1.0], [0.0] * 4]).view(2, 1, 1, 4)
    expected = {Loss.L1: 1.75 / 4, Loss.L2: 1.3125 / 4, Loss.MANHATTAN: 1.75, Loss.HINGE: (0.2 + 0 + 0.7) / 4}
    assert set(LOSSES) == set(Loss) == set(expected)
    for name, value in expected.items():
        assert LOSSES[name](values, 0.3).tolist() == pytest.approx([value, 0])


def test_a_half_grey_square_costs_nothing_under_the_seed_projects_margin():
    grey = torch.full((1, 4, 4, 4), 0.5)
    assert LOSSES[Loss.HINGE](grey, 0.5).item() == 0


def test_error_takes_the_visible_channels():
    state = torch.ones(2, 3, 3, 7)
    state[..., 4:] = 99
    assert torch.equal(compute_error(state, torch.zeros(3, 3, 4)), torch.ones(2, 3, 3, 4))


def test_psnr():
    assert compute_psnr(1e-4) == pytest.approx(40)
    assert compute_psnr(compute_mse(torch.full((1, 2, 2, 4), 0.1)).item()) == pytest.approx(20, abs=1e-5)
    assert compute_psnr(0) == math.inf
    assert compute_psnr(math.nan) == compute_psnr(math.inf) == -math.inf
