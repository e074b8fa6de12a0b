"""Settings as the flags of `train` name them: flat, and with defaults that depend on each other."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from ncatool.config.names import Regime
from ncatool.config.schema import ModelConfig, RunConfig, TargetConfig, TrainConfig
from ncatool.config.tables import convert_value
from ncatool.errors import UsageError, shorten

_TABLES = (ModelConfig, TargetConfig, TrainConfig)
_RENAMED = {"source": "target", "initial": "from"}
_SPLIT = ("min_steps", "max_steps")

SETTINGS: dict[str, Any] = {
    **{_RENAMED.get(f.name, f.name): f.default for table in _TABLES for f in dataclasses.fields(table)},
    "steps": f"{TrainConfig.min_steps}-{TrainConfig.max_steps}",
    "damage": False,
}
"""Every setting with a value of its type."""
for _name in _SPLIT:
    del SETTINGS[_name]


def choose_steps(side: int, fire_rate: float, regime: Regime) -> tuple[int, int]:
    """Fewest and most steps of a rollout for a picture of this longer side.

    What grows from the middle moves by at most one cell each time that a cell fires, so the edge is
    side / (2 fire_rate) steps away; a little more than half as much again lets it take shape, and as
    much again lets wounds close.
    """
    low = max(24, round((1.0 if regime is Regime.REGENERATING else 0.8) * side / fire_rate))
    return low, low + 31


def choose_iterations(side: int, regime: Regime) -> int:
    """Iterations for a picture of this longer side: 100 a cell, and three quarters more to learn to heal."""
    return side * (175 if regime is Regime.REGENERATING else 100)


def check_settings(settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Settings of a file, hyphens or underscores in their names, each of its type.

    Raises UsageError for a name that does not exist (with the nearest that does) or a value of the wrong type.
    """
    return dict(check_setting(key, value, where) for key, value in settings.items())


def check_setting(key: str, value: Any, where: str) -> tuple[str, Any]:
    """One setting's own name, and its value; as `checked`."""
    name = key.replace("-", "_")
    if name not in SETTINGS:
        close = difflib.get_close_matches(name, SETTINGS, 1)
        hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(SETTINGS)}"
        raise UsageError(f"{where}: unknown setting {shorten(key)}", hint)
    return name, convert_value(SETTINGS[name], name, value, where)


def build_config(settings: Mapping[str, Any]) -> RunConfig:
    """All settings of a run from flat ones; what is missing or None has its default.

    Raises UsageError for a value out of its range, or two that contradict each other.
    """
    given = {name: value for name, value in settings.items() if value is not None}
    regime = _resolve_regime(given.pop("regime", None), given.pop("damage", False))
    model = ModelConfig(**_select_fields(ModelConfig, given))
    target = TargetConfig(source=given.pop("target", TargetConfig.source), **_select_fields(TargetConfig, given))
    steps = given.pop("steps", None)
    low, high = _parse_steps(steps) if steps else choose_steps(target.size, model.fire_rate, regime)
    named = {"iterations": choose_iterations(target.size, regime), **_select_fields(TrainConfig, given)}
    named |= {"regime": regime, "min_steps": low, "max_steps": high, "initial": given.pop("from", "")}
    return RunConfig(model=model, target=target, train=TrainConfig(**named))


def flatten_config(config: RunConfig) -> dict[str, Any]:
    """The opposite of `configured`, nothing left to defaults."""
    tables = (config.model, config.target, config.train)
    flat = {name: value for table in tables for name, value in dataclasses.asdict(table).items()}
    steps = f"{flat.pop('min_steps')}-{flat.pop('max_steps')}"
    return {**{_RENAMED.get(name, name): value for name, value in flat.items()}, "steps": steps}


def agreed(asked: ModelConfig, start: ModelConfig, source: str) -> ModelConfig:
    """The rule of the model that training starts from; refuses settings that ask for another."""
    for name, value in dataclasses.asdict(asked).items():
        if value not in (getattr(ModelConfig, name), getattr(start, name)):
            raise UsageError(
                f"{name} is {value}, but {source} has {getattr(start, name)}", "leave the flag out, or train afresh"
            )
    return start


def _select_fields(table: type, given: Mapping[str, Any]) -> dict[str, Any]:
    return {field.name: given[field.name] for field in dataclasses.fields(table) if field.name in given}


def _parse_steps(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    try:
        return int(low), int(high or low)
    except ValueError:
        raise UsageError(f"steps is {text!r}", "give --steps MIN-MAX, such as 64-95") from None


def _resolve_regime(regime: Regime | None, damage: bool) -> Regime:
    if damage and regime not in (None, Regime.REGENERATING):
        raise UsageError(f"--damage means --regime regenerating, but --regime is {regime}", "give one of them")
    return Regime.REGENERATING if damage else regime or TrainConfig.regime
