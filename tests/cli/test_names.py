"""A file's name works to the end, or is refused before anything runs."""

import os
import shutil
from pathlib import Path

import pytest

from ncatool import train
from ncatool.errors import UsageError
from tests.conftest import GOLDEN, SMALL, run_in_process

MEASURE = ["compare", GOLDEN, "--rollouts", 1, "--steps", 200]
# The name is given without its ending.
COMMANDS = {
    "train: target": ["train", *SMALL, "--target", "{}.png"],
    "train: model": ["train", *SMALL, "--target", "phantom", "--out", "{}.safetensors"],
    "train: start": ["train", "--target", "phantom", "--from", "{}.safetensors"],
    "train: settings": ["train", "--config", "{}.toml"],
    "resume: model": ["resume", "{}.safetensors"],
    "render: model": ["render", "{}.safetensors", "a.gif"],
    "render: animation": ["render", GOLDEN, "{}.gif"],
    "render: frames": ["render", GOLDEN, "{}/"],
    "render: mask": ["render", GOLDEN, "a.gif", "--damage", "{}.png@4"],
    "compare: model": ["compare", "{}.safetensors"],
    "compare: folder": ["compare", "{}/"],
    "compare: table": [*MEASURE, "--csv", "{}.csv"],
    "compare: sheet": [*MEASURE, "--picture", "{}.png"],
    "compare: page": [*MEASURE, "--report", "{}.html"],
    "compare: animation": [*MEASURE, "--animation", "{}.gif"],
    "export: model": ["export", "{}.safetensors", "a.npz"],
    "export: file": ["export", GOLDEN, "{}.npz"],
    "import: file": ["import", "{}.pt", "a.safetensors"],
    "import: model": ["import", "a.pt", "{}.safetensors"],
    "import: target": ["import", "a.pt", "a.safetensors", "--target", "{}.png"],
    "sweep: plan": ["sweep", "{}.toml"],
    "sweep: target": ["sweep", "--filter", "sobel,mean", "--target", "{}.png"],
    "sweep: folder": ["sweep", "--filter", "sobel,mean", "--target", "phantom", "--out", "{}"],
    "fetch: file": ["fetch", "chestmnist", "--from", "{}.npz"],
    "fetch: folder": ["fetch", "--root", "{}"],
}


def run(command, name):
    return run_in_process(*(str(word).format(name) for word in COMMANDS[command]))


@pytest.mark.parametrize("command", COMMANDS)
def test_a_name_that_is_not_utf8_is_refused(command):
    done = run(command, os.fsdecode(b"lat\xe9"))
    assert done.returncode == 2
    assert done.stderr.startswith(r"error: the name lat\udce9")
    assert "is not UTF-8" in done.stderr
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"fetch: folder"}))
def test_a_name_that_is_too_long_is_refused(command):
    shutil.copyfile(GOLDEN, "a.pt")
    done = run(command, "x" * 300)
    assert done.returncode in (1, 2), done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert "hint: " in done.stderr
    assert [path.name for path in Path().iterdir() if path.name not in ("a.pt", "home")] == []


@pytest.mark.parametrize("name", ["x" * 243, "é" * 121, "a\nerror: b", "a\x1b[31mb", " a ", "a*[0]{}%s"])
def test_other_names_work_to_the_end(name):
    model = f"{name}.safetensors"
    assert run_in_process("train", *SMALL, "--target", "phantom", "--out", model).returncode == 0
    assert run_in_process("resume", model, "--iterations", 8).returncode == 0
    done = run_in_process("render", model, f"{name}.gif", "--steps", 4)
    assert done.returncode == 0
    assert done.stdout.count("\n") == 8
    assert "\x1b" not in done.stdout
    again = run_in_process("train", "--config", f"{name}.toml", "--target", f"{name}.gif", "--out", "b.safetensors")
    assert again.returncode == 0, again.stderr


def test_the_library_refuses_such_names_as_well():
    for target, out in (("lat\udce9.png", "m.safetensors"), ("phantom", "m\udce9.safetensors")):
        with pytest.raises(UsageError, match="is not UTF-8"):
            train(target, out)


def test_a_model_of_such_a_name_in_a_folder():
    """Only the folder is given."""
    Path("models").mkdir()
    shutil.copyfile(GOLDEN, os.fsencode("models") + b"/m\xe9.safetensors")
    done = run_in_process("compare", "models")
    assert done.returncode == 1
    assert "not compared: " in done.stderr


def test_a_working_folder_of_such_a_name(monkeypatch):
    folder = Path(os.fsdecode(b"d\xe9"))
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert run_in_process("train", *SMALL, "--target", "phantom", "--out", "m.safetensors").returncode == 0
    assert run_in_process("resume", "m.safetensors", "--iterations", 8).returncode == 0
    done = run_in_process("compare", "m.safetensors", "--rollouts", 1, "--steps", 200, "--report", "a.html")
    assert done.returncode == 0
    done = run_in_process("sweep", *SMALL, "--target", "phantom", "--filter", "sobel,mean")
    assert done.returncode == 2, "its workers are given whole paths"
    assert "is not UTF-8" in done.stderr
    assert not Path("sweep").exists()
