"""The player, on a real pseudo-terminal with keys pressed."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ncatool


class Terminal:
    """ncatool on a terminal of 80 columns and 24 lines."""

    def __init__(self, *arguments):
        self.master, slave = pty.openpty()
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "COLUMNS": "80", "LINES": "24"}
        command = [sys.executable, "-m", "ncatool", *map(str, arguments)]
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=subprocess.PIPE, stderr=slave, env=environment, text=True
        )
        os.close(slave)
        self.drawn = ""

    def read(self, seconds):
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if not select.select([self.master], [], [], left)[0]:
                return
            try:
                self.drawn += os.read(self.master, 65536).decode(errors="replace")
            except OSError:
                return

    def until(self, pattern):
        end = time.monotonic() + 60
        while not re.search(pattern, self.drawn):
            assert time.monotonic() < end, self.drawn[-2000:]
            assert self.process.poll() is None, self.drawn[-2000:]
            self.read(0.05)

    def press(self, keys):
        os.write(self.master, keys.encode())

    def end(self):
        until = time.monotonic() + 60
        while self.process.poll() is None:
            assert time.monotonic() < until, self.drawn[-2000:]
            self.read(0.1)
        out, _ = self.process.communicate()
        self.read(0.2)
        os.close(self.master)
        return out

    def errors(self):
        return [float(number) for number in re.findall(r"MSE (\S+)", self.drawn)]

    def last_step(self):
        return int(re.findall(r"step (\d+)", self.drawn)[-1])


@pytest.fixture
def model(tmp_path):
    shutil.copy(Path(__file__).parents[1] / "golden" / "phantom.safetensors", tmp_path / "m.safetensors")
    return "m.safetensors"


def test_it_plays_damages_waits_and_stops(model):
    terminal = Terminal("render", model, "--fps", 50, "--every", 10, "--steps", 100_000)
    terminal.until(r"step 500 ")
    assert "▀" in terminal.drawn
    assert "\x1b[?1049h" in terminal.drawn, "on a screen of its own"
    assert re.search(r"38;2;\d+;\d+;\d+", terminal.drawn), "in true colour"
    assert "q stop" in terminal.drawn
    shown = terminal.errors()
    terminal.press("d")
    terminal.read(1)
    assert max(terminal.errors()[len(shown) :]) > 3 * shown[-1]
    terminal.press(" ")
    terminal.read(0.5)
    step = terminal.last_step()
    terminal.read(0.7)
    assert terminal.last_step() == step, "it waits"
    terminal.press(" ")
    terminal.until(rf"step {step + 10} ")
    terminal.press("q")
    out = terminal.end()
    assert terminal.process.returncode == 0
    assert "\x1b[?1049l" in terminal.drawn, "the terminal is given back"
    assert re.search(r"^mse ", out, re.MULTILINE)


def test_it_ends_by_itself_and_follows_a_script(model):
    terminal = Terminal(
        *("render", model, "--fps", 50, "--every", 20, "--steps", 80, "--damage", "left@60", "--hold", 0, "--json"),
        *("--view", "all"),
    )
    out = terminal.end()
    assert '"steps": 80' in out
    assert terminal.errors()[-2] > 1e-2, "just wounded"


def test_two_models_beside_each_other(model):
    shutil.copy(model, "other.safetensors")
    terminal = Terminal("render", model, "other.safetensors", "--steps", 10, "--hold", 0, "--fps", 50)
    out = terminal.end()
    assert terminal.process.returncode == 0
    assert [line.split()[0] for line in out.splitlines()] == ["model", "m", "other"]


def test_without_a_terminal_it_says_what_to_do(model):
    done = ncatool("render", model)
    assert done.returncode == 2
    assert done.stderr.startswith("error: there is no output file, and no terminal to play in")
    assert "OUT.gif" in done.stderr
