"""`.onnx`: one step, or a whole rollout that draws its own fire masks (needs the extra `onnx`)."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from ncatool.config.schema import ModelConfig
from ncatool.errors import NcatoolError
from ncatool.formats.common import describe_model, make_seed_states
from ncatool.formats.pt2 import StepModule, make_dynamic_shapes, make_example_inputs
from ncatool.nca.model_file import ModelData
from ncatool.nca.types import Fire, State

OPSET_VERSION = 18
AXES = ("batch", "height", "width")
"""Names of the axes whose length is free."""
METADATA_KEY = "ncatool"
"""Key under which the file's metadata hold the settings, as JSON."""


def _import_onnx() -> Any:
    """Return the package onnx; NcatoolError where it or another that the export needs is not installed."""
    try:
        import onnx
        import onnxruntime  # noqa: F401 - imported here so that the export fails before it starts
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise NcatoolError(
            f".onnx needs the package {error.name}, which is not installed", "pip install 'ncatool[onnx]'"
        ) from None
    return onnx


@contextlib.contextmanager
def _silence_exporter() -> Iterator[None]:
    """Suppress the progress lines of torch's exporter and its warnings, none of which concern this model."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def write(model: ModelData, record: Mapping[str, Any], name: str, path: Path) -> None:
    """Write one step as an ONNX graph; its metadata hold the settings as JSON, with the seeds of several pictures.

    Inputs: `state` [batch, height, width, channel] float32 and `fire` [batch, height, width] bool. Output: `next`.
    """
    onnx = _import_onnx()
    with _silence_exporter():
        program = torch.onnx.export(
            StepModule(model),
            make_example_inputs(model),
            dynamo=True,
            opset_version=OPSET_VERSION,
            input_names=["state", "fire"],
            output_names=["next"],
            dynamic_shapes=make_dynamic_shapes(),
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    _name_axes(proto.graph)
    onnx.helper.set_model_props(proto, {METADATA_KEY: json.dumps(describe_model(model, record, name))})
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())


def _name_axes(graph: Any) -> None:
    """Name the free axes of all values, which torch numbers: `s40`, or `s34 + 2` within the step."""
    names: dict[str, str] = {}
    for value in graph.input:
        symbols = (size.dim_param for size in value.type.tensor_type.shape.dim)
        names.update({symbol: name for symbol, name in zip(symbols, AXES, strict=False) if symbol})
    for value in (*graph.input, *graph.output, *graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = re.sub(r"[A-Za-z_]\w*", lambda match: names.get(match[0], match[0]), size.dim_param)


def write_rollout(model: ModelData, path: Path, steps: int) -> None:
    """Replace the one step in the file by a loop of `steps` steps, from input `start` to output `final`.

    Each iteration draws its own fire mask, then runs the file's step unchanged.
    """
    onnx = _import_onnx()
    one_step = onnx.load_model_from_string(path.read_bytes())
    graph = _make_rollout_graph(onnx, one_step.graph, model.config, steps)
    rollout = onnx.helper.make_model(graph, opset_imports=one_step.opset_import, ir_version=one_step.ir_version)
    rollout.metadata_props.extend(one_step.metadata_props)
    onnx.checker.check_model(rollout)
    path.write_bytes(rollout.SerializeToString())
    _check_rollout(model, path)


def _make_rollout_graph(onnx: Any, step_graph: Any, config: ModelConfig, steps: int) -> Any:
    """Return a graph whose only node is the loop."""
    helper, types = onnx.helper, onnx.TensorProto
    shape = [*AXES, config.channels]
    loop = helper.make_node(
        "Loop", ["steps", "true", "start"], ["final"], body=_make_loop_body(helper, types, step_graph)
    )
    return helper.make_graph(
        [loop],
        "rollout",
        [helper.make_tensor_value_info("start", types.FLOAT, shape)],
        [helper.make_tensor_value_info("final", types.FLOAT, shape)],
        [
            *step_graph.initializer,
            helper.make_tensor("alpha_index", types.INT64, [], [3]),
            helper.make_tensor("fire_rate", types.FLOAT, [], [config.fire_rate]),
            helper.make_tensor("steps", types.INT64, [], [steps]),
            helper.make_tensor("true", types.BOOL, [], [True]),
        ],
    )


def _make_loop_body(helper: Any, types: Any, step_graph: Any) -> Any:
    """Return the graph of one iteration: draw `fire`, one number for each cell, then the step."""
    nodes = [
        helper.make_node("Gather", ["state", "alpha_index"], ["alpha"], axis=3),
        helper.make_node("RandomUniformLike", ["alpha"], ["random"], low=0.0, high=1.0, dtype=types.FLOAT),
        helper.make_node("Less", ["random", "fire_rate"], ["fire"]),
        helper.make_node("Identity", ["condition"], ["next_condition"]),
        *step_graph.node,
    ]
    (state,) = (value for value in step_graph.input if value.name == "state")
    inputs = [
        helper.make_tensor_value_info("iteration", types.INT64, []),
        helper.make_tensor_value_info("condition", types.BOOL, []),
        state,
    ]
    outputs = [helper.make_tensor_value_info("next_condition", types.BOOL, []), step_graph.output[0]]
    return helper.make_graph(nodes, "step", inputs, outputs)


def _check_rollout(model: ModelData, path: Path) -> None:
    """Run the loop once from the seeds; NcatoolError where a value of the result is not finite."""
    (final,) = _open_session(path).run(None, {"start": make_seed_states(model).numpy()})
    if not torch.isfinite(torch.from_numpy(final)).all():
        raise NcatoolError("the exported rollout ends in values that are not finite", "export a trained model")


def _open_session(path: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])


def run(model: ModelData, path: Path, fire: Fire) -> State:
    """Return the states that onnxruntime computes from the seeds with these fire masks."""
    session = _open_session(path)
    state = make_seed_states(model).numpy()
    for mask in fire.numpy():
        (state,) = session.run(None, {"state": state, "fire": mask})
    return torch.from_numpy(state)
