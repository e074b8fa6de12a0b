"""Training: it learns, repeats to the last bit, and recovers from failures."""

import dataclasses
import hashlib
import math

import pytest
import torch

from ncatool.config.names import Device, Filter, Loss, Regime, Schedule
from ncatool.config.schema import ModelConfig, RunConfig, TargetConfig, TrainConfig
from ncatool.data import targets
from ncatool.engine import rollout
from ncatool.engine.advance import measure_mse
from ncatool.engine.choose import create_engine
from ncatool.engine.device import resolve_device
from ncatool.engine.rollout import count_living_steps
from ncatool.errors import NcatoolError, UsageError
from ncatool.nca.model_file import ModelData
from ncatool.nca.rule import step
from ncatool.nca.state import has_living_cells
from ncatool.nca.weights import draw_weights
from ncatool.training import trainer as training
from ncatool.training.batch import count_replaced
from ncatool.training.objective import choose_final_power, combine_losses, measure_overflow, replace_dead_losses
from ncatool.training.schedule import SCHEDULES, WARM_UP
from ncatool.training.trainer import Trainer
from tests.conftest import small_run


def make(**train):
    config = small_run(**train)
    return Trainer(config, targets.load_target(config.target))


def place_seeds(trainer, count):
    return trainer._make_seeds(torch.zeros(count, dtype=torch.int64))


def test_learns_to_grow_the_phantom():
    """A short run grows a recognisable picture from the seed."""
    config = RunConfig(
        target=TargetConfig(size=16),
        train=TrainConfig(iterations=250, batch_size=4, pool_size=32, min_steps=24, max_steps=40, learning_rate=0.02),
    )
    trainer = Trainer(config, targets.load_target(config.target))
    empty = float((trainer.target.premultiply() ** 2).mean())
    reports = list(trainer.train())
    assert [report.iteration for report in reports] == list(range(1, 251))
    grown = measure_mse(trainer.copy_model(), [100], 4, torch.Generator().manual_seed(1)).median().item()
    assert grown < 0.05 * empty
    assert reports[-1].mse < 0.2 * empty, "the batch holds states that are still growing"


@pytest.mark.parametrize("loss", Loss)
@pytest.mark.parametrize("regime", Regime)
def test_every_loss_and_regime_learns(loss, regime):
    """After 80 iterations the error 8 steps from the seed is lower than without training."""
    trainer = make(loss=loss, regime=regime, iterations=80, learning_rate=5e-3, margin=0.05)

    def measure_step_8():
        return measure_mse(trainer.copy_model(), [8], 8, torch.Generator().manual_seed(3)).median().item()

    before = measure_step_8()
    list(trainer.train())
    assert measure_step_8() < 0.96 * before


def digest(trainer):
    tensors = trainer.state_tensors()
    return hashlib.sha256(b"".join(tensors[name].detach().numpy().tobytes() for name in sorted(tensors))).hexdigest()


def test_same_seed_same_bytes_other_seed_others():
    runs = []
    for number in (5, 5, 6):
        trainer = make(seed=number)
        reports = list(trainer.train())
        runs.append((digest(trainer), [report.loss for report in reports]))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@pytest.mark.parametrize("regime", Regime)
def test_a_restored_trainer_gives_the_same_bytes(regime):
    uninterrupted = make(regime=regime)
    list(uninterrupted.train())
    first = make(regime=regime)
    for report in first.train():
        if report.iteration == 3:
            break
    second = make(regime=regime)
    second.restore(first.state_tensors(), first.state_numbers())
    list(second.train())
    assert digest(second) == digest(uninterrupted)


def test_batch_holds_the_seed_instead_of_the_worst_and_damages_the_best():
    trainer = make(regime=Regime.REGENERATING, batch_size=4, pool_size=4, damaged=2, iterations=100)
    target = trainer.target_values[0]
    errors = torch.tensor([0.5, 0.0, 1.0, 0.1])
    for i, error in enumerate(errors):
        trainer.pool.states[i, ..., :4] = target + error
        trainer.pool.states[i, ..., 4:] = 1
    trainer.iteration = 1
    entries, _, states = trainer._draw_batch()
    assert entries.tolist() == [2, 0, 3, 1], "from the worst to the best"
    assert torch.equal(states[0], place_seeds(trainer, 1)[0])
    assert torch.equal(states[1, ..., :4], target + 0.5)
    for state in states[2:]:
        erased = (state == 0).all(-1)
        assert erased.any()
        assert (state[~erased][:, 4:] == 1).all()


@pytest.fixture
def dying():
    """A trainer under whose weights every living cell loses 0.35 of its alpha a step: the seed dies in the third."""
    config = small_run(regime=Regime.GROWING, batch_size=2)
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, fire_rate=1.0))
    trainer = Trainer(config, targets.load_target(config.target))
    with torch.no_grad():
        trainer.weights.hidden_weight.zero_()
        trainer.weights.hidden_bias.fill_(1.0)
        trainer.weights.output_weight[3] = -0.035
    return trainer


