"""What an error tells to do can be done: flags that it names are flags of that command."""

import re
import shutil
from pathlib import Path

import pytest
import typer
from PIL import Image

from ncatool.cli.main import app
from tests.conftest import GOLDEN, SMALL, run_in_process

COMMANDS = typer.main.get_command(app).commands
FLAGS = {
    name: {flag for parameter in command.params for flag in [*parameter.opts, *parameter.secondary_opts, "--help"]}
    for name, command in COMMANDS.items()
}


def find_unknown_flags(command, message):
    """Flags in a message that the command it speaks of does not have: after `ncatool NAME` that is another one."""
    unknown, current = [], command
    for word in re.findall(r"ncatool \w+|(?<![\w-])--[a-z][a-z-]*", message):
        if word.startswith("ncatool "):
            current = word.split()[1]
        elif word not in FLAGS[current]:
            unknown.append(word)
    return unknown


def test_the_check_bites():
    assert find_unknown_flags("resume", "hint: give --out NAME.safetensors") == ["--out"]
    assert find_unknown_flags("resume", "hint: train anew: ncatool train --from MODEL --seed 3") == []
    assert find_unknown_flags("render", "hint: pip install --user, ncatool resume --force") == ["--user", "--force"]


@pytest.fixture
def wrong_files():
    """A file of each kind that somebody may name by mistake."""
    shutil.copy(GOLDEN, "m.safetensors")
    Image.new("RGB", (8, 8)).save("p.png")
    Image.new("RGB", (8, 8), "red").save("p.gif")
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save("clear.png")
    Path("t.toml").write_text("a = 1\n")
    Path("broken.toml").write_text("a = [")
    Path("t.csv").write_text("a,b\n")
    Path("m.pt").write_bytes(b"\x80\x02}q\x00.")
    Path("empty.safetensors").write_bytes(b"")
    Path("text.safetensors").write_text("hello")
    Path("folder.safetensors").mkdir()
    Path("folder").mkdir()


NAMES = [
    "m.safetensors", "p.png", "p.gif", "clear.png", "t.toml", "broken.toml", "t.csv", "m.pt", "empty.safetensors",
    "text.safetensors", "folder.safetensors", "folder", "nowhere.safetensors", "nowhere.png", "nowhere", "",
]  # fmt: skip
CALLS = {
    "train": [
        ["--target", "NAME"], ["--out", "NAME"], ["--from", "NAME"], ["--config", "NAME"], ["--tensorboard", "NAME"]
    ],
    "resume": [["NAME"]],
    "sweep": [["NAME"], ["--target", "NAME", "--out", "s"], ["--from", "NAME", "--out", "s"], ["--out", "NAME"]],
    "render": [["NAME", "a.gif"], ["m.safetensors", "NAME"], ["m.safetensors", "a.gif", "--damage", "NAME@3"]],
    "compare": [["NAME"], ["m.safetensors", "--csv", "NAME"], ["m.safetensors", "--report", "NAME"]],
    "export": [["NAME", "a.npz"], ["m.safetensors", "NAME"]],
    "import": [["NAME", "o.safetensors"], ["m.pt", "NAME"], ["m.pt", "o.safetensors", "--target", "NAME"]],
    "fetch": [["chestmnist", "--from", "NAME"], ["NAME"], ["chestmnist", "--pick", "train:0", "NAME"]],
}  # fmt: skip
SHORT = {
    "train": [*SMALL[:-2], "--iterations", "1"],
    "sweep": [*SMALL[:-2], "--iterations", "1", "--dry-run"],
    "render": ["--steps", "4"],
    "compare": ["--steps", "1", "--rollouts", "1"],
    "import": ["--filter", "sobel"],
    "fetch": ["--mirror", "http://127.0.0.1:9", "--retries", "0"],
}


@pytest.mark.parametrize(("command", "call"), [(command, call) for command, calls in CALLS.items() for call in calls])
def test_a_wrong_file_gets_a_hint_that_fits_the_command(command, call, wrong_files):
    for name in NAMES:
        arguments = [argument.replace("NAME", name) for argument in call]
        given = {argument for argument in arguments if argument.startswith("--")}
        short = SHORT.get(command, [])
        kept = [word for i, word in enumerate(short) if word not in given and (i == 0 or short[i - 1] not in given)]
        done = run_in_process(command, *arguments, *kept)
        place = (command, arguments, done.stderr)
        assert "Traceback" not in done.stderr, place
        if done.returncode:
            assert "hint:" in done.stderr, place
            assert find_unknown_flags(command, done.stderr) == [], place


def test_resume_and_import_name_the_file_that_they_want(wrong_files):
    done = run_in_process("resume", "m.pt")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: m.pt does not end in .safetensors", "hint: give a name such as m.safetensors"
    ]  # fmt: skip
    done = run_in_process("import", "m.pt", "model.pt", "--filter", "sobel", "-q")
    assert done.stderr.splitlines() == [
        "error: model.pt does not end in .safetensors", "hint: give a name such as model.safetensors"
    ]  # fmt: skip
