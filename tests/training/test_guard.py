"""The guard: what it notices, what it restores, when it gives up."""

import pytest
import torch

from ncatool.errors import NcatoolError
from ncatool.nca.state import seed
from ncatool.training.adam import Adam
from ncatool.training.guard import EVERY, PATIENCE, Guard, Verdict, judge

OK = torch.zeros(2)


def states(count=2):
    return seed(count, 4, 4, 5)


def test_judges_healthy_states():
    verdict = judge(states(), OK, 0.1)
    assert verdict.good
    assert not verdict.bad.any()


def test_judges_one_dead_state():
    batch = states()
    batch[1] = 0
    verdict = judge(batch, OK, 0.1)
    assert verdict.good, "one dead state is replaced, the batch still teaches"
    assert verdict.bad.tolist() == [False, True]


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -1e6])
def test_judges_explosions(value):
    batch = states()
    batch[0, 0, 0, 4] = value
    verdict = judge(batch, OK, 0.1)
    assert verdict.trouble == "1 of 2 states exploded"
    assert verdict.bad.tolist() == [True, False]


def test_judges_death_of_all_and_bad_losses():
    assert judge(torch.zeros(2, 4, 4, 5), OK, 0.1).trouble == "every cell died"
    assert judge(states(), torch.tensor([1.0, torch.nan]), 0.1).trouble == "loss is not finite"


GOOD = Verdict(torch.zeros(2, dtype=torch.bool), "")
BAD = Verdict(torch.tensor([True, False]), "every cell died")


def make():
    parameter = torch.zeros(3, requires_grad=True)
    optimiser = Adam([parameter])
    return parameter, optimiser, Guard([parameter], optimiser)


def learn(parameter, optimiser):
    parameter.grad = torch.ones(3)
    optimiser.step(1.0)


def test_restores_weights_and_optimiser_from_before_the_trouble():
    parameter, optimiser, guard = make()
    for iteration in range(3 * EVERY):
        learn(parameter, optimiser)
        guard.act(GOOD, iteration)
        if iteration + 1 == 2 * EVERY:
            kept = parameter.detach().clone(), optimiser.tensors()["0.step"].item()
    (event,) = guard.act(BAD, 3 * EVERY)
    assert event == f"every cell died: weights of iteration {2 * EVERY} restored"
    assert torch.equal(parameter.detach(), kept[0])
    assert optimiser.tensors()["0.step"].item() == kept[1]
    assert guard.caution == 0.5


def test_gives_up_after_repeated_failures():
    parameter, optimiser, guard = make()
    for _ in range(PATIENCE):
        guard.act(BAD, 0)
    learn(parameter, optimiser)
    with pytest.raises(NcatoolError, match=f"failed {PATIENCE + 1} times") as caught:
        guard.act(BAD, 9)
    assert "last good model is saved" in caught.value.mend
    assert not parameter.any()


def test_forgives_after_a_good_stretch():
    parameter, optimiser, guard = make()
    for _ in range(3):
        for _ in range(PATIENCE):
            guard.act(BAD, 0)
        for iteration in range(2 * EVERY):
            learn(parameter, optimiser)
            guard.act(GOOD, iteration)
    assert guard.failures == 0
    for iteration in range(2000):
        guard.act(GOOD, iteration)
    assert guard.caution == 1.0, "the learning rate comes back"


def test_remembers_across_a_checkpoint():
    parameter, optimiser, guard = make()
    for iteration in range(EVERY + 3):
        learn(parameter, optimiser)
        guard.act(GOOD, iteration)
    guard.act(BAD, EVERY + 3)
    other_parameter, _, other = make()
    other.restore(guard.tensors(), guard.numbers())
    assert other.numbers() == guard.numbers()
    other.act(BAD, EVERY + 4)
    guard.act(BAD, EVERY + 4)
    assert torch.equal(parameter, other_parameter)
