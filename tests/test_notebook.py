"""The README's example of a notebook, run by a real Jupyter kernel."""

import base64
import io
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from PIL import Image

README = (Path(__file__).parents[1] / "README.md").read_text()


def run_notebook(*sources):
    """Return the notebook's cells with their outputs."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    return notebook.cells


@pytest.fixture
def _root_on_the_path(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))


@pytest.mark.usefixtures("_root_on_the_path")
def test_the_readmes_example_runs_and_shows_the_model_growing():
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    first, cell = run_notebook("import sys, ncatool; print('torch' in sys.modules, dir(ncatool))", example)
    assert first.outputs[0].text == "False ['Model', 'load', 'train']\n"
    printed, shown = cell.outputs
    shape, mse = re.fullmatch(r"(\(.*\)) (.*)\n", printed.text).groups()
    assert shape == "(20, 20, 16)"
    assert float(mse) < 0.02
    assert shown.data["text/plain"] == "Model('tiny.safetensors': 20x20 cells, sobel filter, 16 channels)"
    with Image.open(io.BytesIO(base64.b64decode(shown.data["image/gif"]))) as image:
        assert image.n_frames > 20
        first_frame = np.asarray(image.convert("RGB"), int)
        image.seek(image.n_frames - 1)
        assert np.abs(np.asarray(image.convert("RGB"), int) - first_frame).mean() > 20, "it has grown"
    with Image.open("tiny.gif") as image:
        assert image.n_frames > 100
