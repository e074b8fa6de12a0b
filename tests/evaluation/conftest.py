"""A folder of models to compare."""

from pathlib import Path

import pytest

from ncatool.config.names import Filter
from tests.evaluation.saved_models import save_with_record


@pytest.fixture
def runs():
    """Three models and a broken one."""
    save_with_record("runs/a.safetensors", loss="l1")
    save_with_record("runs/deep/b.safetensors", regime="regenerating", weights=0.5)
    save_with_record("runs/c.safetensors", filter=Filter.MEAN)
    save_with_record("runs/a.checkpoint.safetensors")
    Path("runs/broken.safetensors").write_bytes(b"not a model")
    return Path("runs")
