"""Peak memory and time of taking one sample from a large npz, first and last, compressed and not.

Each in a process of its own, beside a process that only imports what is needed.
Run: python -m tests.benchmarks.sample
"""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

FLAG, SIZE, SAMPLES = "pathmnist", 224, 6700
"""About 1 GB of pixels."""


def write(path, compression):
    """Noise over a gradient: compresses about as badly as photographs do."""
    generator = np.random.default_rng(0)
    base = np.linspace(0, 200, SIZE, dtype=np.uint8)[None, :, None, None]
    with zipfile.ZipFile(path, "w", compression, compresslevel=1) as file:
        for split, count in (("train", SAMPLES), ("val", 4), ("test", 4)):
            with file.open(f"{split}_images.npy", "w", force_zip64=True) as entry:
                description = {"descr": "|u1", "fortran_order": False, "shape": (count, SIZE, SIZE, 3)}
                np.lib.format.write_array_header_1_0(entry, description)
                for _ in range(0, count, 100):
                    block = base + generator.integers(0, 50, (min(100, count), SIZE, SIZE, 3), dtype=np.uint8)
                    entry.write(block.tobytes())
            with file.open(f"{split}_labels.npy", "w") as entry:
                np.lib.format.write_array(entry, np.zeros((count, 1), np.uint8))


def measure(root, index):
    """What a process of its own says: seconds and peak memory in MB."""
    code = "from pathlib import Path; from ncatool.data import medmnist, npz, sample_spec\n"
    if index is not None:
        code += f"medmnist.read_sample(sample_spec.parse_spec('{FLAG}@{SIZE}:train:{index}'), Path({str(root)!r}))"
    script = f"import time; start = time.monotonic()\n{code}\nimport resource\n"
    script += "print(time.monotonic() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return map(float, done.stdout.split())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{FLAG}_{SIZE}.npz"
        print("file           size      sample  seconds  peak memory")
        for name, compression in (("stored", zipfile.ZIP_STORED), ("compressed", zipfile.ZIP_DEFLATED)):
            write(path, compression)
            for index in (None, 0, SAMPLES - 1):
                seconds, memory = measure(Path(folder), index)
                what = "none" if index is None else index
                print(f"{name:<12} {path.stat().st_size / 1e6:6.0f} MB  {what!s:>6}  {seconds:7.2f}  {memory:6.0f} MB")


if __name__ == "__main__":
    main()
