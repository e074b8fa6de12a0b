"""The seed in exported files: all cells of one of several, and nothing new of the plain one cell."""

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from ncatool.config.names import Boundary, ExportFormat, Filter, SeedCells
from ncatool.data.target import Target
from ncatool.errors import NcatoolError
from ncatool.formats import c_header
from ncatool.formats.common import make_seed_states
from ncatool.formats.exporting import export_model
from ncatool.nca.model_file import save_model
from ncatool.nca.seed import make_seed
from tests.benchmarks.parity import lively
from tests.conftest import run_in_process
from tests.formats.test_exporting import RUNNABLE, golden


def grow_from_three(model, radius=2.0):
    return dataclasses.replace(model, own_seed=make_seed(model.config.channels, SeedCells.THREE, radius))


@pytest.mark.parametrize("boundary", Boundary)
def test_three_seed_cells(boundary, tmp_path):
    """Each file computes what the model does, and says from which cells: as arrays, in C, or in its description."""
    model = grow_from_three(lively(8, 12, Filter.LAPLACIAN, boundary))
    for form in set(RUNNABLE) - {ExportFormat.JSON}:
        found = export_model(model, {}, "m", tmp_path / f"m.{form}", form)
        assert found.difference is not None
        assert found.difference < 1e-5, form
    expected = [
        {"row": -2, "column": 0, "channels": [1, 0, 0, 1, 1, -1, -1, 1]},
        {"row": 1, "column": -2, "channels": [0, 0, 1, 1, -1, -1, 1, -1]},
        {"row": 1, "column": 2, "channels": [0, 1, 0, 1, -1, 1, -1, -1]},
    ]
    (entry,) = onnx.load(tmp_path / "m.onnx").metadata_props
    assert json.loads(entry.value)["seed"] == expected
    extra = {"ncatool.json": ""}
    torch.export.load(tmp_path / "m.pt2", extra_files=extra)
    assert json.loads(extra["ncatool.json"])["seed"] == expected
    with np.load(tmp_path / "m.npz") as arrays:
        assert arrays["seed"].shape == (5, 5, 8)
        assert arrays["seed"][0, 2].tolist() == expected[0]["channels"]
        assert json.loads(str(arrays["settings"]))["seed"] == expected
    text = (tmp_path / "m.h").read_text()
    assert "grows a picture from 3 cells, exported" in text
    assert "static const int nca_m_seed_cells[3] = {170, 228, 232};" in text, "of 20 x 20, around 10, 10"


def test_a_rollout_of_onnx_starts_from_any_seed(tmp_path):
    model = grow_from_three(golden())
    export_model(model, {}, "m", tmp_path / "m.onnx", ExportFormat.ONNX, rollout=3)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    (final,) = session.run(None, {"start": make_seed_states(model).numpy()})
    assert (np.abs(final).sum(axis=-1) > 0).sum() > 3


def test_a_seed_across_an_edge(tmp_path):
    """On a grid that wraps and is smaller than the seed, what lies beyond an edge comes in at the opposite one."""
    model = lively(8, 12, Filter.MEAN, Boundary.WRAP)
    model = grow_from_three(dataclasses.replace(model, target=Target(np.full((4, 7, 4), 200, np.uint8), 0)), 3)
    assert len(model.place_seeds(1).any(dim=-1).nonzero()) == 3
    for form in (ExportFormat.NPZ, ExportFormat.H):
        assert export_model(model, {}, "m", tmp_path / f"m.{form}", form).difference < 1e-5, form


def test_the_check_covers_the_seed_of_a_header(tmp_path, monkeypatch):
    model = grow_from_three(golden())
    monkeypatch.setattr(c_header, "_OTHER_SEED", c_header._PLAIN_SEED)
    with pytest.raises(NcatoolError, match=r"\.h differs from the model by"):
        export_model(model, {}, "m", tmp_path / "m.h", ExportFormat.H)


def test_one_plain_cell_is_exported_as_ever(tmp_path):
    """What earlier versions wrote: no file says more of the seed than it did."""
    for form in (ExportFormat.ONNX, ExportFormat.NPZ, ExportFormat.H):
        export_model(golden(), {}, "m", tmp_path / f"m.{form}", form)
    with np.load(tmp_path / "m.npz") as arrays:
        assert "seed" not in arrays
        assert "seed" not in json.loads(str(arrays["settings"]))
    (entry,) = onnx.load(tmp_path / "m.onnx").metadata_props
    assert "seed" not in json.loads(entry.value)
    lines = (tmp_path / "m.h").read_text().splitlines(keepends=True)
    assert lines[0] == "/* A neural cellular automaton that grows a picture from one cell, exported by ncatool.\n"
    code = "".join(line for line in lines[1:] if not line.startswith(" * "))  # the rest names the version
    assert hashlib.sha256(code.encode()).hexdigest().startswith("edd82f13662c48d2")


@pytest.mark.parametrize(
    ("seed", "cells"), [(make_seed(16, SeedCells.THREE), "3 cells"), (torch.ones(1, 1, 16), "one of its own")]
)
def test_the_articles_format_has_no_place_for_a_seed(seed, cells):
    save_model(Path("m.safetensors"), dataclasses.replace(golden(), own_seed=seed))
    done = run_in_process("export", "m.safetensors", "m.json", "-q")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"error: the article's player grows from one plain cell, but this model from {cells}",
        "hint: choose another format, such as .npz",
    ]
    assert not list(Path().glob("m.json*"))
