"""The model that `ncatool demo` shows, trained anew with the default recipe and damage.

Run: python -m tests.demo_model   (four minutes; writes ncatool/rendering/demo.safetensors)

Its target is an eosinophil of BloodMNIST (CC BY 4.0), one of the tiles in tests/data; see SOURCES.md there.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from ncatool.rendering.demo import DEMO_MODEL

TILE = 3


def main():
    tiles = np.load(Path(__file__).parent / "data" / "tiles.npz")["bloodmnist"]
    with tempfile.TemporaryDirectory() as folder:
        Image.fromarray(tiles[TILE]).save(Path(folder) / "eosinophil.png")
        command = [sys.executable, "-m", "ncatool", "train", "--target", "eosinophil.png", "--damage"]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        subprocess.run([*command, "--out", "demo.safetensors"], cwd=folder, check=True, env=environment)
        shutil.copyfile(Path(folder) / "demo.safetensors", DEMO_MODEL)


if __name__ == "__main__":
    main()
