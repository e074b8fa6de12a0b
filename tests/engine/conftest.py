"""Settings of torch that these tests change, and that are as before after each of them."""

import pytest
import torch

from ncatool.engine import compiled


@pytest.fixture(autouse=True)
def _one_thread_of_torch(monkeypatch):
    """Torch's threads wait busily for each other, which is slow where several test processes share the cores."""
    before = torch.get_num_threads()
    monkeypatch.setattr(compiled, "_threads", None)
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    torch.set_flush_denormal(False)
