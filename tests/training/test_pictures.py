"""Training of several pictures by one model: each state knows which picture it is to become."""

import dataclasses

import numpy as np
import torch

from ncatool.config.names import Filter, Regime, SeedCells
from ncatool.data.target import Target
from ncatool.training.objective import choose_final_power
from ncatool.training.trainer import Trainer
from tests.conftest import small_run


def make(count=3, filter_=Filter.SOBEL, **train):
    config = small_run(**{"batch_size": 4, "pool_size": 12, "regime": Regime.PERSISTENT} | train)
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, channels=10, filter=filter_))
    pixels = np.random.default_rng(0).integers(1, 256, (count, 10, 10, 4), np.uint8)
    targets = [Target(one, 1, {}, f"picture-{i}") for i, one in enumerate(pixels)]
    return Trainer(config, dataclasses.replace(targets[0], others=tuple(targets[1:])))


def test_each_picture_has_a_seed_of_its_own_and_its_share_of_the_pool():
    trainer = make()
    hidden = trainer.seeds[:, 2, 2, 4:]
    assert trainer.seeds.shape == (3, 5, 5, 10)
    assert set(hidden.flatten().tolist()) == {-1.0, 1.0}
    assert len({tuple(one) for one in hidden.tolist()}) == 3
    assert (trainer.seeds[..., 3] == 1).all()
    for i, state in enumerate(trainer.pool.states):
        assert torch.equal(state, trainer._seed_states[i % 3])


def test_every_batch_goes_on_where_the_last_one_stopped():
    trainer = make()
    seen = []
    for _ in range(6):
        entries, pictures, _ = trainer._draw_batch()
        assert torch.equal(entries % 3, pictures)
        seen += pictures.tolist()
        trainer.iteration += 1
    assert [seen.count(i) for i in range(3)] == [8, 8, 8]


def test_losses_and_seeds_are_those_of_the_picture():
    trainer = make()
    trainer.pool.states[:] = 0
    for i in range(12):
        trainer.pool.states[i, ..., :4] = trainer.target_values[i % 3] + (0.5 if i == 4 else 0)
    entries, pictures, states = trainer._draw_batch()
    while 4 not in entries.tolist():
        entries, pictures, states = trainer._draw_batch()
    assert entries[0] == 4, "the worst of the batch"
    assert torch.equal(states[0], trainer._seed_states[1])
    assert trainer._compute_losses(states[1:], pictures[1:]).max() < 1e-8


def test_a_growing_batch_takes_pictures_in_turn():
    trainer = make(regime=Regime.GROWING)
    _, pictures, states = trainer._draw_batch()
    assert pictures.tolist() == [0, 1, 2, 0]
    assert torch.equal(states, trainer._seed_states[pictures])


def test_rejected_states_are_replaced_by_seeds_of_their_pictures():
    trainer = make()
    attempt = trainer.begin_iteration()
    rejected = torch.tensor([False, True, False, True])
    trainer._write_back(attempt, torch.full_like(attempt.start, 7.0), rejected)
    for entry, picture, bad in zip(attempt.entries, attempt.pictures, rejected, strict=True):
        wanted = trainer._seed_states[picture] if bad else torch.full_like(attempt.start[0], 7.0)
        assert torch.equal(trainer.pool.states[entry], wanted)


def test_symmetric_filters_get_three_coded_cells_for_each_picture():
    seeds = make(filter_=Filter.GAUSSIAN, seed_cells=SeedCells.THREE).seeds
    assert [len(one.any(dim=-1).nonzero()) for one in seeds] == [3, 3, 3]
    assert not torch.equal(seeds[0], seeds[1])


def test_the_errors_of_several_pictures_count_in_full():
    train = small_run(regime=Regime.PERSISTENT).train
    assert choose_final_power(train, 2) == 1
    assert choose_final_power(train) == 0.5


def test_it_trains():
    trainer = make(iterations=5)
    assert [report.iteration for report in trainer.train()] == [1, 2, 3, 4, 5]
    model = trainer.copy_model()
    assert [one.target.name for one in model.pictures] == ["picture-0", "picture-1", "picture-2"]
    assert torch.equal(model.seeds, trainer.seeds)
