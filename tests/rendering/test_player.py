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

import numpy as np
import pytest

from ncatool.rendering.half_blocks import fit_picture
from ncatool.rendering.player import KEYS, wrap_parts
from tests.conftest import ncatool


class Terminal:
    """ncatool on a terminal, of 80 columns and 24 lines where no other size is given."""

    def __init__(self, *arguments, columns=80):
        self.master, slave = pty.openpty()
        size = {"COLUMNS": str(columns), "LINES": "24"}
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **size}
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


def press_and_wait(terminal, key, pattern):
    """Press a key, and return what is drawn until the pattern is found in it."""
    start = len(terminal.drawn)
    terminal.press(key)
    end = time.monotonic() + 30
    while not re.search(pattern, terminal.drawn[start:]):
        assert time.monotonic() < end, terminal.drawn[-2000:]
        terminal.read(0.05)
    return terminal.drawn[start:]


def test_keys_restart_and_choose_speed_view_and_brush(model):
    terminal = Terminal("render", model, "--fps", 25, "--every", 10, "--steps", 100_000)
    terminal.until(r"step 300 ")
    press_and_wait(terminal, "r", r"step 0 ")
    terminal.until(r"step 300 ")
    press_and_wait(terminal, " ", "paused")
    for key, pattern in (
        ("v", "view alpha"), ("v", "view hidden"), ("V", "view alpha"), ("V", "view rgba"), ("V", "view all"),
        ("b", "brush circle "), ("b", "brush left"), ("B", "brush circle "), ("+", "speed 2 "), ("-", "speed 1 "),
        ("-", "speed 1/2 "),
    ):  # fmt: skip
        press_and_wait(terminal, key, pattern)
    press_and_wait(terminal, "b", "brush left")
    press_and_wait(terminal, "d", "step")
    press_and_wait(terminal, " ", r"step \d+ ")
    terminal.read(0.6)
    assert max(terminal.errors()[-10:]) > 1e-2, "the left half is gone"
    terminal.press("q")
    terminal.end()
    assert terminal.process.returncode == 0


@pytest.mark.parametrize("columns", [30, 60, 80, 120])
def test_the_status_is_never_cut(columns, model):
    shutil.copy(model, "other.safetensors")
    terminal = Terminal("render", model, "other.safetensors", "--steps", 10, "--hold", 0, columns=columns)
    terminal.end()
    assert "…" not in terminal.drawn
    for part in ("step 10", "MSE ", "view rgba", "brush circle anywhere", "speed 1", *KEYS):
        assert part in terminal.drawn


@pytest.mark.parametrize("width", [8, 20, 40, 60, 80, 200])
def test_parts_are_wrapped_between_each_other(width):
    parts = ["step 1000", "MSE 6.2e-05  1.8e+09", "view rgba", *KEYS]
    lines = wrap_parts(parts, width)
    assert max(map(len, lines)) <= width
    assert "".join("".join(lines).split()) == "".join("".join(parts).split())
    if width >= 20:
        assert all(any(part in line for line in lines) for part in parts)


@pytest.mark.parametrize(
    ("shape", "room", "expected"),
    [
        ((28, 28), (79, 40), (79, 79)),
        ((28, 28), (28, 40), (28, 28)),
        ((28, 28), (60, 28), (56, 56)),
        ((28, 28), (200, 7), (14, 14)),
        ((100, 50), (20, 40), (40, 20)),
        ((4, 4), (200, 200), (32, 32)),
        ((1, 300), (30, 30), (1, 30)),
    ],
)
def test_a_picture_takes_the_room_there_is(shape, room, expected):
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    fitted = fit_picture(picture, *room)
    assert fitted.shape == (*expected, 3)
    if expected == (56, 56):
        assert (fitted[::2, ::2] == picture).all(), "cells are squares"


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
