"""The guard: what it detects, what it restores, when it stops training."""

import pytest
import torch

from ncatool.errors import NcatoolError
from ncatool.nca.seed import make_seed, place_seed
from ncatool.training.adam import Adam
from ncatool.training.guard import MAX_RESTORATIONS, SNAPSHOT_INTERVAL, BatchCheck, Guard, check_batch

FINITE_LOSSES = torch.zeros(2)


def states(count=2):
    return place_seed(make_seed(5), count, 4, 4)


def test_healthy_states_are_usable():
    check = check_batch(states(), FINITE_LOSSES, 0.1)
    assert check.usable
    assert not check.rejected.any()


def test_one_dead_state_is_rejected():
    batch = states()
    batch[1] = 0
    check = check_batch(batch, FINITE_LOSSES, 0.1)
    assert check.usable, "the other state can be learnt from"
    assert check.rejected.tolist() == [False, True]


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -1e6])
def test_exploded_states_are_not_usable(value):
    batch = states()
    batch[0, 0, 0, 4] = value
    check = check_batch(batch, FINITE_LOSSES, 0.1)
    assert check.problem == "1 of 2 states exploded"
    assert check.rejected.tolist() == [True, False]


def test_dead_batches_and_losses_that_are_not_finite():
    assert check_batch(torch.zeros(2, 4, 4, 5), FINITE_LOSSES, 0.1).problem == "every cell died"
    assert check_batch(states(), torch.tensor([1.0, torch.nan]), 0.1).problem == "loss is not finite"


GOOD = BatchCheck(torch.zeros(2, dtype=torch.bool), "")
BAD = BatchCheck(torch.tensor([True, False]), "every cell died")


def make_guard():
    parameter = torch.zeros(3, requires_grad=True)
    optimiser = Adam([parameter])
    return parameter, optimiser, Guard([parameter], optimiser)


def take_step(parameter, optimiser):
    parameter.grad = torch.ones(3)
    optimiser.step(1.0)


def test_restores_weights_and_optimiser_from_before_the_failure():
    parameter, optimiser, guard = make_guard()
    for iteration in range(3 * SNAPSHOT_INTERVAL):
        take_step(parameter, optimiser)
        guard.handle(GOOD, iteration)
        if iteration + 1 == 2 * SNAPSHOT_INTERVAL:
            kept = parameter.detach().clone(), optimiser.state_tensors()["0.step"].item()
    (event,) = guard.handle(BAD, 3 * SNAPSHOT_INTERVAL)
    assert event == f"every cell died: weights of iteration {2 * SNAPSHOT_INTERVAL} restored"
    assert torch.equal(parameter.detach(), kept[0])
    assert optimiser.state_tensors()["0.step"].item() == kept[1]
    assert guard.rate_factor == 0.5


def test_stops_after_repeated_failures():
    parameter, optimiser, guard = make_guard()
    for _ in range(MAX_RESTORATIONS):
        guard.handle(BAD, 0)
    take_step(parameter, optimiser)
    with pytest.raises(NcatoolError, match=f"failed {MAX_RESTORATIONS + 1} times") as caught:
        guard.handle(BAD, 9)
    assert "last good model is saved" in caught.value.hint
    assert not parameter.any()


def test_usable_iterations_reset_the_count_of_failures_and_the_rate():
    parameter, optimiser, guard = make_guard()
    for _ in range(3):
        for _ in range(MAX_RESTORATIONS):
            guard.handle(BAD, 0)
        for iteration in range(2 * SNAPSHOT_INTERVAL):
            take_step(parameter, optimiser)
            guard.handle(GOOD, iteration)
    assert guard.failures == 0
    for iteration in range(2000):
        guard.handle(GOOD, iteration)
    assert guard.rate_factor == 1.0, "the full learning rate again"


def test_state_is_saved_and_restored():
    parameter, optimiser, guard = make_guard()
    for iteration in range(SNAPSHOT_INTERVAL + 3):
        take_step(parameter, optimiser)
        guard.handle(GOOD, iteration)
    guard.handle(BAD, SNAPSHOT_INTERVAL + 3)
    other_parameter, _, other = make_guard()
    other.restore(guard.state_tensors(), guard.state_numbers())
    assert other.state_numbers() == guard.state_numbers()
    other.handle(BAD, SNAPSHOT_INTERVAL + 4)
    guard.handle(BAD, SNAPSHOT_INTERVAL + 4)
    assert torch.equal(parameter, other_parameter)
