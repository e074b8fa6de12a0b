"""What the tests of sweeps share: a sweep of twelve small runs, and what its folder tells."""

import subprocess
import sys
import time
import tomllib
from pathlib import Path

from tests.conftest import SMALL

BASE = [word for i, word in enumerate(SMALL) if "--iterations" not in (word, SMALL[i - 1])]
TWELVE = [*BASE, "--target", "phantom", "--filter", "sobel,scharr,mean", "--loss", "l1,l2", "--damage", "both"]
ITERATIONS = 120
"""Of the undisturbed sweep: enough for a kill to hit a run while it is training."""
DISTURBED = ["sweep", *TWELVE, "--iterations", ITERATIONS, "--no-compare"]
ENDLESS = ["sweep", *TWELVE, "--iterations", 10**5, "--no-compare"]
QUICK = ["--iterations", 4, "--no-compare"]
IN_PROCESS = [*QUICK, "--vectorise"]
"""Trains in this process, without starting another."""


def begin(*arguments, **options):
    command = [sys.executable, "-m", "ncatool", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def weights(folder="sweep"):
    paths = Path(folder).glob("*.safetensors")
    return {path.name: path.read_bytes() for path in paths}


def curves(folder="sweep"):
    return {path.name: path.read_bytes() for path in Path(folder).glob("*.csv") if path.stem != "summary"}


def history(folder="sweep"):
    """The events in each run's record."""
    records = {path.stem: tomllib.loads(path.read_text()) for path in Path(folder).glob("*.toml")}
    return {name: [one["event"] for one in record["history"]] for name, record in records.items() if name != "sweep"}


def count_checkpoints(folder="sweep"):
    return len(list(Path(folder).glob("*.checkpoint")))


def count_finished(folder="sweep"):
    """The number of runs that are finished: the picture is the file that a run writes last."""
    return len(list(Path(folder).glob("*.curve.png")))


def wait_until(condition, process=None, seconds=90):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        if process is not None and process.poll() is not None:
            raise AssertionError(process.communicate())
        time.sleep(0.02)