def test_living_steps_are_counted(dying):
    start = place_seeds(dying, 1)
    fire = torch.ones(8, 1, *start.shape[1:3], dtype=torch.bool)
    assert count_living_steps(start, dying.weights, dying.config.model, fire) == 2
    last = step(step(start, dying.weights, dying.config.model, fire[0]), dying.weights, dying.config.model, fire[1])
    assert has_living_cells(last, 0.1).all()
    assert not has_living_cells(step(last, dying.weights, dying.config.model, fire[2]), 0.1).any()


def test_a_dead_state_has_the_loss_of_its_last_living_cells(dying):
    """The loss is that of its nine cells one step before death, and its gradient raises alpha."""
    start = place_seeds(dying, 2)
    fire = torch.ones(8, 2, *start.shape[1:3], dtype=torch.bool)
    losses = replace_dead_losses(
        torch.tensor([0.5, 0.7]), torch.tensor([False, True]), start, fire, dying.weights,
        dying.target_values.repeat(2, 1, 1, 1),
        dying.config,
    )  # fmt: skip
    y, x = start.shape[1] // 2, start.shape[2] // 2
    target = dying.target_values[0, y - 1 : y + 2, x - 1 : x + 2]
    expected = target.clone()
    expected[..., 3] += 0.7  # what the neighbours of the seed have lost in two steps
    expected[1, 1, 3] = target[1, 1, 3] - 0.3
    assert losses[0] == 0.5
    assert losses[1].item() == pytest.approx((expected**2).mean().item(), rel=1e-4)
    losses[1].backward()
    assert dying.weights.output_weight.grad[3].abs().min() > 0


def test_states_that_have_not_grown_are_not_damaged():
    trainer = make(regime=Regime.REGENERATING, batch_size=4, pool_size=4, damaged=3)
    for _ in range(10):
        _, _, states = trainer._draw_batch()
        assert torch.equal(states, place_seeds(trainer, 4))


@pytest.mark.parametrize("size", [1, 2, 4, 8, 20])
@pytest.mark.parametrize(("early", "interval"), [(False, 8), (True, 4)])
def test_the_seed_replaces_one_state_in_eight_or_early_in_four(size, early, interval):
    counts = [count_replaced(size, done, early) for done in range(80)]
    assert sum(counts) == 80 * size / interval
    assert max(counts) - min(counts) <= 1


def test_a_symmetric_filter_first_learns_to_grow():
    """Under L2 and without damage, in the first half of the iterations; the loss of its reports is that asked for."""
    config = small_run(iterations=6, loss=Loss.MANHATTAN, regime=Regime.REGENERATING, damaged=1, batch_size=2)
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, filter=Filter.MEAN))
    trainer = Trainer(config, targets.load_target(config.target))
    settings = []
    for report in trainer.train():
        manhattan = report.mse**0.5 * trainer.target_values.numel()
        assert 0.2 * manhattan < report.loss <= manhattan * 1.001, (
            "the mean of |e| is at most the root of that of its square"
        )
        settings.append((trainer.current_config.train.loss, trainer.current_config.train.regime))
    early, late = (Loss.L2, Regime.PERSISTENT), (Loss.MANHATTAN, Regime.REGENERATING)
    assert settings == [early, early, late, late, late, late]
    assert not make(regime=Regime.REGENERATING).is_early, "cells with a sense of direction do not need it"


def test_the_seed_replaces_dead_states_in_the_pool(monkeypatch):
    trainer = make(batch_size=2, pool_size=2)
    unchanged = training.rollout

    def kill_second_sample(*arguments):
        end = unchanged(*arguments)
        return end * torch.tensor([1.0, 0.0]).view(2, 1, 1, 1)

    monkeypatch.setattr(training, "rollout", kill_second_sample)
    report = trainer._iterate()
    assert report.events == ("1 dead state replaced by the seed",)
    assert all(state.any() for state in trainer.pool.states)


def test_recovers_from_weights_that_kill_everything():
    """Weights that erase every cell in the first step are detected in the same iteration and replaced."""
    trainer = make(iterations=12)
    events = []
    for report in trainer.train():
        events += report.events
        if report.iteration == 4:
            with torch.no_grad():
                trainer.weights.hidden_bias.fill_(10.0)
                trainer.weights.output_weight[3].fill_(-10.0)
    assert len(events) == 1
    assert events[0] == "every cell died: weights of iteration 0 restored"
    assert trainer.iteration == 12
    assert trainer.pool.states.flatten(1).any(dim=1).all()


@pytest.mark.parametrize("value", [torch.nan, 1e9])
def test_recovers_from_an_explosion(value):
    trainer = make(iterations=10)
    events = []
    for report in trainer.train():
        events += report.events
        if report.iteration == 4:
            with torch.no_grad():
                trainer.weights.output_weight.fill_(value)
    assert len(events) == 1
    assert "restored" in events[0]
    assert torch.isfinite(trainer.pool.states).all()


