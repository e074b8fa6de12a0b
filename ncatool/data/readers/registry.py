"""Which reader reads a file: chosen by what the file begins with, and by its ending where that says nothing."""

from __future__ import annotations

import gzip
import logging
import os
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path

from PIL import Image

from ncatool.data.file_spec import FileSpec, Part, parse_part
from ncatool.data.raster import Raster
from ncatool.data.readers.arrays import read_npy, read_npz
from ncatool.data.readers.dicom import read_dicom
from ncatool.data.readers.dicom_series import ZIP_MAGIC
from ncatool.data.readers.nifti import GZIP_MAGIC, read_nifti
from ncatool.data.readers.pillow import read_pillow
from ncatool.data.readers.tiff import read_tiff
from ncatool.data.readers.video import read_video
from ncatool.data.sources import describe_missing
from ncatool.errors import NcatoolError, shorten


class FileKind(StrEnum):
    """Kinds of picture files, each with a reader."""

    PICTURE = "picture"
    TIFF = "TIFF"
    VIDEO = "video"
    NPY = "npy"
    NPZ = "npz"
    DICOM = "DICOM"
    NIFTI = "NIfTI"


READERS: dict[FileKind, Callable[[Path, Part], Raster]] = {
    FileKind.PICTURE: read_pillow,
    FileKind.TIFF: read_tiff,
    FileKind.VIDEO: read_video,
    FileKind.NPY: read_npy,
    FileKind.NPZ: read_npz,
    FileKind.DICOM: read_dicom,
    FileKind.NIFTI: read_nifti,
}
"""Functions from a file and the part that is meant to the picture."""

ENDINGS = {
    ".dcm": FileKind.DICOM,
    ".ima": FileKind.DICOM,
    ".hdr": FileKind.NIFTI,
    ".img": FileKind.NIFTI,
    **dict.fromkeys((".mp4", ".webm", ".mov", ".avi", ".mkv", ".m4v", ".mpg", ".mpeg", ".wmv"), FileKind.VIDEO),
}
"""Endings of files whose beginnings need not say what they are."""

OTHER_VOLUMES = (".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh", ".mnc")
"""Endings of volumes of other tools, which are not read."""

_HEAD_BYTES = 352
_PICTURE_HEADS = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8")
_TIFF_HEADS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_FILM_BRANDS = (b"isom", b"iso2", b"iso4", b"iso5", b"iso6", b"mp41", b"mp42", b"avc1", b"qt  ", b"M4V ", b"dash")
"""Brands of MP4 and its kin; pictures such as AVIF have others."""


def recognise(path: Path) -> FileKind:
    """Return the kind of a file, or of the folder of a series.

    Raises NcatoolError for kinds of which it is known that none reads them, and OSError where it cannot be opened.
    """
    if path.is_dir():
        return FileKind.DICOM
    if path.suffix.lower() in OTHER_VOLUMES:
        raise NcatoolError(f"{path} is a kind of volume that is not read", "save it as NIfTI, with 3D Slicer or ITK")
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(GZIP_MAGIC):
        is_volume = _recognise_head(_unzip_head(path)) is FileKind.NIFTI or ".img" in path.suffixes
        if not is_volume:
            raise NcatoolError(f"{path} is compressed, and is not NIfTI", f"unpack it first: gunzip {path}")
        return FileKind.NIFTI
    if head.startswith(ZIP_MAGIC):
        return FileKind.NPZ if _holds_arrays(path) else FileKind.DICOM
    by_ending = ENDINGS.get(path.suffix.lower())
    if by_ending is None and _is_bare_dicom(head) and path.suffix.lower() not in Image.registered_extensions():
        return FileKind.DICOM
    return _recognise_head(head) or by_ending or FileKind.PICTURE


def _recognise_head(head: bytes) -> FileKind | None:
    """Return the kind of file that begins with these bytes; None where they say nothing."""
    if head[128:132] == b"DICM":
        return FileKind.DICOM
    if head.startswith(_PICTURE_HEADS):
        return FileKind.PICTURE
    if head.startswith(_TIFF_HEADS):
        return FileKind.TIFF
    if head.startswith(b"\x93NUMPY"):
        return FileKind.NPY
    if head[344:348] in (b"n+1\0", b"ni1\0") or head[4:7] in (b"n+2", b"ni2"):
        return FileKind.NIFTI
    is_film = head[4:8] == b"ftyp" and head[8:12] in _FILM_BRANDS
    if is_film or head.startswith(b"\x1a\x45\xdf\xa3") or (head.startswith(b"RIFF") and head[8:12] == b"AVI "):
        return FileKind.VIDEO
    return None


def _is_bare_dicom(head: bytes) -> bool:
    """Return whether a file begins with a data element of group 2 or 8, as DICOM without a preamble does."""
    group, element, kind, length = head[:2], head[2:4], head[4:6], head[4:8]
    if group in (b"\2\0", b"\x08\0"):
        return (kind.isalpha() and kind.isupper()) or (len(length) == 4 and int.from_bytes(length, "little") < 256)
    return group == b"\0\x08" and element[:1] == b"\0" and kind.isalpha() and kind.isupper()


def _unzip_head(path: Path) -> bytes:
    try:
        with gzip.open(path) as file:
            return file.read(_HEAD_BYTES)
    except (OSError, EOFError, zlib.error):
        return b""


def _holds_arrays(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as file:
            return any(name.endswith(".npy") for name in file.namelist())
    except Exception:  # of a damaged zip; its reader will say so
        return True


def read_raster(spec: FileSpec, picture: Raster | None = None) -> Raster:
    """Read the picture that a text names, with the reader of its kind.

    For a mask, `picture` is what it belongs to: where it holds several slices, and none is named, that of the picture
    is read. Raises UsageError for a part that does not exist, and NcatoolError, whatever a library raises, for a file
    that cannot be read.
    """
    path, hint = spec.path, "give a whole file"
    part = parse_part(spec.part)
    if picture is not None:
        part = part.inherit(picture.part, max(1, picture.slice_count))
    if not path.exists():
        raise describe_missing(str(path))
    if not (path.is_file() or path.is_dir()):
        raise NcatoolError(f"{path} is neither a file nor a folder", "give a picture file")
    try:
        if path.is_file() and path.stat().st_size == 0:
            raise NcatoolError(f"{path} is empty (0 bytes)", hint)
        with _silence_libraries():
            return READERS[recognise(path)](path, part)
    except NcatoolError:
        raise
    except MemoryError:
        raise NcatoolError(f"{path} needs more memory than there is", "scale it down first") from None
    except Exception as error:  # of whatever a library raises on a damaged or hostile file
        reason = shorten(" ".join(str(error).split()))[1:-1] or type(error).__name__
        raise NcatoolError(f"{path} cannot be read: {reason}", hint) from None


@contextmanager
def _silence_libraries() -> Iterator[None]:
    """Keep libraries quiet about a file while the block runs, decoders that write to stderr by themselves included."""
    with _silence_loggers(), _silence_stderr():
        yield


@contextmanager
def _silence_stderr() -> Iterator[None]:
    """Send what any part of the process writes to stderr nowhere; where there is no stderr, do nothing."""
    try:
        stderr = os.dup(2)
    except OSError:
        yield
        return
    if sys.stderr is not None:
        sys.stderr.flush()
    try:
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - a device
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)


@contextmanager
def _silence_loggers() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("tifffile", "nibabel", "nibabel.global", "pydicom", "PIL", "libav")]
    states = [logger.disabled for logger in loggers]
    try:
        for logger in loggers:
            logger.disabled = True
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        for logger, state in zip(loggers, states, strict=True):
            logger.disabled = state
