"""What a run takes in memory: said before it starts, and refused where it cannot fit."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ncatool.config.schema import ModelConfig, RunConfig, TargetConfig, TrainConfig
from ncatool.errors import UsageError
from ncatool.nca.model_file import save_model
from ncatool.training.memory import check_memory, describe_memory, estimate_memory, read_machine_memory
from tests.conftest import SMALL, run_in_process, small_run
from tests.nca.test_model_file import make_model
from tests.resealed import read_parts, write_parts


def limited(*arguments, gigabytes):
    """Run a command in a process that may have so much memory."""

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (int(gigabytes * 1e9),) * 2)

    command = [sys.executable, "-m", "ncatool", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, preexec_fn=limit, env=dict(os.environ))


def large_run(**train):
    return RunConfig(target=TargetConfig(size=1024), train=TrainConfig(**train))


def test_the_pool_is_most_of_what_a_large_run_takes():
    assert 3 * 17e9 < estimate_memory(large_run(), (1024, 1024)) < 3 * 17.2e9 + 4e9
    assert estimate_memory(large_run(checkpoint=False), (1024, 1024)) < 17.2e9 + 4e9
    assert estimate_memory(small_run(), (12, 12)) < 0.5e9
    assert describe_memory(small_run(), (12, 12)) == ""
    assert "needs about 5" in describe_memory(large_run(), (1024, 1024))


def test_more_than_the_machine_has_is_refused():
    limit = read_machine_memory()
    assert 1e8 < limit <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with pytest.raises(UsageError, match="this machine has") as caught:
        check_memory(large_run(pool_size=65536), (1024, 1024))
    assert "--pool-size" in caught.value.hint
    assert "--size" in caught.value.hint
    fitting = int(caught.value.hint.split()[2])
    check_memory(large_run(pool_size=fitting), (1024, 1024))
    with pytest.raises(UsageError) as caught:
        check_memory(
            RunConfig(model=ModelConfig(channels=256), train=TrainConfig(batch_size=4096, pool_size=4096)), (1024, 1024)
        )
    assert caught.value.hint == "give a smaller --size"


@pytest.mark.parametrize("command", ["train", "sweep"])
def test_a_command_says_it_before_it_starts(command):
    """In a process that may have 8 GB a run of 14 GB is refused before anything is written."""
    name = "m.safetensors" if command == "train" else "runs"
    seeds = ["--seed", "0,1"] if command == "sweep" else []
    large = ["--target", "phantom", "--size", 512, "--pool-size", 256, "--batch-size", 4]
    done = limited(command, *large, *seeds, "--out", name, gigabytes=8)
    assert done.returncode == 2, done.stderr
    assert "takes about 14." in done.stderr
    assert "this machine has 8.0 GB" in done.stderr
    assert "hint: give --pool-size 115 or less" in done.stderr
    assert not list(Path().rglob("*.safetensors"))


def test_a_run_of_more_than_a_gigabyte_says_so():
    large = ["--target", "phantom", "--size", 128, "--steps", "1-1", "--iterations", 1, "--no-checkpoint"]
    done = run_in_process("train", *large, "--batch-size", 1, "--pool-size", 3000, "--channels", 4, "--hidden", 2)
    assert done.returncode == 0, done.stderr
    assert "needs about 1.2 GB of memory" in done.stderr


def test_a_resumed_run_is_checked_too():
    assert run_in_process("train", *SMALL, "--target", "phantom", "--checkpoint-every", 2, "-q").returncode == 0
    tensors, tables = read_parts("phantom.checkpoint")
    tables["facts"]["train"] |= {"regime": "growing", "batch_size": 4096}
    tables["facts"]["model"]["channels"] = 16
    tables["facts"]["model"]["hidden"] = 4
    tables["target"]["padding"] = tables["facts"]["target"]["padding"] = 507
    shapes = {"hidden.weight": (4, 48), "hidden.bias": (4,), "output.weight": (16, 4)}
    weights = [torch.zeros(shape) for shape in shapes.values()]
    tensors |= {f"weights.{name}": torch.zeros(shape) for name, shape in shapes.items()}
    tensors |= {f"guard.0.weights.{i}": weight for i, weight in enumerate(map(torch.clone, weights))}
    moments = {name: name.split(".") for name in tensors if name.startswith("optimiser.") and "step" not in name}
    tensors |= {name: torch.zeros_like(weights[int(parts[1])]) for name, parts in moments.items()}
    write_parts(
        "phantom.checkpoint", {**tensors, "pool": torch.zeros(0, 1024, 1024, 16), "seed": torch.ones(1, 1, 16)}, tables
    )
    done = run_in_process("resume", "phantom.safetensors", "--iterations", 8)
    assert done.returncode == 2, done.stderr
    assert "of 1024x1024 cells" in done.stderr
    assert "this machine has" in done.stderr


def test_memory_that_runs_out_is_one_line():
    """A state of 1024x1024 cells and 256 channels takes 1 GB, and rendering it several."""
    save_model(Path("m.safetensors"), make_model(channels=256, hidden=8))
    done = limited("render", "m.safetensors", "m.gif", "--grid", "1024x1024", "--steps", 2, gigabytes=3)
    assert done.returncode == 1
    assert "error: out of memory: " in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("m.gif").exists()
