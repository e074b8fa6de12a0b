"""What a model, a checkpoint or a record says of itself: read from headers and tables, without torch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ncatool.config.names import Damage, Regime
from ncatool.config.schema import ModelConfig
from ncatool.config.tables import read_table
from ncatool.errors import NcatoolError, UsageError
from ncatool.evaluation.protocol import GROWTH_STEP, choose_persistence_step
from ncatool.files.toml import read_toml
from ncatool.nca.model_header import SEED_SETTINGS, ModelHeader, read_header, require_model
from ncatool.nca.model_name import EARLIER_CHECKPOINT_SUFFIX, MODEL_SUFFIX, find_model, find_record
from ncatool.nca.seed_summary import Place, read_places

CHECKPOINT_ENDINGS = (".checkpoint", EARLIER_CHECKPOINT_SUFFIX)
_TRAINING = ("loss", "regime", "batch_size", "learning_rate", "optimiser", "seed", "initial")
"""Settings of training that are told."""
_TARGET = ("source", "label", "meaning", "size", "padding", "names", "sources", "meanings")
"""Facts of the target that are told."""
_MEASURES = ("mse_at_", "psnr_at_", "worst_", "each_")
"""How the names of a run's measures begin."""

Table = dict[str, Any]


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model."""

    path: Path
    """The file that was named."""
    kind: str
    """`model`, `checkpoint` or `record`."""
    target: Table
    """Source, label, height and width of the grid, and the like; of several pictures lists of them, and `names`."""
    rule: Table
    """Filter, channels and the like, and the number of parameters."""
    training: Table
    """How it was trained; empty where that is not known."""
    quality: Table = field(default_factory=dict)
    """How good it is, by the names of `compare --json`; empty where it has not been measured."""
    version: Table = field(default_factory=dict)
    """What wrote the file: `format`, and where they are known, `ncatool` and `torch`."""
    seed: tuple[Place, ...] = ()
    """Row and column from the middle of each cell of the seed; empty where it is the plain one cell."""


def read_info(name: str) -> ModelInfo:
    """Return what the file that is named says; a model may be named without its ending.

    Raises NcatoolError for a file that is none of ours, and UsageError where there is none.
    """
    path = Path(name)
    if path.is_file() and name.endswith(CHECKPOINT_ENDINGS):
        return _read_checkpoint(path)
    if path.is_file() and path.suffix == ".toml":
        return _read_record(path)
    return _read_model(find_model(name))


def _read_model(path: Path) -> ModelInfo:
    require_model(path)
    header = _require_header(path)
    record = _read_tables(find_record(path))
    tables: Table = dict(header.tables)
    tables.update({name: record[name] for name in ("train", "result", "environment") if name in record})
    training = _describe_training(tables)
    measured = _read_measures(path) or _select_result(_get(tables, "result"))
    return ModelInfo(
        path, "model", _describe_target(tables, header.shape), _describe_rule(path, tables, header.tensors), training,
        measured, _describe_version(tables, _get(tables, "environment")), _read_seed(path, header),
    )  # fmt: skip


def _read_checkpoint(path: Path) -> ModelInfo:
    header = _require_header(path)
    facts = _get(header.tables, "facts")
    history = facts.get("history")
    last = history[-1] if isinstance(history, list) and history and isinstance(history[-1], dict) else {}
    done = {"iterations": _get(facts, "trainer").get("iteration"), "seconds": facts.get("seconds")}
    tables = {**facts, "target": _get(header.tables, "target"), "result": done, "environment": last}
    weights = {name.removeprefix("weights."): shape for name, shape in header.tensors.items() if "weights." in name[:8]}
    return ModelInfo(
        path, "checkpoint", _describe_target(tables, header.shape), _describe_rule(path, tables, weights),
        _describe_training(tables), {}, _describe_version(header.tables, last), _read_seed(path, header),
    )  # fmt: skip


def _read_record(path: Path) -> ModelInfo:
    tables = read_toml(path)
    if not {"format", "model", "target"} <= set(tables):
        raise UsageError(f"{path} is not the record of a model", f"give a model, or the {path.suffix} beside one")
    model = path.with_suffix(MODEL_SUFFIX)
    header = read_header(model)
    shape = header.shape if header is not None else None
    measured = (_read_measures(model) if header is not None else {}) or _select_result(_get(tables, "result"))
    return ModelInfo(
        path, "record", _describe_target(tables, shape), _describe_rule(path, tables, header.tensors if header else {}),
        _describe_training(tables), measured, _describe_version(tables, _get(tables, "environment")),
        _read_seed(model, header),
    )  # fmt: skip


def _require_header(path: Path) -> ModelHeader:
    header = read_header(path)
    if header is None or header.tables.get("format") is None:
        raise NcatoolError(f"{path} is damaged, or no file of ncatool", "give a file that ncatool has written, whole")
    return header


def _read_seed(path: Path, header: ModelHeader | None) -> tuple[Place, ...]:
    """Return the places of the seed's cells; numpy is only loaded for a file that holds a seed."""
    return tuple(read_places(path)) if header is not None and "seed" in header.tensors else ()


