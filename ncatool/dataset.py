"""The MedMNIST catalogue and the samples of its sets that lie on this machine."""

from __future__ import annotations

import importlib.util
import os
import re
import runpy
import warnings
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import platformdirs

from ncatool.errors import NcatoolError, UsageError

SPLITS = ("train", "val", "test")
_SPEC = re.compile(r"(?P<flag>[a-z0-9]+)(?:@(?P<size>[^:]*))?(?::(?P<split>[^:]*))?(?::(?P<index>.*))?")


@dataclass(frozen=True)
class Spec:
    """One sample of a MedMNIST set."""

    flag: str
    size: int = 28
    split: str = "train"
    index: int = 0

    @property
    def filename(self) -> str:
        """As MedMNIST names its files."""
        return f"{self.flag}.npz" if self.size == 28 else f"{self.flag}_{self.size}.npz"


@cache
def catalogue() -> dict[str, dict[str, Any]]:
    """What the medmnist package knows of each set, by flag.

    Only its module of facts is loaded: the package itself imports torchvision, takes seconds, and
    may print on stdout.
    """
    package = importlib.util.find_spec("medmnist")
    if package is None or not package.submodule_search_locations:
        raise NcatoolError("the medmnist package is not installed", "run: pip install medmnist")
    path = Path(package.submodule_search_locations[0]) / "info.py"
    with warnings.catch_warnings(action="ignore"):
        return runpy.run_path(str(path))["INFO"]


def sizes(flag: str) -> tuple[int, ...]:
    """Pixels a side that a set comes in."""
    return (28, 64) if flag.endswith("3d") else (28, 64, 128, 224)


def parse(text: str) -> Spec | None:
    """FLAG[@SIZE][:SPLIT[:INDEX]] as a Spec; None where the text names no set.

    Raises UsageError for a size, split or index that the set does not have.
    """
    match = _SPEC.fullmatch(text)
    if match is None or match["flag"] not in catalogue():
        return None
    flag, size, split, index = match["flag"], match["size"] or "28", match["split"] or "train", match["index"] or "0"
    if size not in map(str, sizes(flag)):
        raise UsageError(f"{flag} has no size {size}", f"choose from {', '.join(map(str, sizes(flag)))}")
    if split not in SPLITS:
        raise UsageError(f"{flag} has no split {split!r}", f"choose from {', '.join(SPLITS)}")
    samples = catalogue()[flag]["n_samples"][split]
    if not (index.isascii() and index.isdigit()) or int(index) >= samples:
        raise UsageError(f"{flag} has no sample {index} in its {split} split", f"give an index from 0 to {samples - 1}")
    return Spec(flag, int(size), split, int(index))


def folders() -> list[Path]:
    """Where data may lie: ours (NCATOOL_DATA, else the user's cache), then medmnist's own."""
    own = os.environ.get("NCATOOL_DATA") or platformdirs.user_cache_path("ncatool") / "medmnist"
    return [Path(own), Path.home() / ".medmnist"]


def cached(spec: Spec) -> Path | None:
    """The set's file on this machine."""
    candidates = (folder / spec.filename for folder in folders())
    return next((path for path in candidates if path.is_file()), None)


def sample(spec: Spec) -> tuple[Any, dict[str, Any]]:
    """A sample as uint8 [height, width] or [height, width, 3], and what the record says of it."""
    import numpy as np

    path = cached(spec)
    size = "" if spec.size == 28 else f" --size {spec.size}"
    if path is None:
        looked = " and ".join(str(folder) for folder in folders())
        raise NcatoolError(
            f"{spec.flag} at {spec.size} pixels has not been fetched (looked in {looked})",
            f"run: ncatool fetch {spec.flag}{size}",
        )
    try:
        with np.load(path, allow_pickle=False) as data:
            image = data[f"{spec.split}_images"][spec.index]
            label = data[f"{spec.split}_labels"][spec.index]
    except (OSError, ValueError, KeyError, IndexError, EOFError, zipfile.BadZipFile) as error:
        raise NcatoolError(
            f"{path} is damaged: {error}", f"delete it, then run: ncatool fetch {spec.flag}{size}"
        ) from None
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or image.shape[2:] not in ((), (3,)):
        raise NcatoolError(
            f"{path} holds {image.dtype} samples of shape {image.shape}, not pictures", "choose a 2D set"
        )
    facts = catalogue()[spec.flag]
    origin = {
        "flag": spec.flag,
        "split": spec.split,
        "index": spec.index,
        "label": [int(value) for value in np.atleast_1d(label)],
        "licence": facts["license"],
    }
    return image, origin
