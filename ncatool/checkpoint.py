"""The files that a run leaves, and what is believed of one that is read."""

from __future__ import annotations

import dataclasses
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ncatool.config import FORMAT, MAX_SIDE, ModelConfig, from_table
from ncatool.errors import NcatoolError, UsageError, brief
from ncatool.files import held, read_toml, remove_partials, write, write_toml
from ncatool.model import Weights
from ncatool.target import Target

SUFFIX = ".safetensors"
WHOLE = "give a file that ncatool has written, whole"
_WEIGHTS = {
    "hidden.weight": "hidden_weight",
    "hidden.bias": "hidden_bias",
    "output.weight": "output_weight",
    "output.bias": "output_bias",
}


@dataclass(frozen=True)
class Model:
    """Everything that a model file holds."""

    weights: Weights
    config: ModelConfig
    target: Target

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.weights.hidden_weight.device

    def on(self, device: torch.device) -> Model:
        """The same on a device."""
        weights = (None if tensor is None else tensor.to(device) for tensor in self.weights)
        return dataclasses.replace(self, weights=Weights(*weights))  # type: ignore[arg-type]


@dataclass(frozen=True)
class RunFiles:
    """The names of a run's files."""

    model: Path

    def __post_init__(self) -> None:
        if self.model.suffix != SUFFIX:
            raise UsageError(f"{self.model} does not end in {SUFFIX}", f"give --out NAME{SUFFIX}")

    @property
    def record(self) -> Path:
        return self.model.with_suffix(".toml")

    @property
    def checkpoint(self) -> Path:
        return self.model.with_suffix(".checkpoint" + SUFFIX)

    @property
    def curve(self) -> Path:
        return self.model.with_suffix(".csv")

    @property
    def picture(self) -> Path:
        return self.model.with_suffix(".png")

    def all(self) -> list[Path]:
        return [self.model, self.record, self.checkpoint, self.curve, self.picture]

    @contextmanager
    def alone(self, leased: bool = False) -> Iterator[None]:
        """Keeps every other process from writing this run, as `held`; what a dead one left half-written is removed."""
        with held(self.model.with_name(f".{self.model.name}.lock"), str(self.model), leased):
            for path in self.all():
                remove_partials(path)
            yield


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Writes the run's TOML."""
    write_toml(path, {"format": FORMAT, **record})


def named_weights(weights: Weights) -> dict[str, Tensor]:
    """Weights under the names that they have in a file."""
    named = {name: getattr(weights, field) for name, field in _WEIGHTS.items()}
    return {name: tensor for name, tensor in named.items() if tensor is not None}


def weights_named(tensors: Mapping[str, Tensor]) -> Weights:
    """The opposite of `named_weights`."""
    return Weights(**{_WEIGHTS[name]: tensor for name, tensor in tensors.items()})


def target_tensor(target: Target) -> Tensor:
    """The target's pixels as a tensor."""
    return torch.from_numpy(np.array(target.pixels))


def _checksum(tables: Mapping[str, Any], tensors: Iterable[tuple[str, Tensor]]) -> int:
    """CRC-32 of tables and tensors with their names, dtypes and shapes."""
    value = zlib.crc32(json.dumps(tables, sort_keys=True).encode())
    for name, tensor in tensors:
        value = zlib.crc32(f"{name} {tensor.dtype} {list(tensor.shape)}".encode(), value)
        value = zlib.crc32(tensor.numpy().reshape(-1).view(np.uint8).data, value)
    return value


def _packed(tensors: Mapping[str, Tensor], tables: Mapping[str, Any]) -> bytes:
    """A safetensors file with its tables and checksum; one key, for several come in an order that changes."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in sorted(tensors.items())}
    body = json.loads(json.dumps({"format": FORMAT, **tables}))
    sealed = {"checksum": _checksum(body, plain.items()), **body}
    return save(plain, {"ncatool": json.dumps(sealed, sort_keys=True)})


def save_model(path: Path, model: Model) -> None:
    """Writes the model file."""
    tensors = {**named_weights(model.weights), "target": target_tensor(model.target)}
    write(path, _packed(tensors, {"model": dataclasses.asdict(model.config), "target": model.target.record()}))


@contextmanager
def reading(path: Path) -> Iterator[Any]:
    """An open safetensors file, with every way that it can be broken as one NcatoolError."""
    try:
        if path.is_file() and path.stat().st_size == 0:
            raise NcatoolError(f"{path} is empty (0 bytes)", WHOLE)
        with safe_open(path, framework="pt") as file:
            yield file
    except FileNotFoundError:
        raise UsageError(f"no such model: {path}", "give the name of a .safetensors file") from None
    except SafetensorError as error:
        raise NcatoolError(f"{path} is truncated or not a safetensors file ({error})", WHOLE) from None
    except OSError as error:
        raise NcatoolError(f"{path} cannot be read: {error.strerror or error}", WHOLE) from None


def _tables(path: Path, file: Any) -> dict[str, Any]:
    """The tables of the header's metadata, without the checksum."""
    try:
        tables = json.loads((file.metadata() or {})["ncatool"])
    except (KeyError, ValueError, RecursionError):
        tables = None
    if not isinstance(tables, dict) or tables.get("format") != FORMAT:
        raise NcatoolError(f"{path} has no header of the format {FORMAT}", WHOLE)
    return tables


def _check_seal(path: Path, file: Any) -> None:
    """Compares the checksum, so that no changed byte passes for a weight; sizes must be known to be sane."""
    tables = _tables(path, file)
    told = tables.pop("checksum", None)
    found = _checksum(tables, ((name, file.get_tensor(name)) for name in sorted(file.keys())))
    if told != found:
        raise NcatoolError(f"{path} has changed since it was written: its checksum is {found}, not {told}", WHOLE)


