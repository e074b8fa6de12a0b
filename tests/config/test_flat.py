"""Defaults that depend on other settings."""

import pytest

from ncatool.config.flat import adopt_model, build_config, flatten_record
from ncatool.config.names import Filter, Optimiser, SeedCells
from ncatool.errors import UsageError
from ncatool.nca.filters import filter_pair


def test_symmetric_filters_are_those_that_their_transpose_equals():
    for name in Filter:
        filter_, transposed = filter_pair(name)
        turned_alike = (filter_ == filter_.rot90()).all() and (filter_ == transposed).all()
        assert name.is_symmetric == bool(turned_alike)


@pytest.mark.parametrize("name", Filter)
def test_a_symmetric_filter_grows_from_three_cells(name):
    found = build_config({"filter": name}).train.seed_cells
    assert found is (SeedCells.THREE if name.is_symmetric else SeedCells.ONE)
    assert build_config({"filter": name, "seed_cells": SeedCells.ONE}).train.seed_cells is SeedCells.ONE


def test_adam_takes_more_iterations_at_a_lower_rate():
    muon, adam = (build_config({"optimiser": one}).train for one in Optimiser)
    assert (adam.iterations, adam.learning_rate) == (2800, 4e-3)
    assert muon.iterations == adam.iterations // 2
    assert build_config({"optimiser": Optimiser.ADAM, "iterations": 5}).train.iterations == 5


def test_padding_and_symmetric_filters_take_a_lower_rate():
    def choose(**settings):
        return build_config(settings).train.learning_rate

    assert (choose(), choose(padding=4), choose(filter=Filter.MEAN)) == (0.01, 0.006, 0.006)
    assert (choose(damage=True), choose(damage=True, filter=Filter.MEAN)) == (0.01, 0.004)
    assert choose(padding=4, learning_rate=0.02) == 0.02
    assert choose(padding=4, optimiser=Optimiser.ADAM) == 4e-3


def test_a_record_of_an_earlier_version_means_adam_and_one_cell():
    table = {"format": "ncatool-1", "model": {"filter": "gaussian"}, "train": {"iterations": 3}}
    found = flatten_record(table, "x")
    assert (found["optimiser"], found["seed_cells"]) == ("adam", "one")
    written_by_hand = flatten_record({name: table[name] for name in ("model", "train")}, "x")
    assert "optimiser" not in written_by_hand
    assert "seed_cells" not in written_by_hand


def test_the_seed_of_the_model_to_start_from_holds():
    start = build_config({"filter": Filter.MEAN}).model
    train = {"seed_cells": "three", "seed_radius": 3.0, "optimiser": "muon"}
    config = build_config({"from": "m.safetensors"})
    adopted = adopt_model(config, {"from"}, start, train)
    assert (adopted.train.seed_cells, adopted.train.seed_radius) == (SeedCells.THREE, 3.0)
    asked = build_config({"from": "m.safetensors", "seed_radius": 4.0})
    with pytest.raises(UsageError, match=r"seed_radius is 4\.0, but m\.safetensors has 3\.0"):
        adopt_model(asked, {"from", "seed_radius"}, start, train)
    assert adopt_model(config, {"from"}, start, {}).train.seed_cells is SeedCells.ONE


@pytest.mark.parametrize(
    ("pictures", "channels", "hidden", "iterations"),
    [(1, 16, 128, 1400), (2, 16, 128, 2800), (4, 16, 128, 2800), (5, 24, 192, 4200), (8, 24, 192, 4200),
     (9, 32, 256, 5600), (32, 40, 320, 7000)],
)  # fmt: skip
def test_more_pictures_take_a_larger_model_and_more_iterations(pictures, channels, hidden, iterations):
    source = " + ".join(f"{i}.png" for i in range(pictures))
    found = build_config({"target": source})
    assert (found.model.channels, found.model.hidden, found.train.iterations) == (channels, hidden, iterations)
    assert found.train.seed_cells is (SeedCells.ONE if pictures == 1 else SeedCells.SQUARE)
    assert build_config({"target": source, "hidden": 99}).model.hidden == 99
    assert build_config({"target": source, "filter": Filter.MEAN}).train.seed_cells is SeedCells.THREE