def test_the_pool_restarts_with_restored_weights():
    """States that failing weights have left behind would make the restored ones fail, too."""
    trainer = make(batch_size=2, pool_size=8, iterations=10)
    next(trainer.train())
    trainer.pool.states.fill_(90)
    with torch.no_grad():
        trainer.weights.output_weight.fill_(1e9)
    assert next(trainer.train()).restored
    assert torch.equal(trainer.pool.states, place_seeds(trainer, 8))


def test_overflow_by_hand():
    state = torch.tensor([[[[0.0, -5.0, 7.0, -6.0]]]], requires_grad=True)
    overflow = measure_overflow(state)
    overflow.backward()
    assert overflow.item() == pytest.approx((2 + 1) / 4)
    assert state.grad.flatten().tolist() == pytest.approx([0, 0, 1 / 4, -1 / 4])


def test_stops_when_restoring_does_not_help(monkeypatch):
    trainer = make(iterations=100)
    monkeypatch.setattr(training, "rollout", lambda state, *rest: state * torch.nan)
    with pytest.raises(NcatoolError, match="training failed"):
        list(trainer.train())
    assert isinstance(trainer.copy_model(), ModelData)
    assert all(torch.isfinite(tensor).all() for tensor in trainer.copy_model().weights if tensor is not None)


def test_learning_rate_rises_then_falls():
    trainer = make(iterations=1000, learning_rate=1e-2)
    rates = []
    for trainer.iteration in range(1000):
        rates.append(trainer.compute_learning_rate())
    assert rates[0] == pytest.approx(1e-2 / (1000 * WARM_UP))
    assert max(rates) == pytest.approx(1e-2)
    assert rates.index(max(rates)) in (99, 100)
    assert rates[-1] == pytest.approx(1e-4, rel=0.01)


def test_samples_weigh_evenly():
    """The errors of two samples differ a thousandfold; at the end of a run their gradients differ by less."""
    values = torch.tensor([[1.0], [0.001]], requires_grad=True)
    objective = combine_losses((values**2).mean(dim=1), 1.0, 0.8)
    objective.backward()
    assert objective.item() == pytest.approx((1 + 0.001**1.6) / 2, rel=0.01)
    assert values.grad.flatten().tolist() == pytest.approx([0.8, 0.8 * 0.001**0.6], rel=0.01)
    assert combine_losses(torch.tensor([1.0, 3.0]), 0.0, 0.5).item() == pytest.approx(2), "at first the mean"


def test_only_squared_errors_need_a_power():
    powers = {loss: choose_final_power(TrainConfig(loss=loss)) for loss in Loss}
    assert powers == {Loss.L1: 1, Loss.L2: 0.5, Loss.MANHATTAN: 1, Loss.HINGE: 1}
    assert choose_final_power(TrainConfig(regime=Regime.REGENERATING)) == 0.8


def test_schedules_by_hand():
    assert [SCHEDULES[Schedule.STEP](x) for x in (0, 0.59, 0.6, 1)] == pytest.approx([1, 1, 0.1, 0.1])
    assert [SCHEDULES[Schedule.COSINE](x) for x in (0, 0.5, 1)] == pytest.approx([1, 0.505, 0.01])
    assert [SCHEDULES[Schedule.CONSTANT](x) for x in (0, 1)] == [1, 1]


def test_missing_device():
    assert resolve_device(Device.CPU).type == "cpu"
    for device in (Device.CUDA, Device.MPS):
        if not {Device.CUDA: torch.cuda.is_available(), Device.MPS: torch.backends.mps.is_available()}[device]:
            with pytest.raises(UsageError, match=f"no {device} device"):
                resolve_device(device)


@pytest.mark.parametrize(("limit", "parts"), [(30, [30]), (10, [5] * 6), (3, [3] * 10), (0, [1] * 30)])
def test_the_memory_limit_bounds_the_steps_on_a_tape(monkeypatch, limit, parts):
    """Of 30 steps those on a tape are as many as the limit has room for, at most the square root where not all fit."""
    trainer = make(iterations=1, min_steps=30, max_steps=30)
    start = place_seeds(trainer, trainer.config.train.batch_size)
    engine = create_engine(start, trainer.config.model, rollout.fill_parameters(trainer.weights))
    monkeypatch.setattr(rollout, "MAX_TAPE_BYTES", limit * engine.step_bytes(len(start)))
    recorded = []
    unchanged = type(engine).record

    def record(self, state, fire):
        recorded.append(len(fire))
        return unchanged(self, state, fire)

    monkeypatch.setattr(type(engine), "record", record)
    list(trainer.train())
    assert recorded == parts


def test_the_default_memory_limit_suits_the_largest_targets():
    """224 × 224 cells at batch 8: the square root of the steps fits, so that each step is repeated only once."""
    model = ModelConfig()
    weights = draw_weights(model, torch.Generator().manual_seed(0))
    engine = create_engine(torch.zeros(1, 224, 224, model.channels), model, rollout.fill_parameters(weights))
    assert math.isqrt(TrainConfig().max_steps) * engine.step_bytes(8) <= rollout.MAX_TAPE_BYTES
