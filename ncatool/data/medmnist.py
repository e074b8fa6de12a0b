"""The MedMNIST catalogue, the grammar of its samples, and those that lie on this machine."""

from __future__ import annotations

import difflib
import importlib.util
import re
import runpy
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from ncatool.errors import NcatoolError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ncatool.data.npz import Header

SPLITS = ("train", "val", "test")
ARRAYS = tuple(f"{split}_{part}" for split in SPLITS for part in ("images", "labels"))
MAX_LABELS = 100
"""Columns of labels that are believed."""
PLANES = ("axial", "coronal", "sagittal")
"""What is seen of a volume: slices across its first, second or third axis."""
GRAMMAR = "FLAG[@SIZE][:SPLIT[:INDEX]], for a volume FLAG[@SIZE][:SPLIT[:INDEX[:PLANE[:SLICE]]]]"
CITATION = (
    "Yang et al., MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical image "
    "classification, Scientific Data 10, 41 (2023), https://doi.org/10.1038/s41597-022-01721-8"
)
_SPEC = re.compile(r"(?P<flag>[a-z0-9]+)(?:@(?P<size>[^:]*))?(?P<rest>(?::[^:]*){0,4})")


@dataclass(frozen=True)
class DataSet:
    """One MedMNIST set at one resolution."""

    flag: str
    size: int = 28

    @property
    def filename(self) -> str:
        """As MedMNIST names its files."""
        return f"{self.flag}{self.size_suffix}.npz"

    @property
    def size_suffix(self) -> str:
        return "" if self.size == 28 else f"_{self.size}"

    @property
    def catalogue_entry(self) -> dict[str, Any]:
        """The catalogue's entry."""
        return load_catalogue()[self.flag]

    @property
    def url(self) -> str:
        return str(self.catalogue_entry[f"url{self.size_suffix}"])

    @property
    def md5(self) -> str:
        return str(self.catalogue_entry[f"MD5{self.size_suffix}"])

    @property
    def is_volume(self) -> bool:
        return self.flag.endswith("3d")

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Of one sample: a grey picture, a colour picture or a grey volume."""
        if self.is_volume:
            return (self.size,) * 3
        return (self.size, self.size, 3)[: 3 if self.catalogue_entry["n_channels"] == 3 else 2]

    @property
    def fetch_command(self) -> str:
        """The command that brings it here."""
        return f"ncatool fetch {self.flag}" + ("" if self.size == 28 else f" --size {self.size}")


@dataclass(frozen=True)
class SampleSpec:
    """One picture of a MedMNIST set."""

    dataset: DataSet
    split: str = "train"
    index: int = 0
    plane: str = ""
    """Of a volume only."""
    slice: int = 0

    def __str__(self) -> str:
        size = "" if self.dataset.size == 28 else f"@{self.dataset.size}"
        volume = f":{self.plane}:{self.slice}" if self.plane else ""
        return f"{self.dataset.flag}{size}:{self.split}:{self.index}{volume}"


@cache
def load_catalogue() -> dict[str, dict[str, Any]]:
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


def available_sizes(flag: str) -> tuple[int, ...]:
    """Pixels a side that a set comes in."""
    return (28, 64) if flag.endswith("3d") else (28, 64, 128, 224)


def find_set(flag: str, size: int = 28) -> DataSet:
    """A set by name; UsageError, with the nearest name, where there is none, or not at that size."""
    if flag not in load_catalogue():
        close = difflib.get_close_matches(flag, load_catalogue(), 1)
        near = f"did you mean {close[0]}? " if close else ""
        raise UsageError(f"MedMNIST has no set {flag!r}", f"{near}choose from {', '.join(load_catalogue())}, all")
    if size not in available_sizes(flag):
        raise UsageError(f"{flag} has no size {size}", f"choose from {', '.join(map(str, available_sizes(flag)))}")
    return DataSet(flag, size)


def parse_spec(text: str) -> SampleSpec | None:
    """The picture that a text of GRAMMAR names; None where it names no set.

    Raises UsageError for a size, split, index, plane or slice that the set does not have.
    """
    match = _SPEC.fullmatch(text)
    if match is None or match["flag"] not in load_catalogue():
        return None
    size = match["size"] or "28"
    if not size.isdecimal() or int(size) not in available_sizes(match["flag"]):
        raise UsageError(
            f"{match['flag']} has no size {size}", f"choose from {', '.join(map(str, available_sizes(match['flag'])))}"
        )
    return parse_sample(DataSet(match["flag"], int(size)), match["rest"].removeprefix(":"))


def parse_sample(of: DataSet, text: str) -> SampleSpec:
    """The picture of a set that [SPLIT[:INDEX[:PLANE[:SLICE]]]] names."""
    given = dict(zip(("split", "index", "plane", "slice"), text.split(":"), strict=False))
    split = given.get("split") or "train"
    if split not in SPLITS:
        raise UsageError(f"{of.flag} has no split {split!r}", f"choose from {', '.join(SPLITS)}")
    index = _parse_index(
        given.get("index") or "0", of.catalogue_entry["n_samples"][split], f"{of.flag}'s {split} split", "sample"
    )
    if not of.is_volume:
        if text.count(":") > 1:
            raise UsageError(f"{of.flag} holds pictures, so {text!r} names no slice", "give SPLIT:INDEX only")
        return SampleSpec(of, split, index)
    plane = given.get("plane") or PLANES[0]
    if plane not in PLANES:
        raise UsageError(f"{of.flag} has no plane {plane!r}", f"choose from {', '.join(PLANES)}")
    slice_ = _parse_index(
        given.get("slice") or str(of.size // 2), of.size, f"a volume of {of.flag} at {of.size}", "slice"
    )
    return SampleSpec(of, split, index, plane, slice_)


def _parse_index(text: str, count: int, where: str, what: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > 9 or int(text) >= count:
        raise UsageError(f"{where} has no {what} {text[:20]}", f"give one from 0 to {count - 1}")
    return int(text)


def data_folder(root: Path | None) -> Path:
    """Where `fetch` puts sets: the folder that was asked for, else the user's cache."""
    return root or platformdirs.user_cache_path("ncatool") / "medmnist"


