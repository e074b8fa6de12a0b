"""Settings as flags name them: one flat dictionary, with defaults that depend on each other.

A run's record keeps its settings in three tables, a flag or a sweep's plan names each by one word. The three names
that differ (`source` is `--target`, `initial` is `--from`, `min_steps` and `max_steps` are `--steps`) are changed here
and nowhere else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from ncatool.config.names import Filter, Optimiser, Regime, SeedCells
from ncatool.config.schema import ModelConfig, RunConfig, TargetConfig, TrainConfig, split_sources
from ncatool.config.synonyms import translate_setting
from ncatool.config.tables import complete_training, convert_value, read_table
from ncatool.errors import UsageError, shorten

_TABLES = {"model": ModelConfig, "target": TargetConfig, "train": TrainConfig}
_FLAT_NAMES = {"source": "target", "initial": "from"}
_RECORD_TABLES = {*_TABLES, "format", "result", "environment", "history", "origin"}


def flatten_tables(tables: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the settings of the tables `model`, `target` and `train`, by their flat names."""
    values = {name: value for table in _TABLES for name, value in tables[table].items()}
    flat = {_FLAT_NAMES.get(name, name): value for name, value in values.items()}
    if {"min_steps", "max_steps"} & set(flat):
        low, high = flat.pop("min_steps", TrainConfig.min_steps), flat.pop("max_steps", TrainConfig.max_steps)
        flat["steps"] = f"{low}-{high}"
    return flat


def flatten_config(config: RunConfig) -> dict[str, Any]:
    """Return all settings of a run by their flat names; the opposite of `build_config`."""
    return flatten_tables(dataclasses.asdict(config))


SETTINGS: dict[str, Any] = {**flatten_config(RunConfig()), "damage": False}
"""Every setting with a value of its type. `damage` is short for the regime `regenerating`."""


LARGE_SIDE = 40
"""Longer side in cells beyond which training gets no longer: the region that grows widens instead."""
WIDENING = 0.6
"""Share of the iterations in which it widens."""
LARGE_BATCH, LARGE_POOL = 2, 64
"""Rollouts of an iteration, and states of the pool, for large pictures: more iterations serve them better."""
POOL_STATES = 8
"""States of the pool at least for each of several large pictures."""


def is_large(side: int, regime: Regime) -> bool:
    """Return whether a picture of this longer side is trained as a large one; without a pool none is."""
    return side > LARGE_SIDE and regime is not Regime.GROWING


def choose_steps(side: int, fire_rate: float, regime: Regime) -> tuple[int, int]:
    """Return the fewest and most steps of a rollout for a picture whose longer side has so many cells.

    Growth moves by at most one cell each time that a cell fires, so the edge is side / (2 fire_rate) steps away from
    the middle. Half as much again lets the picture take shape, and as much again lets damage heal. With a pool, those
    of large pictures are as short as those of 28 cells, as the next ones go on where they ended.
    """
    if is_large(side, regime):
        side = TargetConfig.size
    low = max(24, round((1.0 if regime is Regime.REGENERATING else 0.8) * side / fire_rate))
    return low, low + 31


def choose_widening(side: int, regime: Regime) -> float:
    """Return the share of the iterations in which the region that grows widens: none unless the picture is large."""
    return WIDENING if is_large(side, regime) else 0.0


def choose_batch_size(side: int, regime: Regime) -> int:
    """Return the rollouts of an iteration: fewer for large pictures, which take more iterations."""
    return LARGE_BATCH if is_large(side, regime) else TrainConfig.batch_size


def choose_pool_size(side: int, regime: Regime, pictures: int) -> int:
    """Return the states of the pool: fewer for large pictures, which take more memory."""
    return max(LARGE_POOL, POOL_STATES * pictures) if is_large(side, regime) else TrainConfig.pool_size


def choose_width(pictures: int) -> int:
    """Return the width of a model of so many pictures, in units of 8 channels and 64 hidden units.

    It is two for up to four pictures, and one more for each doubling beyond; see `tests.benchmarks.many_pictures`.
    """
    return max(2, (pictures - 1).bit_length())


def choose_iterations(side: int, regime: Regime, optimiser: Optimiser, filter_: Filter, pictures: int = 1) -> int:
    """Return the iterations for a picture of this longer side: with Muon 50 a cell, or 87.5 to learn to heal, too.

    A large picture takes as many as one of `LARGE_SIDE` cells, and more as its batches are smaller: so its time grows
    as the number of its cells.
    Adam takes twice as many. A symmetric filter takes three times as many, as cells first learn to find their places.
    Several pictures take twice as many, or as many times as the model's width.
    """
    heals, times = regime is Regime.REGENERATING, choose_width(pictures) if pictures > 1 else 1
    if is_large(side, regime):
        times, side = times * TrainConfig.batch_size // LARGE_BATCH, LARGE_SIDE
    if filter_.is_symmetric:
        return times * side * (250 if heals else 150)
    iterations = times * side * (175 if heals else 100)
    return iterations // 2 if optimiser is Optimiser.MUON else iterations


def choose_learning_rate(optimiser: Optimiser, filter_: Filter, padding: int, regime: Regime) -> float:
    """Return the peak learning rate: lower where cells have to find their places, or leave space around them empty."""
    if optimiser is Optimiser.ADAM or (filter_.is_symmetric and regime is Regime.REGENERATING):
        return 4e-3
    return 6e-3 if filter_.is_symmetric or padding else 1e-2


def choose_seed_cells(cells: SeedCells, filter_: Filter, pictures: int = 1) -> SeedCells:
    """Return how many cells a seed has; under `auto` as many as the filter and the number of pictures need."""
    if cells is not SeedCells.AUTO:
        return cells
    if filter_.is_symmetric:
        return SeedCells.THREE
    return SeedCells.ONE if pictures == 1 else SeedCells.SQUARE


