"""A run that is killed at any moment loses nothing: it ends with the same bytes."""

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.conftest import SMALL, ncatool

KILLS = 30
FLAGS = [*SMALL, "--target", "phantom", "--pool-size", 512, "--iterations", 2000, "--checkpoint-every", 3, "--quiet"]
"""Half of the time goes into checkpoints, so that half of the kills hit one."""


def begin(*arguments):
    command = [sys.executable, "-m", "ncatool", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def version(path):
    return path.stat().st_mtime_ns if path.exists() else 0


def stop_at_random(process, checkpoint, number, chance):
    """Waits until the process writes checkpoints, then a random moment, then stops it; whether it was still running."""
    before = version(checkpoint)
    while version(checkpoint) == before and process.poll() is None:
        time.sleep(0.001)
    time.sleep(chance.uniform(0, 0.25))
    process.send_signal(number)
    process.communicate(timeout=60)
    return process.returncode == number_of(number)


def number_of(number):
    return {signal.SIGKILL: -9, signal.SIGINT: 130, signal.SIGTERM: 143}[number]


def moment(files):
    """What a killed process was doing, by what lies about."""
    names = [path.name for path in files.iterdir()]
    for name in names:
        if name.endswith(".partial"):
            return f"writing {'.'.join(name.split('.')[1:-2])}"
    newest = max((files / "m.checkpoint.safetensors", files / "m.toml"), key=version)
    return "between two files" if newest.name.startswith("m.checkpoint") else "training"


def same(a, b):
    """Weights, curve, and every tensor of the checkpoint, pool and random state included."""
    for ending in (".safetensors", ".csv"):
        assert Path(f"{a}{ending}").read_bytes() == Path(f"{b}{ending}").read_bytes()
    one, other = load_file(f"{a}.checkpoint.safetensors"), load_file(f"{b}.checkpoint.safetensors")
    assert one.keys() == other.keys()
    assert all(one[name].numpy().tobytes() == other[name].numpy().tobytes() for name in one)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    path = tmp_path_factory.mktemp("straight") / "m"
    done = ncatool("train", *FLAGS, "--out", f"{path}.safetensors")
    assert done.returncode == 0, done.stderr
    return path


@pytest.mark.parametrize(
    ("numbers", "kills"), [([signal.SIGKILL], KILLS), ([signal.SIGINT, signal.SIGTERM], 6)], ids=["KILL", "INT, TERM"]
)
def test_stopped_at_random_moments(straight, tmp_path, numbers, kills):
    chance = random.Random(kills)
    checkpoint = Path("m.checkpoint.safetensors")
    moments = Counter()
    process = begin("train", *FLAGS, "--out", "m.safetensors")
    for i in range(kills):
        number = numbers[i % len(numbers)]
        assert stop_at_random(process, checkpoint, number, chance), "it ended too early: give it more iterations"
        moments[moment(tmp_path)] += 1
        process = begin("resume", "m.safetensors", "--quiet")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    print(f"{kills} times stopped: {dict(moments)}")
    same(straight, tmp_path / "m")
    assert not list(tmp_path.glob(".*.partial")), "what was half-written is gone"
    assert not list(tmp_path.glob(".*.lock"))


def test_killed_before_it_could_begin(tmp_path):
    process = begin("train", *FLAGS, "--out", "m.safetensors")
    while not Path("m.checkpoint.safetensors").exists():
        time.sleep(0.001)
    process.kill()
    process.communicate()
    assert ncatool("resume", "m.safetensors", "--iterations", 10, "--quiet").returncode == 0


def test_one_writer_a_run(tmp_path):
    process = begin("train", *FLAGS, "--iterations", 10**6, "--out", "m.safetensors")
    while not Path("m.safetensors").exists():
        time.sleep(0.01)
    for arguments in (["resume", "m.safetensors"], ["train", *FLAGS, "--out", "m.safetensors", "--force"]):
        done = ncatool(*arguments)
        assert done.returncode == 1
        assert f"process {process.pid} is writing m.safetensors" in done.stderr
    process.kill()
    process.communicate()
    assert list(tmp_path.glob(".*.lock")), "the dead process's lock is there, and holds nobody up"
    process = begin("resume", "m.safetensors")
    before = version(Path("m.toml"))
    while version(Path("m.toml")) == before:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
