"""A run that is stopped at any moment, or whose disk fails, ends after `resume` with the same bytes."""

import random
import signal
import time
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from safetensors.torch import load_file

from ncatool.files import lock
from tests.conftest import SMALL, replace_flags, run_in_process
from tests.files import faults
from tests.fork_server import ForkServer

TRAIN = ["train", *SMALL, "--target", "phantom", "--threads", 1, "--quiet", "--out", "m.safetensors"]
CHECKPOINT = Path("m.checkpoint")


@pytest.fixture(scope="module")
def server():
    with ForkServer() as server:
        yield server


def read_run(folder):
    """What must be equal: the model, the curve, and every tensor of the checkpoint, pool and random state included."""
    tensors = load_file(folder / CHECKPOINT)
    files = {name: (folder / name).read_bytes() for name in ("m.safetensors", "m.csv")}
    return files | {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


def train_undisturbed(server, folder, *arguments, **options):
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        done = server.run(*arguments, **options)
    assert done.returncode == 0, done.output
    return read_run(folder)


def find_leftovers(folder):
    return [path.name for path in folder.glob(".*")]


# Long enough for seven stops; half of the time goes into checkpoints, so that half of the stops hit one.
LONG = replace_flags(TRAIN, pool_size=512, iterations=200, checkpoint_every=3)


def get_version(path):
    return path.stat().st_mtime_ns if path.exists() else 0


def wait_for_write(path, child):
    before = get_version(path)
    while get_version(path) == before:
        assert child.is_running(), child.wait().output
        time.sleep(0.001)


def describe_moment(folder):
    """What a killed process was doing, by the files that it left."""
    for path in folder.glob(".*.partial"):
        return f"writing {'.'.join(path.name.split('.')[1:-2])}"
    newest = max((folder / CHECKPOINT, folder / "m.toml"), key=get_version)
    return "between two files" if newest.name == CHECKPOINT.name else "training"


STOPS = [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)]


def test_stopped_at_random_moments(server, tmp_path, tmp_path_factory):
    expected = train_undisturbed(server, tmp_path_factory.mktemp("long") / "run", *LONG)
    chance = random.Random(7)
    moments = Counter()
    child = server.start(*LONG)
    for number, code in [STOPS[i] for i in (0, 0, 1, 0, 2, 0, 0)]:
        wait_for_write(CHECKPOINT, child)
        time.sleep(chance.uniform(0, 0.03))
        child.send_signal(number)
        done = child.wait()
        assert done.returncode == code, f"it ended too early: give it more iterations; {done.output}"
        moments[describe_moment(tmp_path)] += 1
        child = server.start("resume", "m.safetensors", "--quiet")
    done = child.wait()
    assert done.returncode == 0, done.output
    print(f"stopped: {dict(moments)}")
    assert read_run(tmp_path) == expected
    assert find_leftovers(tmp_path) == []


# Three saves: before the first iteration, after the second, at the end.
SHORT = replace_flags(TRAIN, iterations=3, checkpoint_every=2)


@pytest.fixture(scope="module")
def short_run(server, tmp_path_factory):
    """Files of the run, and its operations as pairs of name and file."""
    folder = tmp_path_factory.mktemp("short") / "run"
    expected = train_undisturbed(server, folder, *SHORT, fault={"kind": "log"})
    return expected, [line.split(" ") for line in (folder / faults.LOG).read_text().splitlines()]


def test_the_operations_of_a_run(short_run):
    """Each file is written, flushed and renamed, and its folder flushed, in this order."""
    names = [name for name, file in short_run[1] if not file.endswith(".lock")]
    assert names == ["write", "fsync", "replace", "fsync", "unlink"] * 11


def select_operations(operations, kind):
    """Numbers of the operations at which a fault differs from one at the operation before."""
    names = ["write"] if kind == "full" else ["write", "fsync", "replace"]
    for number, (name, file) in enumerate(operations):
        # An atomic write removes its temporary file only where it has failed.
        if name in names or (kind == "die" and file.endswith(".lock")):
            yield number


@pytest.mark.parametrize("kind", ["die", "fail", "full"])
def test_a_fault_at_every_operation(server, short_run, tmp_path, monkeypatch, kind):
    expected, operations = short_run
    for number in select_operations(operations, kind):
        folder = tmp_path / str(number)
        folder.mkdir()
        monkeypatch.chdir(folder)
        place = f"{kind} at operation {number}: {operations[number]}"
        done = server.run(*SHORT, fault={"kind": kind, "number": number})
        if kind == "die":
            assert done.returncode == faults.DEATH, place
        else:
            assert done.returncode == 1, place
            assert "cannot be written: " in done.output, place
            assert "Traceback" not in done.output, place
            assert find_leftovers(folder) == [], place
        check_whole_files(folder)
        again = ["resume", "m.safetensors", "--quiet"] if CHECKPOINT.exists() else SHORT
        done = server.run(*again, fault={"kind": "log"})
        assert done.returncode == 0, f"{place}\n{done.output}"
        assert read_run(folder) == expected, place
        assert find_leftovers(folder) == [], place
        assert tomllib.loads((folder / "m.toml").read_text())["result"]["iterations"] == 3, place


def check_whole_files(folder):
    """Nothing that has its final name is half a file."""
    for path in folder.glob("m.*"):
        content = path.read_bytes()
        if path.suffix == ".safetensors" or path.name == CHECKPOINT.name:
            load_file(path)
        elif path.suffix == ".toml":
            assert "result" in tomllib.loads(content.decode())
        elif path.suffix == ".csv":
            assert content.endswith(b"\n")
            assert {line.count(b",") for line in content.splitlines()} == {4}
        else:
            assert content == b"picture"


def test_killed_before_it_could_begin(server):
    child = server.start(*LONG)
    while not CHECKPOINT.exists():
        time.sleep(0.001)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert server.run("resume", "m.safetensors", "--iterations", 10, "--quiet").returncode == 0


def test_one_writer_a_run(server, tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "LOCK_TIMEOUT", 0.1)
    child = server.start(*replace_flags(LONG, iterations=10**6))
    wait_for_write(Path("m.safetensors"), child)
    for arguments in (["resume", "m.safetensors"], [*LONG, "--force"]):
        done = run_in_process(*arguments)
        assert done.returncode == 1
        assert f"process {child.pid} is writing m.safetensors" in done.stderr
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert list(tmp_path.glob(".*.lock")), "the lock of the dead process is there, and stops nobody"
    child = server.start("resume", "m.safetensors")
    wait_for_write(Path("m.toml"), child)
    child.send_signal(signal.SIGINT)
    assert child.wait().returncode == 130
