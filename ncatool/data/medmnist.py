"""MedMNIST sets on this machine: where their files are, whether they are sound, and their samples."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from ncatool.data.catalogue import ARRAYS, SPLITS, DataSet, describe_label
from ncatool.data.sample_spec import PLANES, SampleSpec
from ncatool.errors import NcatoolError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ncatool.data.npz import Header

MAX_LABELS = 100
"""Columns of labels above which a file is refused."""


def get_data_folder(root: Path | None) -> Path:
    """Return the folder into which `fetch` writes sets: `root`, or by default one in the user's cache."""
    return root or platformdirs.user_cache_path("ncatool") / "medmnist"


def get_medmnist_folder() -> Path:
    """Return the folder into which the medmnist package downloads sets."""
    return Path.home() / ".medmnist"


def find_file(dataset: DataSet, root: Path | None) -> Path | None:
    """Return the file of a set on this machine; None where it has not been fetched."""
    candidates = (folder / dataset.filename for folder in (get_data_folder(root), get_medmnist_folder()))
    return next((path for path in candidates if path.is_file()), None)


def choose_default_source(root: Path | None = None) -> str:
    """Return `chestmnist` where it has been fetched, else `phantom`."""
    return "chestmnist" if find_file(DataSet("chestmnist"), root) else "phantom"


def require_file(dataset: DataSet, root: Path | None) -> Path:
    """Return the file of a set, after a check of its array headers.

    Raises NcatoolError, with the command that fetches the set, where the file is missing or damaged.
    """
    from ncatool.data import npz

    path = find_file(dataset, root)
    if path is None:
        folders = f"{get_data_folder(root)} and {get_medmnist_folder()}"
        raise NcatoolError(
            f"{dataset.flag} at {dataset.size} pixels has not been fetched (looked in {folders})",
            f"run: {dataset.fetch_command}",
        )
    try:
        check_file(path, dataset)
    except npz.DamagedFileError as error:
        raise _add_fetch_hint(error, dataset) from None
    return path


def _add_fetch_hint(error: NcatoolError, dataset: DataSet) -> NcatoolError:
    return NcatoolError(error.what, f"to fetch it anew, run: {dataset.fetch_command}")


def check_file(path: Path, dataset: DataSet) -> dict[str, int]:
    """Check the array headers of a file and return the number of samples in each split; no array is read.

    Raises NcatoolError where the file is damaged, or is not this set at this size.
    """
    from ncatool.data import npz

    headers = npz.read_headers(path, ARRAYS)
    for name in ARRAYS:
        if name not in headers:
            raise npz.DamagedFileError(f"{path} lacks the array {name}", "give a file of MedMNIST")
    for split in SPLITS:
        _check_images(path, dataset, split, headers[f"{split}_images"])
        _check_labels(path, split, headers[f"{split}_labels"], headers[f"{split}_images"].shape[0])
    return {split: headers[f"{split}_images"].shape[0] for split in SPLITS}


def _check_images(path: Path, dataset: DataSet, split: str, images: Header) -> None:
    if images.dtype != "uint8" or images.shape[1:] != dataset.sample_shape:
        raise NcatoolError(
            f"{path}: {split}_images should be uint8 {['samples', *dataset.sample_shape]}, "
            f"but is {images.dtype} {list(images.shape)}",
            f"give the file of this set at {dataset.size} pixels",
        )
    samples = dataset.catalogue_entry["n_samples"][split]
    if images.shape[0] > samples:
        raise NcatoolError(
            f"{path}: {split}_images holds {images.shape[0]:,} samples, but {dataset.flag} has {samples:,}",
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


def read_samples(
    dataset: DataSet, split: str, indices: list[int], root: Path | None
) -> Iterator[tuple[NDArray[np.uint8], list[int]]]:
    """Yield pictures or volumes with their labels, in the order of the ascending `indices`.

    Only one sample at a time is in memory, whatever the size of the file. Raises NcatoolError where the file is
    missing, damaged, or lacks one of the samples.
    """
    from ncatool.data import npz

    path = require_file(dataset, root)
    try:
        images = npz.read_items(path, f"{split}_images", indices)
        labels = npz.read_items(path, f"{split}_labels", indices)
        for image, label in zip(images, labels, strict=True):
            yield image, [int(value) for value in label.reshape(-1)]
    except npz.DamagedFileError as error:
        raise _add_fetch_hint(error, dataset) from None


def find_labels(dataset: DataSet, split: str, root: Path | None) -> NDArray[Any]:
    """Return the labels of a split: integers [samples, columns].

    Raises what `require_file` raises.
    """
    import numpy as np

    path = require_file(dataset, root)
    with np.load(path, allow_pickle=False) as arrays:
        labels = arrays[f"{split}_labels"]
    return labels.reshape(len(labels), -1)


def read_sample(spec: SampleSpec, root: Path | None = None) -> tuple[NDArray[np.uint8], dict[str, Any]]:
    """Return one picture, uint8 [height, width] or [height, width, 3], and its origin for the record."""
    dataset = spec.dataset
    ((image, label),) = read_samples(dataset, spec.split, [spec.index], root)
    if spec.plane:
        image = image[(slice(None),) * PLANES.index(spec.plane) + (spec.slice,)]
    origin = {
        "flag": dataset.flag,
        "pixels": dataset.size,
        "split": spec.split,
        "index": spec.index,
        **({"plane": spec.plane, "slice": spec.slice} if spec.plane else {}),
        "label": label,
        "meaning": describe_label(dataset, label),
        "licence": dataset.catalogue_entry["license"],
    }
    return image, origin
