"""`.onnx`: one step, or a rollout that draws its own fire masks (the extra `onnx`)."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from ncatool.errors import NcatoolError
from ncatool.formats.common import Fire, describe_model, seed_state
from ncatool.formats.pt2 import StepModule, dynamic_shapes, example_inputs
from ncatool.nca.model_file import ModelData
from ncatool.nca.types import State

OPSET = 18
KEY = "ncatool"
"""Of the metadata that holds the settings, as JSON."""


def _import_onnx() -> Any:
    try:
        import onnx
        import onnxruntime  # noqa: F401 - asked for before any work is done
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise NcatoolError(
            f".onnx needs the package {error.name}, which is not installed", "pip install 'ncatool[onnx]'"
        ) from None
    return onnx


@contextlib.contextmanager
def _silence_exporter() -> Iterator[None]:
    """The exporter tells its steps on stdout, and of what does not concern this model."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def write(model: ModelData, record: Mapping[str, Any], name: str, path: Path) -> None:
    """Inputs `state` [batch, height, width, channel] float32 and `fire` [batch, height, width] bool; output `next`."""
    onnx = _import_onnx()
    with _silence_exporter():
        program = torch.onnx.export(
            StepModule(model),
            example_inputs(model),
            dynamo=True,
            opset_version=OPSET,
            input_names=["state", "fire"],
            output_names=["next"],
            dynamic_shapes=dynamic_shapes(),
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    onnx.helper.set_model_props(proto, {KEY: json.dumps(describe_model(model, record, name))})
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())


def write_rollout(model: ModelData, path: Path, steps: int) -> None:
    """Makes the file's step the body of a loop: `state` in, the state after so many steps out.

    Each step draws its own fire mask; the step itself is the one that was checked.
    """
    onnx = _import_onnx()
    helper, kinds = onnx.helper, onnx.TensorProto
    single = onnx.load_model_from_string(path.read_bytes())
    graph = single.graph
    draw = [
        helper.make_node("Gather", ["state", "alpha_index"], ["alpha"], axis=3),
        helper.make_node("RandomUniformLike", ["alpha"], ["drawn"], low=0.0, high=1.0, dtype=kinds.FLOAT),
        helper.make_node("Less", ["drawn", "fire_rate"], ["fire"]),
        helper.make_node("Identity", ["go"], ["go_on"]),
    ]
    (state,) = (value for value in graph.input if value.name == "state")
    body = helper.make_graph(
        [*draw, *graph.node],
        "step",
        [
            helper.make_tensor_value_info("number", kinds.INT64, []),
            helper.make_tensor_value_info("go", kinds.BOOL, []),
            state,
        ],
        [helper.make_tensor_value_info("go_on", kinds.BOOL, []), graph.output[0]],
    )
    constants = [
        *graph.initializer,
        helper.make_tensor("alpha_index", kinds.INT64, [], [3]),
        helper.make_tensor("fire_rate", kinds.FLOAT, [], [model.config.fire_rate]),
        helper.make_tensor("steps", kinds.INT64, [], [steps]),
        helper.make_tensor("always", kinds.BOOL, [], [True]),
    ]
    loop = helper.make_node("Loop", ["steps", "always", "start"], ["final"], body=body)
    sides = ["batch", "height", "width", model.config.channels]
    whole = helper.make_graph(
        [loop],
        "rollout",
        [helper.make_tensor_value_info("start", kinds.FLOAT, sides)],
        [helper.make_tensor_value_info("final", kinds.FLOAT, sides)],
        constants,
    )
    rollout = helper.make_model(whole, opset_imports=single.opset_import, ir_version=single.ir_version)
    rollout.metadata_props.extend(single.metadata_props)
    onnx.checker.check_model(rollout)
    path.write_bytes(rollout.SerializeToString())
    _check_rollout(model, path)


def _check_rollout(model: ModelData, path: Path) -> None:
    """Runs the loop once: what it makes must be finite."""
    (final,) = _open_session(path).run(None, {"start": seed_state(model).numpy()})
    if not torch.isfinite(torch.from_numpy(final)).all():
        raise NcatoolError("the exported rollout ends in values that are not finite", "export a trained model")


def _open_session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])


def run(model: ModelData, path: Path, fire: Fire) -> State:
    """By onnxruntime."""
    session = _open_session(path)
    state = seed_state(model).numpy()
    for mask in fire.numpy():
        (state,) = session.run(None, {"state": state, "fire": mask})
    return torch.from_numpy(state)
