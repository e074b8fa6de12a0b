"""`.json`: the article's own player's format, weights of 8 bits.

Source: distillpub/post--growing-ca, whose WebGL demo reads two layers, each `[inputs + 1][outputs]` bytes
with the bias as the last row. A byte q stands for (q / 255 - 1/2) scale. Its player perceives through
sobel, fires half of the cells, and wraps at the edge.
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
from ncatool.formats.common import Fire, run_dense
from ncatool.nca.model_file import ModelData
from ncatool.nca.types import State
from ncatool.nca.weights import Weights

_MEASURED_STEP, _ROLLOUTS = 500, 8
"""How it is found out what quantisation does to the picture."""
_MAX_ERROR_RATIO, _MAX_ERROR_INCREASE = 10, 1e-2
"""Times its own error that a picture may get, and an error that is borne in any case."""
_HINT = "choose another format, such as .npz"

Matrix = Float[np.ndarray, "_outputs _inputs"]
Vector = Float[np.ndarray, "_outputs"]


def check_supported(config: ModelConfig) -> None:
    """Refuses what the format cannot say."""
    if config.filter is not Filter.SOBEL:
        raise UsageError(f"the article's player knows only sobel, but this model has {config.filter}", _HINT)
    for name, count in (("channels", config.channels), ("hidden units", config.hidden)):
        if count % 4:
            raise UsageError(f"the article's format packs four {name} together, but this model has {count}", _HINT)


def find_player_differences(config: ModelConfig) -> list[str]:
    """What the article's player does otherwise than this model."""
    expected = {"channels": 16, "fire_rate": 0.5, "boundary": Boundary.WRAP.value, "threshold": 0.1}
    found = {name: getattr(config, name) for name in expected}
    return [f"{name} {expected[name]}, not {found[name]}" for name in expected if found[name] != expected[name]]


def quantise(values: Float[np.ndarray, "..."]) -> tuple[UInt8[np.ndarray, "..."], float]:
    """Bytes and their scale, twice the largest magnitude; a scale of 0 where all are 0."""
    scale = 2 * float(np.abs(values).max())
    if scale == 0:
        return np.full(values.shape, 128, np.uint8), 0.0
    return np.round((values.astype(np.float64) / scale + 0.5) * 255).astype(np.uint8), scale


def _encode_layer(weight: Matrix, bias: Vector) -> dict[str, Any]:
    rows, weight_scale = quantise(weight.T)
    last, bias_scale = quantise(bias)
    data = np.concatenate([rows, last[None]]).tobytes()
    return {
        "data_b64": base64.b64encode(data).decode(),
        "in_ch": weight.shape[1],
        "out_ch": weight.shape[0],
        "weight_scale": weight_scale,
        "bias_scale": bias_scale,
        "type": "uint8",
    }


def _weight_arrays(weights: Weights) -> list[tuple[Matrix, Vector]]:
    bias = weights.output_bias
    last = np.zeros(len(weights.output_weight), np.float32) if bias is None else bias.detach().numpy()
    return [
        (weights.hidden_weight.detach().numpy(), weights.hidden_bias.detach().numpy()),
        (weights.output_weight.detach().numpy(), last),
    ]


def write(model: ModelData, record: Mapping[str, Any], name: str, path: Path) -> None:
    """The two layers; the format has no room for more."""
    check_supported(model.config)
    path.write_text(json.dumps([_encode_layer(weight, bias) for weight, bias in _weight_arrays(model.weights)]))


def measure_quantisation(model: ModelData, path: Path) -> dict[str, Any]:
    """What rounding to bytes does to a weight at most, and to the picture; and what the player does otherwise."""
    worst = 0.0
    for pair in _weight_arrays(model.weights):
        for values in pair:
            rows, scale = quantise(values)
            worst = max(worst, float(np.abs(_dequantise(rows, scale) - values).max()))
    own, rounded = (_measure_error(one) for one in (model, dataclasses.replace(model, weights=read_weights(path))))
    if not rounded <= _MAX_ERROR_RATIO * own + _MAX_ERROR_INCREASE:
        worse = f"{rounded:.2g} at step {_MEASURED_STEP}, where it was {own:.2g}"
        raise NcatoolError(f"with weights of 8 bits the picture's error is {worse}", _HINT)
    grown = {f"mse_at_{_MEASURED_STEP}": own, f"mse_at_{_MEASURED_STEP}_quantised": rounded}
    return {"quantisation_error": worst, **grown, "player_differs": find_player_differences(model.config)}


def _measure_error(model: ModelData) -> float:
    generator = torch.Generator().manual_seed(0)
    return measure_mse(model, [_MEASURED_STEP], _ROLLOUTS, generator).median().item()


def _dequantise(rows: UInt8[np.ndarray, "..."], scale: float) -> Float[np.ndarray, "..."]:
    return ((rows / 255 - 0.5) * scale).astype(np.float32)


def read_weights(path: Path) -> Weights:
    """The weights of such a file; NcatoolError for one that is broken."""
    hint = "give a file as the article's player reads it: a list of two layers of bytes"
    try:
        first, second = json.loads(path.read_text(encoding="utf-8"))
        (w1, b1), (w2, b2) = (_decode_layer(layer) for layer in (first, second))
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise NcatoolError(f"{path} is no model of the article's: {type(error).__name__}", hint) from None
    if w1.shape[0] != w2.shape[1] or w1.shape[1] != 3 * w2.shape[0]:
        raise NcatoolError(f"{path}: layers of {w1.shape[::-1]} and {w2.shape[::-1]} do not fit each other", hint)
    return Weights(*map(torch.from_numpy, (w1, b1, w2, b2)))


def _decode_layer(layer: Mapping[str, Any]) -> tuple[Matrix, Vector]:
    inputs, outputs = int(layer["in_ch"]), int(layer["out_ch"])
    rows = np.frombuffer(base64.b64decode(layer["data_b64"], validate=True), np.uint8).reshape(inputs + 1, outputs)
    scales = float(layer["weight_scale"]), float(layer["bias_scale"])
    if not np.isfinite(scales).all():
        raise ValueError("a scale is not finite")
    return np.ascontiguousarray(_dequantise(rows[:-1], scales[0]).T), _dequantise(rows[-1], scales[1])


def run(model: ModelData, path: Path, fire: Fire) -> State:
    """The weights read back, by the dense rule."""
    return run_dense(dataclasses.replace(model, weights=read_weights(path)), fire)