def _read_tables(path: Path) -> Table:
    """Return the tables of a record; none where there is no readable one."""
    try:
        return read_toml(path)
    except NcatoolError:
        return {}


def _get(tables: Mapping[str, Any], name: str) -> Table:
    table = tables.get(name)
    return table if isinstance(table, dict) else {}


def _describe_target(tables: Mapping[str, Any], shape: tuple[int, int] | None) -> Table:
    target = _get(tables, "target")
    kept: Table = {name: target[name] for name in _TARGET if name in target}
    return kept if shape is None else {**kept, "height": shape[0], "width": shape[1]}


def _describe_rule(path: Path, tables: Mapping[str, Any], tensors: Mapping[str, list[int]]) -> Table:
    """Return the rule's settings, each of them checked, and how many parameters it has."""
    rule = read_table(ModelConfig, _get(tables, "model"), str(path))
    bias = rule.channels if "output.bias" in tensors else 0
    count = rule.hidden * (3 * rule.channels + 1) + rule.channels * rule.hidden + bias
    return {
        "filter": rule.filter.value, "channels": rule.channels, "hidden": rule.hidden, "parameters": count,
        "fire_rate": rule.fire_rate, "threshold": rule.threshold, "boundary": rule.boundary.value,
    }  # fmt: skip


def _describe_training(tables: Mapping[str, Any]) -> Table:
    """Return how it was trained; the iterations that were done are only known from a record or a checkpoint.

    It is empty where nobody knows: of an imported model, the table `[train]` holds no more than the seed.
    """
    train, result = _get(tables, "train"), _get(tables, "result")
    if not set(train) - set(SEED_SETTINGS):
        return {}
    done = {"iterations": result.get("iterations"), "planned": train.get("iterations")}
    kept = {name: train[name] for name in _TRAINING if name in train and train[name] != ""}
    more = {"damage": train.get("regime") == Regime.REGENERATING, "seconds": result.get("seconds")}
    return {**done, **kept, **more, "device": _get(tables, "environment").get("device")}


def _select_result(result: Table) -> Table:
    """Return the measures that a run made at its end."""
    names = [name for name in result if name.startswith(_MEASURES)]
    return {"source": "record", **{name: result[name] for name in names}} if names else {}


def _describe_version(tables: Mapping[str, Any], environment: Mapping[str, Any]) -> Table:
    packages = {name: environment[name] for name in ("ncatool", "torch") if name in environment}
    return {"format": tables.get("format"), **packages}


def _read_measures(model: Path) -> Table:
    """Return what `ncatool compare` has found of this very file and kept beside it; empty where it has not."""
    path = model.with_name(f".{model.stem}.measures")
    try:
        arrays, basis, grid = _load_arrays(path)
        if basis.get("model") != hashlib.sha256(model.read_bytes()).hexdigest():
            return {}
        return {"source": "compare", "rollouts": basis["rollouts"], "steps": basis["steps"], **_summarise(arrays, grid)}
    except (OSError, ValueError, LookupError, TypeError, ImportError):
        return {}


def _load_arrays(path: Path) -> tuple[Table, Table, list[int]]:
    """Return the arrays of a file of measures that are told of, its basis, and height and width of the model's grid.

    Raises ValueError for a file that is damaged.
    """
    import json

    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(path)
    names = ["mse", "dead", "exploded", *(f"{shape}.{part}" for shape in Damage for part in ("before", "mse"))]
    try:
        with safe_open(path, framework="np") as file:
            basis = json.loads((file.metadata() or {})["ncatool"])["basis"]
            grid = file.get_slice("variation.mean").get_shape()[:2]
            return {name: file.get_tensor(name) for name in names}, basis, grid
    except SafetensorError as error:
        raise ValueError(str(error)) from None


def _summarise(arrays: Mapping[str, Any], grid: Sequence[int]) -> Table:
    """Return medians over the rollouts, by the names of `compare --json`; None where they are not finite."""
    from ncatool.evaluation.quartiles import compute_quartiles

    late = arrays["mse"][:, min(choose_persistence_step(grid), arrays["mse"].shape[1] - 1) :]
    values = {
        f"mse_at_{GROWTH_STEP}": compute_quartiles(arrays["mse"][:, GROWTH_STEP]).median,
        "mse_later": compute_quartiles([compute_quartiles(errors).median for errors in late]).median,
        "mse_worst": compute_quartiles(late.max(axis=1)).median,
        "mse_healed_circle": compute_quartiles(arrays["circle.mse"][:, -1]).median,
        "dead": float(arrays["dead"].mean()),
        "exploded": float(arrays["exploded"].mean()),
    }
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