def medmnist_folder() -> Path:
    """Where the medmnist package puts what it downloads."""
    return Path.home() / ".medmnist"


def find_file(of: DataSet, root: Path | None) -> Path | None:
    """The set's file on this machine."""
    candidates = (folder / of.filename for folder in (data_folder(root), medmnist_folder()))
    return next((path for path in candidates if path.is_file()), None)


def check_file(path: Path, of: DataSet) -> dict[str, int]:
    """Number of samples in each split of a file; its arrays are looked at, not read.

    Raises NcatoolError where the file is damaged, or is not this set at this size.
    """
    from ncatool.data import npz

    found = npz.read_headers(path, ARRAYS)
    for name in ARRAYS:
        if name not in found:
            raise npz.DamagedError(f"{path} lacks the array {name}", "give a file of MedMNIST")
    for split in SPLITS:
        _check_images(path, of, split, found[f"{split}_images"])
        _check_labels(path, split, found[f"{split}_labels"], found[f"{split}_images"].shape[0])
    return {split: found[f"{split}_images"].shape[0] for split in SPLITS}


def _check_images(path: Path, of: DataSet, split: str, images: Header) -> None:
    if images.dtype != "uint8" or images.shape[1:] != of.sample_shape:
        raise NcatoolError(
            f"{path}: {split}_images should be uint8 {['samples', *of.sample_shape]}, "
            f"but is {images.dtype} {list(images.shape)}",
            "give the file of this set at this --size",
        )
    if images.shape[0] > of.catalogue_entry["n_samples"][split]:
        raise NcatoolError(
            f"{path}: {split}_images holds {images.shape[0]:,} samples, "
            f"but {of.flag} has {of.catalogue_entry['n_samples'][split]:,}",
            "give the file of this set",
        )


def _check_labels(path: Path, split: str, labels: Header, samples: int) -> None:
    rows, *columns = labels.shape or (0,)
    if labels.dtype.kind not in "iub" or rows != samples or len(columns) > 1 or max(columns, default=1) > MAX_LABELS:
        raise NcatoolError(
            f"{path}: {split}_labels should be integers for {samples:,} samples, "
            f"but is {labels.dtype} {list(labels.shape)}",
            "give a file of MedMNIST",
        )


def require_file(of: DataSet, root: Path | None) -> Path:
    """The set's file, looked at; NcatoolError with the command that fetches it where it is missing or damaged."""
    from ncatool.data import npz

    path = find_file(of, root)
    if path is None:
        looked = f"{data_folder(root)} and {medmnist_folder()}"
        raise NcatoolError(
            f"{of.flag} at {of.size} pixels has not been fetched (looked in {looked})", f"run: {of.fetch_command}"
        )
    try:
        check_file(path, of)
    except npz.DamagedError as error:
        raise NcatoolError(error.what, f"to fetch it anew, run: {of.fetch_command}") from None
    return path


def read_samples(
    of: DataSet, split: str, indices: list[int], root: Path | None
) -> Iterator[tuple[NDArray[np.uint8], list[int]]]:
    """Pictures or volumes with their labels, by ascending index; one at a time is in memory, however large the file."""
    from ncatool.data import npz

    path = require_file(of, root)
    try:
        images = npz.read_items(path, f"{split}_images", indices)
        labels = npz.read_items(path, f"{split}_labels", indices)
        for image, label in zip(images, labels, strict=True):
            yield image, [int(value) for value in label.reshape(-1)]
    except npz.DamagedError as error:
        raise NcatoolError(error.what, f"to fetch it anew, run: {of.fetch_command}") from None


def read_sample(spec: SampleSpec, root: Path | None = None) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """A picture as uint8 [height, width] or [height, width, 3], and what the record says of it."""
    ((image, label),) = read_samples(spec.dataset, spec.split, [spec.index], root)
    if spec.plane:
        image = image[(slice(None),) * PLANES.index(spec.plane) + (spec.slice,)]
    origin = {
        "flag": spec.dataset.flag,
        "pixels": spec.dataset.size,
        "split": spec.split,
        "index": spec.index,
        **({"plane": spec.plane, "slice": spec.slice} if spec.plane else {}),
        "label": label,
        "meaning": describe_label(spec.dataset, label),
        "licence": spec.dataset.catalogue_entry["license"],
    }
    return image, origin


def describe_label(of: DataSet, label: list[int]) -> str:
    """A label in words: the class, or all findings that are present."""
    names = of.catalogue_entry["label"]
    if of.catalogue_entry["task"].startswith("multi-label"):
        present = [names.get(str(i), str(i)) for i, value in enumerate(label) if value]
        return ", ".join(present) or "no finding"
    return ", ".join(names.get(str(value), str(value)) for value in label)
