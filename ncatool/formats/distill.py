"""`.json`: the format of the player on the article's web page, with 8-bit weights.

The article is Mordvintsev et al., Growing Neural Cellular Automata, Distill 2020. Its player (WebGL, in
distillpub/post--growing-ca) reads two layers. Each is bytes [inputs + 1][outputs], the last row being the bias;
a byte q stands for (q / 255 - 1/2) · scale. The player perceives through sobel, updates half of the cells in a
step, and wraps at the edges.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8

from ncatool.config.names import Boundary, Filter
from ncatool.config.schema import ModelConfig
from ncatool.engine.advance import measure_mse
from ncatool.errors import NcatoolError, UsageError
from ncatool.formats.common import run_dense
from ncatool.nca.model_file import ModelData
from ncatool.nca.seed import is_plain, list_cells
from ncatool.nca.types import Fire, State
from ncatool.nca.weights import Weights

_MEASURED_STEP, _ROLLOUTS = 500, 8
"""Step and number of rollouts at which the MSE is measured, with exact and with quantised weights."""
_MAX_ERROR_RATIO, _MAX_ERROR_INCREASE = 10, 1e-2
"""The quantised model's MSE may be this many times the model's own, plus this."""
MAX_FILE_BYTES = 2**23
"""Largest file that is read; the largest model takes 6 MB."""
_MAX_INPUTS = 4096
"""Most inputs and outputs of a layer."""
_HINT = "choose another format, such as .npz"

Matrix = Float[np.ndarray, "_outputs _inputs"]
Vector = Float[np.ndarray, "_outputs"]


def check_supported(model: ModelData) -> None:
    """Raise UsageError for a model that the format cannot store."""
    config = model.config
    if config.filter is not Filter.SOBEL:
        raise UsageError(f"the article's player supports only sobel, but this model has {config.filter}", _HINT)
    for name, count in (("channels", config.channels), ("hidden units", config.hidden)):
        if count % 4:
            raise UsageError(f"the article's format packs four {name} together, but this model has {count}", _HINT)
    if model.target.others:
        raise UsageError(f"the article's player grows one picture, but this model {len(model.target.pictures)}", _HINT)
    if not is_plain(model.seed):
        count = len(list_cells(model.seed))
        cells = "one of its own" if count == 1 else f"{count} cells"
        raise UsageError(f"the article's player grows from one plain cell, but this model from {cells}", _HINT)


def find_player_differences(config: ModelConfig) -> list[str]:
    """Return each setting that the article's player fixes to another value than the model's, in words."""
    fixed = {"channels": 16, "fire_rate": 0.5, "boundary": Boundary.WRAP.value, "threshold": 0.1}
    own = {name: getattr(config, name) for name in fixed}
    return [f"{name} {fixed[name]}, not {own[name]}" for name in fixed if own[name] != fixed[name]]


def quantise(values: Float[np.ndarray, "..."]) -> tuple[UInt8[np.ndarray, "..."], float]:
    """Return bytes, and their scale: twice the largest magnitude, or 0 where all values are 0."""
    scale = 2 * float(np.abs(values).max())
    if scale == 0:
        return np.full(values.shape, 128, np.uint8), 0.0
    return np.round((values.astype(np.float64) / scale + 0.5) * 255).astype(np.uint8), scale


def _dequantise(rows: UInt8[np.ndarray, "..."], scale: float) -> Float[np.ndarray, "..."]:
    with np.errstate(over="ignore"):  # a weight that is not finite is refused where it is used
        return ((rows / 255 - 0.5) * scale).astype(np.float32)


def _encode_layer(weight: Matrix, bias: Vector) -> dict[str, Any]:
    weight_rows, weight_scale = quantise(weight.T)
    bias_row, bias_scale = quantise(bias)
    data = np.concatenate([weight_rows, bias_row[None]]).tobytes()
    return {
        "data_b64": base64.b64encode(data).decode(),
        "in_ch": weight.shape[1],
        "out_ch": weight.shape[0],
        "weight_scale": weight_scale,
        "bias_scale": bias_scale,
        "type": "uint8",
    }


def _list_layers(weights: Weights) -> list[tuple[Matrix, Vector]]:
    """Return weight and bias of both layers; a missing output bias is zeros."""
    bias = weights.output_bias
    output_bias = np.zeros(len(weights.output_weight), np.float32) if bias is None else bias.detach().numpy()
    return [
        (weights.hidden_weight.detach().numpy(), weights.hidden_bias.detach().numpy()),
        (weights.output_weight.detach().numpy(), output_bias),
    ]


def write(model: ModelData, record: Mapping[str, Any], name: str, path: Path) -> None:
    """Write the two layers; the format has no fields for the record and the name."""
    check_supported(model)
    path.write_text(json.dumps([_encode_layer(weight, bias) for weight, bias in _list_layers(model.weights)]))


def measure_quantisation(model: ModelData, path: Path) -> dict[str, Any]:
    """Return the largest error of a weight, the MSE at step 500 before and after, and the player's differences.

    Raises NcatoolError where quantisation makes the MSE much worse.
    """
    largest = 0.0
    for layer in _list_layers(model.weights):
        for values in layer:
            rows, scale = quantise(values)
            largest = max(largest, float(np.abs(_dequantise(rows, scale) - values).max()))
    exact = _measure_error(model)
    quantised = _measure_error(dataclasses.replace(model, weights=read_weights(path)))
    if not quantised <= _MAX_ERROR_RATIO * exact + _MAX_ERROR_INCREASE:
        raise NcatoolError(
            f"with 8-bit weights the MSE at step {_MEASURED_STEP} is {quantised:.2g}, "
            f"but {exact:.2g} with the model's own",
            _HINT,
        )
    return {
        "quantisation_error": largest,
        f"mse_at_{_MEASURED_STEP}": exact,
        f"mse_at_{_MEASURED_STEP}_quantised": quantised,
        "player_differs": find_player_differences(model.config),
    }


def _measure_error(model: ModelData) -> float:
    generator = torch.Generator().manual_seed(0)
    return measure_mse(model, [_MEASURED_STEP], _ROLLOUTS, generator).median().item()


def read_weights(path: Path) -> Weights:
    """Return the weights of such a file, as float32; NcatoolError where it is damaged or of another kind."""
    hint = "give a file that the article's player reads: a list of two layers of bytes"
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ValueError
        first, second = json.loads(path.read_text(encoding="utf-8"))
        (w1, b1), (w2, b2) = (_decode_layer(layer) for layer in (first, second))
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise NcatoolError(f"{path} is not a model of the article's player: {type(error).__name__}", hint) from None
    if w1.shape[0] != w2.shape[1] or w1.shape[1] != 3 * w2.shape[0]:
        raise NcatoolError(f"{path}: layers of {w1.shape[::-1]} and {w2.shape[::-1]} do not fit each other", hint)
    return Weights(*map(torch.from_numpy, (w1, b1, w2, b2)))


def _decode_layer(layer: Mapping[str, Any]) -> tuple[Matrix, Vector]:
    inputs, outputs = int(layer["in_ch"]), int(layer["out_ch"])
    if not (0 < inputs <= _MAX_INPUTS and 0 < outputs <= _MAX_INPUTS):
        raise ValueError("a layer has too many inputs or outputs, or none")
    rows = np.frombuffer(base64.b64decode(layer["data_b64"], validate=True), np.uint8).reshape(inputs + 1, outputs)
    weight_scale, bias_scale = float(layer["weight_scale"]), float(layer["bias_scale"])
    if not np.isfinite([weight_scale, bias_scale]).all():
        raise ValueError("a scale is not finite")
    return np.ascontiguousarray(_dequantise(rows[:-1], weight_scale).T), _dequantise(rows[-1], bias_scale)


def run(model: ModelData, path: Path, fire: Fire) -> State:
    """Return the state that the dense rule computes from the seed with the weights in the file."""
    return run_dense(dataclasses.replace(model, weights=read_weights(path)), fire)
