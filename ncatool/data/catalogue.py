"""The MedMNIST catalogue: which sets exist, at which sizes, and where their files come from.

Nothing here reads a picture, so that the command line can check names without loading numpy.
"""

from __future__ import annotations

import importlib.util
import math
import re
import runpy
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ncatool.config.suggestions import suggest_names
from ncatool.errors import NcatoolError, UsageError

SPLITS = ("train", "val", "test")
ARRAYS = tuple(f"{split}_{part}" for split in SPLITS for part in ("images", "labels"))
"""Names of the arrays in the file of a set."""
CITATION = (
    "Yang et al., MedMNIST v2 - A large-scale lightweight benchmark for 2D and 3D biomedical image "
    "classification, Scientific Data 10, 41 (2023), https://doi.org/10.1038/s41597-022-01721-8"
)


@dataclass(frozen=True)
class DataSet:
    """One MedMNIST set at one resolution."""

    flag: str
    """The catalogue's short name of the set, such as `chestmnist`."""
    size: int = 28
    """Pixels a side."""

    @property
    def filename(self) -> str:
        """File name that the medmnist package gives to the set."""
        return f"{self.flag}{self.size_suffix}.npz"

    @property
    def size_suffix(self) -> str:
        return "" if self.size == 28 else f"_{self.size}"

    @property
    def catalogue_entry(self) -> dict[str, Any]:
        """What the catalogue says about the set, at every size."""
        return load_catalogue()[self.flag]

    @property
    def url(self) -> str:
        return str(self.catalogue_entry[f"url{self.size_suffix}"])

    @property
    def md5(self) -> str:
        return str(self.catalogue_entry[f"MD5{self.size_suffix}"])

    @property
    def max_bytes(self) -> int:
        """Most bytes that the set's file can have: those of all its arrays, and a little for headers."""
        samples = sum(self.catalogue_entry["n_samples"].values())
        labels = 8 * max(1, len(self.catalogue_entry["label"]))
        return samples * (math.prod(self.sample_shape) + labels) * 21 // 20 + 2**20

    @property
    def is_volume(self) -> bool:
        return self.flag.endswith("3d")

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample: a grey picture, a colour picture or a grey volume."""
        if self.is_volume:
            return (self.size,) * 3
        return (self.size, self.size, 3)[: 3 if self.catalogue_entry["n_channels"] == 3 else 2]

    @property
    def fetch_command(self) -> str:
        """Command that downloads the set."""
        return f"ncatool fetch {self.flag}" + ("" if self.size == 28 else f" --size {self.size}")


@cache
def load_catalogue() -> dict[str, dict[str, Any]]:
    """Return the medmnist package's description of each set, by flag.

    Only the module `info` of that package is executed: importing the package itself would import torchvision,
    take seconds, and may print on stdout. Raises NcatoolError where the package is not installed.
    """
    package = importlib.util.find_spec("medmnist")
    if package is None or not package.submodule_search_locations:
        raise NcatoolError("the medmnist package is not installed", "run: pip install medmnist")
    path = Path(package.submodule_search_locations[0]) / "info.py"
    with warnings.catch_warnings(action="ignore"):
        return runpy.run_path(str(path))["INFO"]


def list_sizes(flag: str) -> tuple[int, ...]:
    """Return the resolutions at which a set exists, in pixels a side."""
    return (28, 64) if flag.endswith("3d") else (28, 64, 128, 224)


def find_set(flag: str, size: int = 28) -> DataSet:
    """Return the set of this flag and size.

    The flag may be in capitals. Raises UsageError, with the nearest flag, where there is no such set, or where it does
    not exist at that size.
    """
    if flag.lower() not in load_catalogue():
        raise UsageError(f"MedMNIST has no set {flag!r}", _suggest_set(flag.lower()))
    flag = flag.lower()
    if size not in list_sizes(flag):
        raise UsageError(f"{flag} has no size {size}", f"choose from {', '.join(map(str, list_sizes(flag)))}")
    return DataSet(flag, size)


def _suggest_set(flag: str) -> str:
    """Return what to give in place of a name that is no set's."""
    if flag == "phantom":
        return "the phantom needs no download: ncatool train phantom"
    named = re.fullmatch(r"([a-z0-9]+?)(?:[@_-](\d+))?(:.*|\.npz)?", flag)
    if named is not None and named[1] in load_catalogue():
        size = f" --size {named[2]}" if named[2] else ""
        sample = f" --pick {named[3][1:]} OUT.png" if (named[3] or "").startswith(":") else ""
        return f"did you mean {named[1]}{size}{sample}?"
    close = suggest_names(flag, load_catalogue())
    return (f"did you mean {close[0]}? " if close else "") + f"choose from {', '.join(load_catalogue())}, all"


def describe_label(dataset: DataSet, label: list[int]) -> str:
    """Return a label in words: the name of the class, or the names of all findings that are present."""
    names = dataset.catalogue_entry["label"]
    if dataset.catalogue_entry["task"].startswith("multi-label"):
        present = [names.get(str(i), str(i)) for i, value in enumerate(label) if value]
        return ", ".join(present) or "no finding"
    return ", ".join(names.get(str(value), str(value)) for value in label)
