"""Numbers that no option can have end in one line."""

from pathlib import Path

import pytest

from ncatool.nca.model_file import save_model
from tests.conftest import run_in_process
from tests.nca.test_model_file import make_model

NUMBERS = ["-1", "1e30", "9" * 30, "9" * 5000, "nan", "inf", "x", ""]
OPTIONS = {
    "train": ["size", "padding", "iterations", "learning-rate", "batch-size", "pool-size", "channels", "hidden",
              "steps", "threads", "seed", "margin", "fire-rate", "threshold", "damaged", "checkpoint-every"],
    "sweep": ["size", "jobs", "most", "threads", "seed", "learning-rate"],
    "render m.safetensors m.gif": ["threads", "seed", "steps", "scale", "grid", "at"],
    "compare m.safetensors": ["threads", "seed", "rollouts", "steps"],
    "resume m.safetensors": ["iterations", "threads", "checkpoint-every"],
    "export m.safetensors m.npz": ["rollout"],
    "import m.json n.safetensors": ["size", "padding", "fire-rate", "threshold"],
    "fetch chestmnist --random": ["seed", "retries", "timeout", "size", "show"],
}  # fmt: skip


@pytest.mark.parametrize("command", OPTIONS)
def test_numbers_out_of_range(command):
    save_model(Path("m.safetensors"), make_model())
    for option in OPTIONS[command]:
        for number in NUMBERS:
            done = run_in_process(*command.split(), f"--{option}={number}", "-q")
            assert done.returncode in (1, 2), (option, number)
            errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
            assert len(errors) == 1, (option, number[:40], done.stderr[:500])
