"""Every table and bar on a real terminal (tmux) of 60, 80 and 120 columns, as text: look at them.

Run: python -m tests.benchmarks.screens [FOLDER] [NAME...]

With a folder, each screen is also written there, as NAME-WIDTH.txt (and .ansi, with colours). It needs tmux.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.site import serve_folder, write_set

WIDTHS = (60, 80, 120)
ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "phantom.safetensors"
SERVER = f"ncatool-screens-{os.getpid()}"
END = "END-OF-COMMAND"
TINY = "--target phantom --size 10 --hidden 16 --iterations 12 --steps 8-12 --device cpu"
PATIENCE = 25.0
"""Seconds after which a screen is kept although its pattern is not found: what it looks for may be cut off."""
SHORT = "--rollouts 2 --steps 200 --device cpu"


class Screen(NamedTuple):
    """A command, and what must be seen before the screen is kept: by default, its end."""

    command: str
    until: str = END
    keys: str = ""
    """Pressed before, one after the other."""
    lines: int = 50


SCREENS = {
    "train-bar": Screen("train --target phantom --out bar.safetensors -f --device cpu", r"\n.* (2\d\d|1\d\d\d)/2.?800"),
    "train-preview": Screen(
        "train --target phantom --out pre.safetensors -f --device cpu --preview", r"\n.* (2\d\d|1\d\d\d)/2.?800"
    ),
    "train-preview-24": Screen(
        "train --target phantom --size 64 --out pre.safetensors -f --device cpu --preview",
        r"\n.* \d\d/6.?400",
        lines=24,
    ),
    "train-end": Screen(f"train {TINY} --out end.safetensors -f"),
    "train-json": Screen(f"train {TINY} --out end.safetensors -f --json"),
    "resume-end": Screen("resume end.safetensors --iterations 20"),
    "fetch-list": Screen("fetch --list"),
    "fetch-bar": Screen("fetch pathmnist --root new --mirror {url}", "pathmnist .*/"),
    "fetch-end": Screen("fetch pathmnist bloodmnist --root data --from {files}/pathmnist.npz"),
    "fetch-sets": Screen("fetch pathmnist --root data2 --mirror {url}"),
    "render-bar": Screen("render m.safetensors bar.gif -f --steps 20000 --device cpu", r"/10.?001"),
    "render-end": Screen("render m.safetensors end.gif -f --steps 100 --device cpu"),
    "render-several": Screen("render m.safetensors end.safetensors several.gif -f --steps 100 --device cpu"),
    "compare-bar": Screen("compare m.safetensors end.safetensors --device cpu", r"(?m)\d+/6.?400"),
    "compare-one": Screen(f"compare m.safetensors {SHORT}"),
    "compare-two": Screen(f"compare m.safetensors end.safetensors {SHORT}"),
    "compare-many": Screen(f"compare many {SHORT}"),
    "compare-psnr": Screen(f"compare many {SHORT} --metric psnr"),
    "sweep-dry-run": Screen(f"sweep {TINY} --filter sobel,scharr --loss l1,l2 --damage both --out dry --dry-run"),
    "sweep-bar": Screen(
        "sweep --target phantom --filter sobel,scharr --loss l1,l2 --damage both --out bars --device cpu",
        r"\n.* \d\d\d+/\d+",
    ),
    "sweep-end": Screen(f"sweep {TINY} --filter sobel,scharr --loss l1,l2 --out swept --force"),
    "sweep-no-compare": Screen(f"sweep {TINY} --filter sobel,scharr --loss l1,l2 --out swept2 --no-compare --force"),
    "export-end": Screen("export m.safetensors page.npz -f"),
    "player": Screen("render m.safetensors --device cpu", r"step [2-9]\d\d", lines=24),
    "player-two": Screen("render m.safetensors end.safetensors --device cpu", r"step [2-9]\d\d", lines=24),
}


def tmux(*words):
    return subprocess.run(["tmux", "-L", SERVER, *words], capture_output=True, text=True, check=True).stdout


@contextmanager
def keep_server():
    """Keep a server of tmux between screens; it is not the user's, and reads no settings."""
    tmux("-f", os.devnull, "new-session", "-d", "sleep 3600")
    try:
        yield
    finally:
        tmux("kill-server")


def prepare(folder):
    """Models to look at, and a set of a size that a bar can be seen for."""
    shutil.copy(GOLDEN, folder / "m.safetensors")
    (folder / "files").mkdir()
    tiles = np.random.default_rng(0).integers(0, 256, (400, 28, 28, 3), np.uint8)
    write_set(folder / "files" / "pathmnist.npz", "pathmnist", tiles)
    run = [sys.executable, "-m", "ncatool"]
    plan = "--filter sobel,scharr,gaussian --loss l1,manhattan --damage both --out many --no-compare --quiet"
    for command in (f"train {TINY} --out end.safetensors --quiet", f"sweep {TINY} {plan}"):
        subprocess.run([*run, *command.split()], cwd=folder, check=True, env=make_environment(), capture_output=True)


def make_environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", "COLORTERM": "truecolor"}


def capture(screen, width, folder):
    """What stands on the terminal when the pattern is found, without and with colours."""
    words = [sys.executable, "-m", "ncatool", *screen.command.split()]
    shell = f"cd {shlex.quote(str(folder))}; {shlex.join(words)}; echo {END}; sleep 600"
    tmux("new-session", "-d", "-s", "s", "-x", str(width), "-y", str(screen.lines), shell)
    try:
        until = time.monotonic() + PATIENCE
        while not re.search(screen.until, text := tmux("capture-pane", "-p", "-t", "s")):
            if time.monotonic() > until or END in text:
                break
            time.sleep(0.1)
        for key in screen.keys:
            tmux("send-keys", "-t", "s", key)
            time.sleep(0.4)
        time.sleep(0.3)
        return [clean(tmux("capture-pane", "-p", *more, "-t", "s")) for more in ((), ("-e",))]
    finally:
        tmux("kill-session", "-t", "s")


def clean(text):
    return text.replace(END, "").rstrip() + "\n"


def main():
    words = sys.argv[1:]
    kept = Path(words[0]) if words else None
    chosen = {name: SCREENS[name] for name in words[1:] or SCREENS}
    os.environ.update(make_environment())
    with tempfile.TemporaryDirectory() as name, keep_server():
        folder = Path(name)
        prepare(folder)
        with serve_folder(folder / "files") as site:
            for title, screen in chosen.items():
                for width in WIDTHS:
                    site.faults[:] = ["pause"] if title == "fetch-bar" else []
                    command = screen.command.format(url=site.mirror, files=folder / "files")
                    text, coloured = capture(screen._replace(command=command), width, folder)
                    print(f"── {title} at {width}: ncatool {screen.command}\n{text}", flush=True)
                    if kept is not None:
                        kept.mkdir(parents=True, exist_ok=True)
                        (kept / f"{title}-{width}.txt").write_text(text)
                        (kept / f"{title}-{width}.ansi").write_text(coloured)


if __name__ == "__main__":
    main()
