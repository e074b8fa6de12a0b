"""Large pictures are learnt from the middle outwards: the region that grows, what it restricts, and its defaults."""

import dataclasses
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from ncatool.config.flat import build_config, flatten_record
from ncatool.config.names import Filter, Regime
from ncatool.config.schema import ModelConfig
from ncatool.data.targets import load_target
from ncatool.errors import UsageError
from ncatool.training import widening
from ncatool.training.run import Run
from ncatool.training.run_files import RunFiles
from ncatool.training.trainer import Trainer
from ncatool.training.widening import FIRST_SIDE, choose_region, compute_mean_area, restrict_fire
from tests.conftest import small_run

WHOLE = (slice(0, 40), slice(0, 30))


def make_config(side=10, **train):
    config = small_run(**{"widening": 0.5, "iterations": 20, **train})
    return dataclasses.replace(config, target=dataclasses.replace(config.target, size=side))


def mark_outside(trainer):
    """The cells that are not in the region of the next iteration."""
    outside = torch.ones(trainer.target.shape, dtype=torch.bool)
    outside[trainer.region] = False
    return outside


@pytest.fixture
def first_side(monkeypatch):
    """The first region of a small grid."""
    monkeypatch.setattr(widening, "FIRST_SIDE", 4)
    return 4


def test_the_region_widens_from_the_middle_to_the_whole_grid():
    regions = [choose_region(i / 100, 0.5, (40, 30), 1) for i in range(101)]
    assert regions[0] == (slice(8, 32), slice(3, 27))
    assert regions[50:] == [WHOLE] * 51
    for before, after in pairwise(regions):
        for inner, outer in zip(before, after, strict=True):
            assert outer.start <= inner.start < inner.stop <= outer.stop
    assert choose_region(0, 0.0, (40, 30), 1) == WHOLE


def test_the_first_region_holds_the_seed_and_no_more_than_the_grid():
    rows, columns = choose_region(0, 1.0, (60, 60), 41)
    assert rows == columns
    assert rows.stop - rows.start == 41
    assert choose_region(0, 1.0, (12, FIRST_SIDE - 3), 1) == (slice(0, 12), slice(0, FIRST_SIDE - 3))


def test_only_cells_of_the_region_fire():
    fire = torch.ones(3, 2, 8, 6, dtype=torch.bool)
    restricted = restrict_fire(fire, (slice(2, 6), slice(1, 5)))
    assert restricted.sum() == 3 * 2 * 16
    assert restricted[:, :, 2:6, 1:5].all()
    assert restrict_fire(fire, (slice(0, 8), slice(0, 6))) is fire


def test_the_mean_area_is_that_of_the_regions():
    assert compute_mean_area(0.0, (40, 40), 1) == 1
    squares = [round(24 + 16 * i / 50) ** 2 if i < 50 else 40**2 for i in range(100)]
    assert compute_mean_area(0.5, (40, 40), 1) == pytest.approx(sum(squares) / 100 / 1600)
    assert compute_mean_area(0.5, (40, 40), 1, done=0.5) == 1
    assert compute_mean_area(0.5, (40, 40), 1, done=1.0) == 1


@pytest.mark.parametrize("regime", Regime)
def test_early_nothing_grows_outside_the_region_and_later_it_does(regime, first_side):
    config = make_config(regime=regime, min_steps=12, max_steps=12, learning_rate=0.02)
    trainer = Trainer(config, load_target(config.target))
    outside = mark_outside(trainer)
    next(trainer.train())
    assert not trainer.last_state[0, outside].any()
    assert not trainer.pool.states[:, outside].any()
    trainer.pool.states[:] = trainer._seed_states[:] = 1  # alive everywhere
    outside = mark_outside(trainer)
    next(trainer.train())
    assert (trainer.last_state[0, outside] == 1).all()
    trainer.iteration = 10
    assert not mark_outside(trainer).any()
    trainer.pool.states[:] = 1
    next(trainer.train())
    assert (trainer.last_state[0, outside] != 1).any()


def test_only_the_region_is_compared_with_the_target(first_side):
    config = make_config()
    trainer, other = (Trainer(config, load_target(config.target)) for _ in range(2))
    outside = mark_outside(trainer)
    other.target_values[:, outside] = 7
    assert next(trainer.train()) == next(other.train())
    trainer.iteration = other.iteration = 10
    assert next(trainer.train()).loss < next(other.train()).loss


def test_a_stopped_run_goes_on_to_the_same_bytes(first_side):
    def start(name):
        config = make_config(regime=Regime.REGENERATING)
        return Run(config, load_target(config.target), RunFiles(Path(f"{name}.safetensors")))

    list(start("whole").train(lambda: False))
    run = start("stopped")
    for stop in (4, 13, 20):
        list(run.train(lambda stop=stop: run.trainer.iteration >= stop))  # noqa: B023 - called at once
        run = Run.resume(run.files)
    for ending in (".safetensors", ".csv"):
        assert Path(f"stopped{ending}").read_bytes() == Path(f"whole{ending}").read_bytes()


def test_training_takes_as_many_steps_whatever_the_size_of_a_large_picture():
    small, large, larger = (build_config({"size": size}).train for size in (40, 64, 224))
    assert (small.widening, large.widening) == (0.0, 0.6)
    assert large == larger
    assert large.iterations * large.batch_size == small.iterations * small.batch_size
    assert large.pool_size < small.pool_size
    assert build_config({"size": 64, "damage": True}).train.damaged == 1
    growing = build_config({"size": 224, "regime": Regime.GROWING}).train  # the whole picture in one rollout
    assert growing.widening == 0
    assert growing.min_steps >= 224
    assert build_config({"size": 224, "widening": 0.0}).train.widening == 0
    with pytest.raises(UsageError, match=r"widening is 1\.5, but goes from 0 to 1"):
        build_config({"widening": 1.5})


def test_the_record_of_an_earlier_version_repeats_its_run():
    record = "format = 'ncatool-1'\n[model]\n[target]\nsize = 64\n[train]\niterations = 3200\nmin_steps = 102\n"
    flat = flatten_record(tomllib.loads(record + "max_steps = 133\npool_size = 256\n"), "a.toml")
    assert build_config(flat).train.widening == 0
    assert build_config({"size": 64}).train.widening > 0


def test_a_symmetric_filter_starts_with_a_region_that_holds_its_three_cells():
    config = dataclasses.replace(make_config(), model=ModelConfig(channels=6, hidden=10, filter=Filter.MEAN))
    trainer = Trainer(config, load_target(config.target))
    rows, columns = trainer.region
    assert trainer._seed_states[0, rows, columns].any(dim=-1).sum() == 3
