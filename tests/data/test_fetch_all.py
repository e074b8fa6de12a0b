"""From a server to a trained model and its rendering, for every 2D set, as a shell script would."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.site import FLAGS, INFO

SCRIPT = """
ncatool() { "$PYTHON" -m ncatool "$@"; }
ncatool fetch "$@" --quiet
for flag in "$@"; do
    ncatool train --target "$flag" --iterations 20 --out "$flag.safetensors" --quiet
    ncatool render "$flag.safetensors" "$flag.gif" --steps 40 --quiet
done
"""


def test_every_set_becomes_a_target_in_one_script(site):
    done = subprocess.run(
        ["bash", "-euc", SCRIPT, "script", *FLAGS],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHON": sys.executable},
    )
    assert done.returncode == 0, done.stderr
    for flag in FLAGS:
        assert Path(f"{flag}.gif").stat().st_size
        record = tomllib.loads(Path(f"{flag}.toml").read_text())["target"]
        assert (record["flag"], record["split"], record["index"], record["pixels"]) == (flag, "train", 0, 28)
        assert record["meaning"]
        assert record["licence"] == INFO[flag]["license"]
        assert len(record["sha256"]) == 64