def header_table(path: Path, file: Any, name: str) -> dict[str, Any]:
    """One table of the header's metadata."""
    table = _tables(path, file).get(name)
    if not isinstance(table, dict):
        raise NcatoolError(f"{path} has no [{name}] table in its header", WHOLE)
    return table


def take(path: Path, file: Any, name: str, shape: tuple[int, ...], dtype: str = "F32") -> Tensor:
    """A tensor whose shape and dtype are what they should be, checked before it is read; float32 must be finite."""
    mend = "the file is damaged or not a model of ncatool; use another copy"
    if name not in file.keys():  # noqa: SIM118 - safe_open is no mapping
        raise NcatoolError(f"{path} lacks the tensor {name} of shape {list(shape)}", mend)
    found = file.get_slice(name)
    if tuple(found.get_shape()) != shape or found.get_dtype() != dtype:
        raise NcatoolError(
            f"{path}: {name} should be {dtype} {list(shape)}, but is {found.get_dtype()} {found.get_shape()}", mend
        )
    tensor: Tensor = file.get_tensor(name)
    if dtype == "F32" and not torch.isfinite(tensor).all():
        raise NcatoolError(f"{path}: {name} holds values that are not finite", mend)
    return tensor


def take_weights(path: Path, file: Any, config: ModelConfig) -> Weights:
    """The weights of a model of this configuration."""
    shapes = {
        "hidden.weight": (config.hidden, 3 * config.channels),
        "hidden.bias": (config.hidden,),
        "output.weight": (config.channels, config.hidden),
        "output.bias": (config.channels,),
    }
    present = [name for name in shapes if name != "output.bias" or name in file.keys()]  # noqa: SIM118
    return weights_named({name: take(path, file, name, shapes[name]) for name in present})


def take_target(path: Path, file: Any) -> Target:
    """The target and where it is from."""
    table = header_table(path, file, "target")
    shape = tuple(file.get_slice("target").get_shape()) if "target" in file.keys() else ()  # noqa: SIM118
    expected = (*shape[:2], 4) if len(shape) == 3 and min(shape) > 0 and max(shape) <= MAX_SIDE else (1, 1, 4)
    pixels = take(path, file, "target", expected, "U8").numpy()
    padding = table.get("padding")
    if type(padding) is not int or not 0 <= padding <= MAX_SIDE:
        raise NcatoolError(f"{path}: padding is {brief(padding)} in the header", "use another copy of the file")
    origin = {key: value for key, value in table.items() if key not in ("size", "padding", "sha256")}
    return Target(pixels, padding, origin)


def labels(paths: Sequence[Path]) -> list[str]:
    """What to call models: by the file's name, or by its path where several have that name."""
    stems = [path.stem for path in paths]
    return [path.stem if stems.count(path.stem) == 1 else str(path.with_suffix("")) for path in paths]


def load_model(path: Path) -> Model:
    """A model file, checked against its sidecar where there is one.

    Raises NcatoolError for a file that is missing, truncated, not a model, or contradicted by its sidecar.
    """
    with reading(path) as file:
        table = header_table(path, file, "model")
        config = from_table(ModelConfig, table, str(path))
        model = Model(take_weights(path, file, config), config, take_target(path, file))
        _check_seal(path, file)
    _compare(path, path.with_suffix(".toml"), dataclasses.asdict(config))
    return model


def _compare(path: Path, sidecar: Path, header: dict[str, Any]) -> None:
    if not sidecar.exists():
        return
    table = read_toml(sidecar).get("model", {})
    if not isinstance(table, dict):
        raise NcatoolError(f"{sidecar} says model = {brief(table)}, which is no table", "mend or remove that file")
    for name, value in header.items():
        if name in table and table[name] != value:
            raise NcatoolError(
                f"{sidecar} says {name} = {brief(table[name])}, but the header of {path.name} says {value!r}",
                "put the right record beside the model, or remove the wrong one",
            )


def save_checkpoint(path: Path, tensors: Mapping[str, Tensor], target: Target, facts: Mapping[str, Any]) -> None:
    """Writes what `resume` needs: the run's tensors, the target, and `facts` as JSON."""
    content = {**tensors, "target": target_tensor(target)}
    write(path, _packed(content, {"facts": facts, "target": target.record()}))


def checkpoint_tables(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """A checkpoint's facts and the record of its target; no tensor is read."""
    with reading(path) as file:
        return header_table(path, file, "facts"), header_table(path, file, "target")


Expected = Mapping[str, tuple[tuple[int, ...], str]]
"""Shape and safetensors dtype of each tensor that must be there, by name."""


def load_checkpoint(
    path: Path, expected: Callable[[Mapping[str, Any], Target], Expected]
) -> tuple[dict[str, Tensor], Target, dict[str, Any]]:
    """What `save_checkpoint` wrote; `expected` says, by facts and target, which tensors must be there.

    Raises NcatoolError where one is missing, superfluous, of another shape or dtype, or not finite,
    before it is read; and where the checksum differs.
    """
    with reading(path) as file:
        facts = header_table(path, file, "facts")
        target = take_target(path, file)
        wanted = expected(facts, target)
        strange = set(file.keys()) - set(wanted) - {"target"}
        if strange:
            raise NcatoolError(f"{path} holds the unknown tensor {min(strange)}", WHOLE)
        tensors = {name: take(path, file, name, *wanted[name]) for name in wanted}
        _check_seal(path, file)
        return tensors, target, facts
