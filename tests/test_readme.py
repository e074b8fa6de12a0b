"""The README: every command in it runs, in its order, in an empty folder; it is short, and knows every command."""

import re
import shlex
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import run_in_process
from tests.pictures import draw_all
from tests.test_structure import ROOT, commands

PICTURES = ROOT / "docs" / "images"
TEXT = (ROOT / "README.md").read_text()
SHELL_BLOCKS = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
SET_UP = "python3 -m venv "
SHORT = {
    "TRAIN": {"ITERATIONS": 6, "BATCH_SIZE": 2, "POOL_SIZE": 4, "STEPS": "4-8", "DAMAGED": 1},
    "SWEEP": {
        "ITERATIONS": 2,
        "BATCH_SIZE": 2,
        "POOL_SIZE": 4,
        "STEPS": "4-8",
        "DAMAGED": 1,
        "JOBS": 1,
        "COMPARE": "no",
    },
    "COMPARE": {"ROLLOUTS": 1, "STEPS": 200},
}  # fmt: skip
"""What makes the commands quick, without a change to them."""


def list_commands():
    """Return every command of ours in the blocks, in their order, as words."""
    for block in SHELL_BLOCKS:
        for line in block.replace("\\\n", " ").splitlines():
            for command in line.split(" && "):
                words = shlex.split(command, comments=True)
                if words[:1] == ["ncatool"]:
                    yield words[1:]


def test_every_line_is_a_command_of_ours_or_sets_up():
    for block in SHELL_BLOCKS:
        for line in block.splitlines():
            assert line.startswith(("ncatool ", SET_UP)), line
            assert not set(line.replace("&&", "")) & set("|><;&$`"), "test_every_command_runs reads no shell"
    assert TEXT.count(SET_UP) == 2, "one to use it, one to test it"


def test_every_command_runs(site, monkeypatch):
    """In one empty folder, one after the other; only what the web has comes from a server of our own."""
    monkeypatch.setenv("NCATOOL_FETCH_MIRROR", site.url)
    for command, settings in SHORT.items():
        for name, value in settings.items():
            monkeypatch.setenv(f"NCATOOL_{command}_{name}", str(value))
    ran = []
    for words in list_commands():
        done = run_in_process(*words)
        assert done.returncode == 0, f"{shlex.join(words)}: {done.stderr}"
        assert "Traceback" not in done.stderr
        ran.append(words[0])
    assert set(ran) >= {"demo", "fetch", "train", "resume", "info", "render", "export", "compare", "sweep"}


def test_it_is_short():
    assert len(TEXT.encode()) <= 12_000


@pytest.mark.parametrize("name", sorted(commands()))
def test_it_names_every_command(name):
    assert f"ncatool {name}" in TEXT


def test_it_mentions_no_flag_that_does_not_exist():
    known = {
        flag
        for command in commands().values()
        for parameter in command.params
        for flag in parameter.opts + parameter.secondary_opts
    }
    known |= {"--help", "--version", "--install-completion", "--show-completion"}
    known |= {"--nworkers", "--nthreads"}  # of Dask
    for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]+", TEXT):
        assert flag in known, flag


def test_its_pictures_can_be_made_anew(browser, tmp_path, monkeypatch):
    """By the script that made them, with short trainings."""
    for name, value in {**SHORT["TRAIN"], "ITERATIONS": 400}.items():
        monkeypatch.setenv(f"NCATOOL_TRAIN_{name}", str(value))
    for name, value in SHORT["COMPARE"].items():
        monkeypatch.setenv(f"NCATOOL_COMPARE_{name}", str(value))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    folder = tmp_path / "images"
    folder.mkdir()
    draw_all(folder, browser, reached=lambda text: re.search(r"[1-9]\d?/400", text))
    assert {path.name for path in folder.iterdir()} == {path.name for path in PICTURES.iterdir()}
    for path in folder.glob("*.png"):
        with Image.open(path) as image, Image.open(PICTURES / path.name) as kept:
            assert abs(image.width - kept.width) <= 0.2 * kept.width
            assert len(image.getcolors(10**6)) > 20, "it shows something"


def test_its_pictures_are_there():
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", TEXT)
    assert len(pictures) >= 6
    for name in pictures:
        assert (ROOT / name).is_file(), name
    assert {Path(name).name for name in pictures} == {path.name for path in PICTURES.iterdir()}
