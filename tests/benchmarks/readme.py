"""The README pasted as a new user would: a fresh virtual environment, an empty folder, every command in its order.

Run: python -m tests.benchmarks.readme

Only the training is shortened, through the environment, and sets come from a server of our own. Prints the seconds of
each command, and those from Enter to the first moving picture of the demonstration, the first time and again.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.conftest import DATA
from tests.site import serve_folder, write_set
from tests.terminal import Terminal
from tests.test_readme import SHELL_BLOCKS, SHORT

ROOT = Path(__file__).parents[2]


def run(command, folder, environment):
    """Run a line in bash; print its exit code and seconds."""
    start = time.monotonic()
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    print(f"{done.returncode}  {time.monotonic() - start:6.1f} s  {command}", flush=True)
    if done.returncode:
        print(done.stdout[-2000:], done.stderr[-2000:])
    return done.returncode


def measure_first_picture(python, folder, environment):
    start = time.monotonic()
    with Terminal("demo", python=python, cwd=folder, env=environment) as terminal:
        terminal.read_until(lambda text: "step 1 " in text)
        return time.monotonic() - start


def make_environment(place, site):
    """The environment of a user, with short trainings and a catalogue of small sets."""
    short = {f"NCATOOL_{command}_{name}": str(value) for command, some in SHORT.items() for name, value in some.items()}
    own = {"HOME": str(place / "home"), "XDG_CACHE_HOME": str(place / "cache"), "NCATOOL_FETCH_MIRROR": site.url}
    path = {"PATH": f"{place / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(place / "catalogue")}
    return {**os.environ, **short, **own, **path}


def main():
    failures = 0
    with tempfile.TemporaryDirectory() as name, serve_folder(Path(name)) as site:
        place = Path(name)
        tiles = np.tile(np.load(DATA / "tiles.npz")["bloodmnist"], (50, 1, 1, 1))
        write_set(place / "bloodmnist.npz", "bloodmnist", tiles)
        site.write_catalogue(place / "catalogue")
        environment = make_environment(place, site)
        empty = place / "empty"
        empty.mkdir()
        failures += run(f"python3 -m venv {place}/venv && pip install -q {ROOT}", empty, environment) != 0
        for _ in range(3):
            seconds = measure_first_picture(place / "venv" / "bin" / "python", empty, environment)
            print(f"{seconds:.2f} s from Enter to a moving picture")
        for line in "".join(SHELL_BLOCKS).splitlines():
            commands = [one for one in line.split(" && ") if one.startswith("ncatool")]
            failures += sum(run(one, empty, environment) != 0 for one in commands)
    sys.exit(f"{failures} commands failed" if failures else 0)


if __name__ == "__main__":
    main()
