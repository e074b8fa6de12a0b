"""The text that names one picture of a MedMNIST set, such as `chestmnist:test:42`.

The grammar is FLAG[@SIZE][:SPLIT[:INDEX]], and for a volume FLAG[@SIZE][:SPLIT[:INDEX[:PLANE[:SLICE]]]].
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ncatool.data.catalogue import SPLITS, DataSet, list_sizes, load_catalogue
from ncatool.errors import UsageError

PLANES = ("axial", "coronal", "sagittal")
"""Planes of a volume: slices across its first, second or third axis."""
_MAX_INDEX_DIGITS = 9
_PATTERN = re.compile(r"(?P<flag>[a-z0-9]+)(?:@(?P<size>[^:]*))?(?P<sample>(?::[^:]*){0,4})")


@dataclass(frozen=True)
class SampleSpec:
    """One picture of a MedMNIST set."""

    dataset: DataSet
    split: str = "train"
    index: int = 0
    plane: str = ""
    """One of PLANES for a volume, else empty."""
    slice: int = 0
    """Position along the axis that the plane cuts; 0 for a picture."""

    def __str__(self) -> str:
        size = "" if self.dataset.size == 28 else f"@{self.dataset.size}"
        volume = f":{self.plane}:{self.slice}" if self.plane else ""
        return f"{self.dataset.flag}{size}:{self.split}:{self.index}{volume}"

    @property
    def file_stem(self) -> str:
        """The sample as a file's name without ending: `chestmnist_64-test-42`, of a volume with plane and slice."""
        volume = f"-{self.plane}-{self.slice}" if self.plane else ""
        return f"{self.dataset.flag}{self.dataset.size_suffix}-{self.split}-{self.index}{volume}"


def parse_spec(text: str) -> SampleSpec | None:
    """Parse the text of a target; return None where it does not name a set.

    Names may be in capitals. Raises UsageError for a size, split, index, plane or slice that the set does not have.
    """
    match = _PATTERN.fullmatch(text.lower())
    if match is None or match["flag"] not in load_catalogue():
        return None
    size = match["size"] or "28"
    if size not in map(str, list_sizes(match["flag"])):
        raise UsageError(
            f"{match['flag']} has no size {size[:20]}", f"choose from {', '.join(map(str, list_sizes(match['flag'])))}"
        )
    return parse_sample(DataSet(match["flag"], int(size)), match["sample"].removeprefix(":"))


def parse_sample(dataset: DataSet, text: str) -> SampleSpec:
    """Parse [SPLIT[:INDEX[:PLANE[:SLICE]]]] for a set that is known.

    Raises UsageError for a split, index, plane or slice that the set does not have.
    """
    fields = dict(zip(("split", "index", "plane", "slice"), text.lower().split(":"), strict=False))
    flag = dataset.flag
    split = fields.get("split") or "train"
    if split not in SPLITS:
        raise UsageError(f"{flag} has no split {split!r}", describe_splits(dataset, split))
    samples = dataset.catalogue_entry["n_samples"][split]
    index = _parse_index(fields.get("index") or "0", samples, f"{flag}'s {split} split", "sample")
    if not dataset.is_volume:
        if text.count(":") > 1:
            raise UsageError(f"{flag} holds pictures, so {text!r} names no slice", "give SPLIT:INDEX only")
        return SampleSpec(dataset, split, index)
    plane = fields.get("plane") or PLANES[0]
    if plane not in PLANES:
        raise UsageError(f"{flag} has no plane {plane!r}", f"choose from {', '.join(PLANES)}")
    middle = str(dataset.size // 2)
    position = _parse_index(
        fields.get("slice") or middle, dataset.size, f"a volume of {flag} at {dataset.size}", "slice"
    )
    return SampleSpec(dataset, split, index, plane, position)


def describe_splits(dataset: DataSet, split: str) -> str:
    """Return what to give in place of a split that does not exist."""
    if split in map(str, list_sizes(dataset.flag)):
        return f"did you mean {dataset.flag}@{split} for that size, or {dataset.flag}:train:{split}?"
    if split.isdecimal():
        return f"did you mean {dataset.flag}:train:{split[:_MAX_INDEX_DIGITS]}?"
    close = [name for name in SPLITS if split.startswith(name) or name.startswith(split)]
    return (f"did you mean {close[0]}? " if close else "") + f"choose from {', '.join(SPLITS)}"


def _parse_index(text: str, count: int, where: str, what: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > _MAX_INDEX_DIGITS or int(text) >= count:
        raise UsageError(f"{where} has no {what} {text[:20]}", f"give one from 0 to {count - 1}")
    return int(text)