def check_settings(settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the settings of a file by their own names, each of its type; names may have hyphens.

    Raises UsageError for a name that does not exist (with the nearest that does) or a value of the wrong type.
    """
    return dict(check_setting(key, value, where) for key, value in settings.items())


def check_setting(key: str, value: Any, where: str) -> tuple[str, Any]:
    """Return one setting's own name and its value, as `check_settings`."""
    name = key.replace("-", "_")
    if name not in SETTINGS:
        meant = translate_setting(name, SETTINGS)
        hint = f"did you mean {meant}?" if meant else f"choose from {', '.join(SETTINGS)}"
        raise UsageError(f"{where}: unknown setting {shorten(key)}", hint)
    return name, convert_value(SETTINGS[name], name, value, where)


def build_config(settings: Mapping[str, Any]) -> RunConfig:
    """Return all settings of a run from flat ones; what is missing or None takes its default.

    Raises UsageError for a value out of its range, or two that contradict each other.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    regime = _resolve_regime(given.pop("regime", None), given.pop("damage", None))
    own_names = {flat: name for name, flat in _FLAT_NAMES.items()}
    named = {own_names.get(name, name): value for name, value in given.items() if name != "steps"}
    target = TargetConfig(**_select_fields(TargetConfig, named))
    pictures = len(split_sources(target.source))
    width = choose_width(pictures)
    model = ModelConfig(**{"channels": 8 * width, "hidden": 64 * width, **_select_fields(ModelConfig, named)})
    steps = given.get("steps")
    low, high = _parse_steps(steps) if steps is not None else choose_steps(target.size, model.fire_rate, regime)
    optimiser = named.get("optimiser", TrainConfig.optimiser)
    train = {
        "iterations": choose_iterations(target.size, regime, optimiser, model.filter, pictures),
        "learning_rate": choose_learning_rate(optimiser, model.filter, target.padding, regime),
        "widening": choose_widening(target.size, regime),
        "batch_size": choose_batch_size(target.size, regime),
        "pool_size": choose_pool_size(target.size, regime, pictures),
        **_select_fields(TrainConfig, named),
    }
    train.setdefault("damaged", min(TrainConfig.damaged, max(1, train["batch_size"] // 2)))
    cells = choose_seed_cells(train.get("seed_cells", SeedCells.AUTO), model.filter, pictures)
    train |= {"regime": regime, "min_steps": low, "max_steps": high, "seed_cells": cells}
    return RunConfig(model=model, target=target, train=TrainConfig(**train))


def flatten_record(tables: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the settings of a run's record, or of tables of the same form, by their flat names.

    Raises UsageError for an unknown table or setting, and for a value of the wrong type or range.
    """
    unknown = set(tables) - _RECORD_TABLES
    if unknown:
        raise UsageError(f"{where}: unknown table [{min(unknown)[:80]}]", "choose from [model], [target], [train]")
    known = {name: _get_table(tables, name, where) for name in _TABLES}
    fields = {field.name for field in dataclasses.fields(TargetConfig)}
    known["target"] = {name: value for name, value in known["target"].items() if name in fields}  # the rest describes
    if "format" in tables:  # else a user has written it
        known["train"] = complete_training(known["train"])
    for name, kind in _TABLES.items():
        read_table(kind, known[name], where)
    return flatten_tables(known)


def adopt_model(
    config: RunConfig, given: Collection[str], start: ModelConfig, start_train: Mapping[str, Any]
) -> RunConfig:
    """Return the settings of a run with the rule and the seed of the model that training starts from.

    Defaults that depend on them follow. `start_train` is that model's table `[train]`, empty where it is not known.
    Raises UsageError where one of the `given` settings, by their flat names, asks for another rule or seed.
    """
    rule = dataclasses.asdict(start)
    cells = SeedCells(complete_training(start_train)["seed_cells"])
    seed = {"seed_cells": cells, "seed_radius": start_train.get("seed_radius", TrainConfig.seed_radius)}
    for name, value in {**rule, **seed}.items():
        asked = getattr(config.model if name in rule else config.train, name)
        if name in given and asked != value:
            raise UsageError(
                f"{name} is {asked}, but {config.train.initial} has {value}",
                f"leave {name} out, or train afresh, without --from",
            )
    named = {*given, "regime"} if "damage" in given else given
    return build_config({**{key: one for key, one in flatten_config(config).items() if key in named}, **rule, **seed})


def _get_table(tables: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    table = tables.get(name, {})
    if not isinstance(table, dict):
        raise UsageError(
            f"{where}: [{name}] is {shorten(table)}, which is no table",
            f"write [{name}] as a table, on a line of its own",
        )
    return table


def _select_fields(table: type, values: Mapping[str, Any]) -> dict[str, Any]:
    return {field.name: values[field.name] for field in dataclasses.fields(table) if field.name in values}


def _parse_steps(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    try:
        return int(low), int(high or low)
    except ValueError:
        raise UsageError(f"steps is {shorten(text)}", "give --steps MIN-MAX, such as 64-95") from None


def _resolve_regime(regime: Regime | None, damage: bool | None) -> Regime:
    if damage and regime not in (None, Regime.REGENERATING):
        raise UsageError(f"--damage means --regime regenerating, but --regime is {regime}", "give one of them")
    if damage is False and regime is Regime.REGENERATING:
        raise UsageError("damage is off, but --regime is regenerating, which damages states", "give one of them")
    return Regime.REGENERATING if damage else regime or TrainConfig.regime
