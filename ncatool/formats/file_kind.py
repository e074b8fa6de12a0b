"""What a file is by its first bytes, for errors about files that hold no model."""

from __future__ import annotations

import zipfile
from pathlib import Path

_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"BM", "a BMP image"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"RIFF", "a RIFF file, such as a WebP image"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"%PDF", "a PDF document"),
    (b"\x89HDF", "an HDF5 file"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file that it stands for"),
)
_EXAMINED_BYTES = 4096
"""Bytes at a file's start that are read to tell its kind."""


def _is_text(head: bytes) -> bool:
    """Return whether bytes are text in UTF-8; the last character may be cut off."""
    text = head.decode("utf-8", errors="ignore")
    printable = all(char.isprintable() or char in "\t\r\n\f" for char in text)
    return bool(text) and printable and len(text.encode()) > len(head) - 4


def _describe_zip(path: Path) -> str:
    """Return what a zip archive is: torch's files are archives with one entry `data.pkl`."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # for a damaged archive, zipfile raises many exceptions
        return "a damaged or truncated archive"
    if not any(name.rpartition("/")[2] == "data.pkl" for name in names):
        return "an archive without a torch model"
    if any(name.rpartition("/")[2] == "constants.pkl" for name in names):
        return "a TorchScript program, not the state dict of a model"
    return "a torch file with other objects than tensors, or a damaged one; code in it is not executed"


def describe_kind(path: Path) -> str:
    """Return in words what a file is that cannot be loaded as tensors: `a PNG image`.

    Raises OSError where it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(_EXAMINED_BYTES)
    if not head:
        return "empty (0 bytes)"
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if head.startswith(b"PK"):
        return _describe_zip(path)
    if head.startswith(b"\x80"):
        return "a pickle with other objects than tensors, or a damaged one; code in it is not executed"
    return "a text file" if _is_text(head) else "neither a torch file nor another kind that is known"
