"""From a server to a trained model and its animation, for every 2D set."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import run_in_process
from tests.site import FLAGS, INFO

SCRIPT = """
ncatool() { "$PYTHON" -m ncatool "$@"; }
ncatool fetch "$@" --quiet
for flag in "$@"; do
    ncatool train --target "$flag" --iterations 20 --out "$flag.safetensors" --quiet
    ncatool render "$flag.safetensors" "$flag.gif" --steps 40 --quiet
done
"""
IN_SCRIPT = ["chestmnist", "bloodmnist"]
"""A grey set with several labels a sample, and a coloured one with one."""


def check_files(flag):
    assert Path(f"{flag}.gif").stat().st_size
    record = tomllib.loads(Path(f"{flag}.toml").read_text())["target"]
    assert (record["flag"], record["split"], record["index"], record["pixels"]) == (flag, "train", 0, 28)
    assert record["meaning"]
    assert record["licence"] == INFO[flag]["license"]
    assert len(record["sha256"]) == 64


def test_sets_become_targets_in_a_shell_script(site):
    done = subprocess.run(
        ["bash", "-euc", SCRIPT, "script", *IN_SCRIPT],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHON": sys.executable},
    )
    assert done.returncode == 0, done.stderr
    for flag in IN_SCRIPT:
        check_files(flag)


SMALL_MODEL = [
    *("--channels", 6, "--hidden", 10, "--batch-size", 2, "--pool-size", 4, "--steps", "4-8", "--damaged", 1),
    *("--iterations", 6),
]


@pytest.mark.parametrize("flag", [flag for flag in FLAGS if flag not in IN_SCRIPT])
def test_every_other_set_becomes_a_target(site, flag):
    for arguments in (
        ["fetch", flag],
        ["train", "--target", flag, *SMALL_MODEL, "--out", f"{flag}.safetensors"],
        ["render", f"{flag}.safetensors", f"{flag}.gif", "--steps", 40],
    ):
        done = run_in_process(*arguments, "--quiet")
        assert done.returncode == 0, done.stderr
    check_files(flag)
