"""Damaged pictures of all kinds: what they raise, the memory that they take, and the time.

Good files of every kind that a target may be are mutated at random (bytes flipped, cut off, repeated, set to 255 or 0,
most of them near the beginning), and read as `train` reads them. Prints for each kind how many could still be read,
how many were refused, and what escaped as a traceback; the slowest file; and the largest memory of a process.
Run: python -m tests.benchmarks.damaged_files [--count 10000] [--seed 0] [--jobs 2]
"""

import argparse
import gzip
import io
import itertools
import multiprocessing
import resource
import tempfile
import time
import traceback
import zipfile
from collections import Counter, defaultdict
from pathlib import Path

import nibabel
import numpy as np
import tifffile
from PIL import Image
from pydicom.data import get_testdata_file

from ncatool.config.schema import TargetConfig
from ncatool.data.targets import load_target
from ncatool.errors import NcatoolError

PICTURES = {
    "png": "PNG", "jpg": "JPEG", "gif": "GIF", "webp": "WEBP", "bmp": "BMP", "tga": "TGA", "ppm": "PPM", "ico": "ICO",
    "icns": "ICNS", "pcx": "PCX", "sgi": "SGI", "dds": "DDS", "jp2": "JPEG2000", "avif": "AVIF", "im": "IM",
    "msp": "MSP", "spider": "SPIDER", "blp": "BLP", "mpo": "MPO", "qoi": "QOI", "eps": "EPS",
}  # fmt: skip
DICOM = (
    "CT_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_jpeg_ls_lossless.dcm",
    "MR_small_jp2klossless.dcm", "SC_rgb_jpeg_dcmtk.dcm", "SC_rgb_rle_2frame.dcm", "examples_palette.dcm",
    "liver_1frame.dcm", "rtdose.dcm",
)  # fmt: skip


def make_files():
    """Good files by name: (ending, content)."""
    rng = np.random.default_rng(3)
    grey = rng.integers(0, 256, (32, 32)).astype(np.uint8)
    colour = Image.fromarray(np.stack([grey, grey.T, grey[::-1]], axis=-1))
    files = {}
    for ending, form in PICTURES.items():
        image = {"MSP": colour.convert("1"), "SPIDER": colour.convert("F"), "BLP": colour.convert("P")}.get(
            form, colour
        )
        buffer = io.BytesIO()
        try:
            image.save(
                buffer, form, **({"save_all": True, "append_images": [colour]} if form in ("GIF", "MPO") else {})
            )
        except (OSError, ValueError, KeyError):  # a format that this Pillow does not write
            continue
        files[form] = (ending, buffer.getvalue())
    exif = Image.Exif()
    exif[0x0112] = 6
    files["JPEG with EXIF"] = ("jpg", save(lambda file: colour.save(file, "JPEG", exif=exif)))
    files["PNG of 16 bits"] = (
        "png",
        save(lambda file: Image.fromarray(grey.astype(np.uint16) * 100).save(file, "PNG")),
    )
    deep = rng.normal(size=(3, 32, 32)).astype(np.float32)
    files["TIFF"] = ("tif", save(lambda file: tifffile.imwrite(file, deep, photometric="minisblack")))
    files["TIFF, deflate"] = (
        "tif",
        save(lambda file: tifffile.imwrite(file, deep[0], compression="zlib", tile=(16, 16))),
    )
    files["TIFF, LZW"] = ("tif", save(lambda file: colour.save(file, "TIFF", compression="tiff_lzw")))
    files["npy"] = ("npy", save(lambda file: np.save(file, deep)))
    files["npz"] = ("npz", save(lambda file: np.savez_compressed(file, a=deep)))
    scan = nibabel.Nifti1Image((deep * 100).astype(np.int16), np.eye(4)).to_bytes()
    files["NIfTI"], files["NIfTI, gzip"] = ("nii", scan), ("nii.gz", gzip.compress(scan))
    files["NIfTI-2"] = ("nii", nibabel.Nifti2Image(deep, np.eye(4)).to_bytes())
    for name in DICOM:
        files[f"DICOM {name}"] = ("dcm", Path(get_testdata_file(name)).read_bytes())
    files["DICOM in a zip"] = ("zip", save(lambda file: zip_up(file, get_testdata_file("CT_small.dcm"))))
    files["MP4"] = ("mp4", make_film())
    return files


def save(write):
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def zip_up(file, path):
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(path, "a.dcm")


def make_film():
    import imageio.v3 as imageio

    frames = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)
    return imageio.imwrite("<bytes>", frames, extension=".mp4", plugin="pyav", codec="libx264")


def mutate(content, rng):
    """The content with one to eight mutations, half of them in its first 512 bytes."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 9)):
        end = min(len(data), 512) if rng.random() < 0.5 else len(data)
        if not end:
            break
        at, length = int(rng.integers(end)), int(rng.integers(1, 17))
        kind = rng.integers(6)
        if kind == 0:
            data[at] = int(rng.integers(256))
        elif kind == 1:
            data[at : at + length] = b"\xff" * length
        elif kind == 2:
            data[at : at + length] = bytes(length)
        elif kind == 3:
            data[at : at + length] = rng.bytes(length)
        elif kind == 4 and rng.random() < 0.3:
            del data[at:]
        else:
            data[at:at] = data[at : at + length]
    return bytes(data)


def read_one(task):
    """Read one damaged file; return its kind, what became of it, seconds, and the memory of this process in MB."""
    name, ending, content, seed = task
    damaged = mutate(content, np.random.default_rng(seed))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"picture.{ending}"
        path.write_bytes(damaged)
        start, escaped = time.perf_counter(), ""
        try:
            load_target(TargetConfig(source=str(path), size=28))
            outcome = "read"
        except NcatoolError as error:
            outcome = "refused" if "\n" not in error.what + error.hint else "escaped"
            escaped = error.what if outcome == "escaped" else ""
        except Exception:
            outcome, escaped = "escaped", traceback.format_exc()
        seconds = time.perf_counter() - start
    return name, seed, outcome, escaped, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    wish = parser.parse_args()
    files = list(make_files().items())
    tasks = [(name, *file, wish.seed + i) for i, (name, file) in zip(range(wish.count), itertools.cycle(files))]
    counts, slowest, memory = defaultdict(Counter), (0.0, ""), 0.0
    with multiprocessing.get_context("spawn").Pool(wish.jobs, maxtasksperchild=500) as pool:
        for name, seed, outcome, escaped, seconds, used in pool.imap_unordered(read_one, tasks, chunksize=20):
            counts[name][outcome] += 1
            slowest, memory = max(slowest, (seconds, f"{name}, seed {seed}")), max(memory, used)
            if escaped:
                print(f"{name}, seed {seed}:\n{escaped}", flush=True)
    for name, count in sorted(counts.items()):
        print(f"{name:36s} read {count['read']:5d}  refused {count['refused']:5d}  escaped {count['escaped']:3d}")
    total = sum(counts.values(), Counter())
    print(f"{sum(total.values())} files of {len(files)} kinds: {dict(total)}")
    print(f"slowest {slowest[0]:.2f} s ({slowest[1]}); largest process {memory:.0f} MB")


if __name__ == "__main__":
    main()
