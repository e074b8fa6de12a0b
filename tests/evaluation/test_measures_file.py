"""The file that keeps a model's measures: all of them come back, and only where everything is as it was."""

import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from ncatool.config.schema import ModelConfig, TargetConfig
from ncatool.data.targets import load_target
from ncatool.evaluation.measures import measure_model
from ncatool.evaluation.measures_file import describe_basis, has_measures, locate_measures, pack_measures, read_measures
from ncatool.evaluation.models import MEASURES
from ncatool.evaluation.protocol import Protocol
from ncatool.nca.model_file import ModelData, save_model
from ncatool.nca.weights import Weights

PROTOCOL = Protocol(rollouts=2, steps=200)
MODEL, FILE = Path("m.safetensors"), Path(".m.measures")


@pytest.fixture(scope="module")
def model():
    """One that explodes: its measures hold infinities and numbers that are none."""
    config = ModelConfig(channels=4, hidden=3)
    weights = Weights(torch.full((3, 12), 3.0), torch.ones(3), torch.full((4, 3), 3.0))
    return ModelData(weights, config, load_target(TargetConfig(size=4)))


@pytest.fixture(scope="module")
def measures(model):
    return measure_model(model, PROTOCOL)


@pytest.fixture
def basis(model, measures):
    save_model(MODEL, model)
    basis = describe_basis(MODEL, PROTOCOL, "cpu", "dense")
    FILE.write_bytes(pack_measures(measures, basis))
    return basis


def read(basis):
    return read_measures(FILE, basis, (4, 4), PROTOCOL)


def test_everything_comes_back(basis, measures):
    assert locate_measures(MODEL) == FILE
    again = read(basis)
    assert again.exploded == 1
    for get in MEASURES.values():
        assert get(again) == get(measures) or np.isnan(get(again)).any()
    for field in dataclasses.fields(measures.trajectory):
        one, other = (getattr(one.trajectory, field.name) for one in (measures, again))
        if field.name == "snapshots":
            assert list(one) == list(other) == [20, 60, 96, 200]
            one, other = np.stack(list(one.values())), np.stack(list(other.values()))
        assert one.dtype == other.dtype
        assert np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    assert again.variation.count == measures.variation.count == 2
    assert np.array_equal(again.variation.mean, measures.variation.mean, equal_nan=True)
    assert np.array_equal(again.variation.squares, measures.variation.squares, equal_nan=True)
    for shape, result in measures.damage.items():
        assert np.array_equal(result.mse, again.damage[shape].mse)
        assert np.array_equal(result.snapshots, again.damage[shape].snapshots, equal_nan=True)
    assert pack_measures(again, basis) == FILE.read_bytes()


def test_another_model_protocol_device_engine_or_version_is_another_basis(basis, model):
    protocols = (Protocol(rollouts=3, steps=200), Protocol(rollouts=2, steps=201), Protocol(rollouts=2, seed=1))
    others = [describe_basis(MODEL, protocol, "cpu", "dense") for protocol in protocols]
    others += [describe_basis(MODEL, PROTOCOL, "cuda", "dense"), describe_basis(MODEL, PROTOCOL, "cpu", "compiled")]
    others += [basis | {"torch": "0.1"}, basis | {"machine": "pdp11"}]
    save_model(MODEL, dataclasses.replace(model, weights=model.weights._replace(hidden_bias=torch.zeros(3))))
    others.append(describe_basis(MODEL, PROTOCOL, "cpu", "dense"))
    assert has_measures(FILE, basis)
    for other in others:
        assert not has_measures(FILE, other)
        assert read(other) is None


def test_a_file_of_an_earlier_version_is_made_anew(basis, measures):
    earlier = {name: value for name, value in basis.items() if name != "contents"}
    FILE.write_bytes(pack_measures(measures, earlier))
    assert not has_measures(FILE, basis)
    assert read(basis) is None


def change_bytes():
    content = bytearray(FILE.read_bytes())
    content[-5] ^= 1
    FILE.write_bytes(content)


def replace_by(make):
    FILE.unlink()
    make(FILE)


DAMAGE = {
    "missing": FILE.unlink,
    "empty": lambda: FILE.write_bytes(b""),
    "rubbish": lambda: FILE.write_bytes(b"{" * 1000),
    "truncated": lambda: FILE.write_bytes(FILE.read_bytes()[:-9]),
    "changed": change_bytes,
    "a model": lambda: shutil.copy(MODEL, FILE),
    "a folder": lambda: replace_by(Path.mkdir),
    "a pipe": lambda: replace_by(os.mkfifo),
    "a link to itself": lambda: replace_by(lambda path: path.symlink_to(path.name)),
    "a link to nothing": lambda: replace_by(lambda path: path.symlink_to("nothing")),
    "a device": lambda: replace_by(lambda path: path.symlink_to("/dev/zero")),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_is_no_file_of_measures_is_none(kind, basis):
    DAMAGE[kind]()
    assert read(basis) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda trajectory: {"mse": trajectory.mse[:, :-1]},
        lambda trajectory: {"mse": np.full_like(trajectory.mse, np.nan)},
        lambda trajectory: {"mse": -trajectory.mse - 1},
        lambda trajectory: {"change": trajectory.change.astype(np.float64)},
        lambda trajectory: {"dead": trajectory.dead.astype(np.uint8)},
        lambda trajectory: {"snapshots": {**trajectory.snapshots, 7: trajectory.snapshots[20].copy()}},
        lambda trajectory: {"snapshots": {step: picture[:2] for step, picture in trajectory.snapshots.items()}},
        lambda trajectory: {"snapshots": {}},
    ],
)
def test_a_sealed_file_of_other_contents_is_none(change, basis, measures):
    trajectory = object.__new__(type(measures.trajectory))  # the type checker would refuse it
    for field in dataclasses.fields(measures.trajectory):
        value = change(measures.trajectory).get(field.name, getattr(measures.trajectory, field.name))
        object.__setattr__(trajectory, field.name, value)
    forged = object.__new__(type(measures))
    for field in dataclasses.fields(measures):
        object.__setattr__(forged, field.name, getattr(measures, field.name))
    object.__setattr__(forged, "trajectory", trajectory)
    FILE.write_bytes(pack_measures(forged, basis))
    assert has_measures(FILE, basis)
    assert read(basis) is None
