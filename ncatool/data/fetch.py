"""Downloads and copies of MedMNIST sets: verified, and recorded in a TOML file beside the set."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ncatool.config.schema import FILE_FORMAT
from ncatool.data import npz
from ncatool.data.catalogue import ARRAYS, CITATION, SPLITS, DataSet, list_sizes, load_catalogue
from ncatool.data.download import ProgressCallback, RetryPolicy, download
from ncatool.data.medmnist import check_file, find_file, get_medmnist_folder
from ncatool.data.part_file import compute_md5, open_part
from ncatool.errors import NcatoolError, UsageError
from ncatool.files.atomic import describe_write_error, replace_atomically
from ncatool.files.toml import read_toml, write_toml


@dataclass(frozen=True)
class FetchResult:
    """A set that is on this machine after `fetch`."""

    flag: str
    size: int
    path: str
    state: str
    """`downloaded`, `copied`, or `there` where it was present before."""
    bytes: int
    md5: str
    verified: bool
    """Whether the MD5 equals that of the catalogue."""


def expand_names(flags: list[str], size: int) -> list[str]:
    """Return the names of sets without duplicates; `all` is replaced by every set that exists at this size."""
    all_flags = [flag for flag in load_catalogue() if size in list_sizes(flag)]
    named = [flag.lower() if flag.lower() in (*load_catalogue(), "all") else flag for flag in flags]
    return list(dict.fromkeys(name for flag in named for name in (all_flags if flag == "all" else [flag])))


def choose_url(dataset: DataSet, mirror: str | None) -> str:
    """Return the URL of a set: that of the catalogue, or the file of the same name below `mirror`.

    Raises UsageError where the mirror is not an HTTP address.
    """
    if mirror is None:
        return dataset.url
    if not mirror.startswith(("http://", "https://")):
        raise UsageError(f"mirror is {mirror!r}", "give --mirror a URL that starts with http:// or https://")
    return f"{mirror.rstrip('/')}/{dataset.filename}"


def fetch_set(
    dataset: DataSet, folder: Path, mirror: str | None, policy: RetryPolicy, report_progress: ProgressCallback
) -> FetchResult:
    """Download a set into `folder`, unless that folder or the folder of the medmnist package has it.

    A file that exists is verified, and downloaded again where its MD5 is wrong. Raises NcatoolError where the
    download fails; a file that existed is then unchanged.
    """
    url = choose_url(dataset, mirror)
    with _lock_set(dataset, folder, report_progress):
        present = _find_present(dataset, folder, report_progress)
        if present is not None:
            return present
        path, part = folder / dataset.filename, folder / f"{dataset.filename}.part"
        # Its own check first: a download that was whole, and could not get its name, needs no server.
        if not (os.path.lexists(part) and _compute_md5_of_part(part, report_progress) == dataset.md5):
            download(url, part, policy, report_progress, dataset.max_bytes)
            digest = _compute_md5_of_part(part, report_progress)
            if digest != dataset.md5:
                part.unlink()
                raise NcatoolError(
                    f"{url}: the MD5 is {digest}, but should be {dataset.md5}; the download is deleted",
                    "run the same command again, or give --mirror URL of another place",
                )
        _rename_part(part, path)
        return _write_record(dataset, path, url, "downloaded", dataset.md5)


def _compute_md5_of_part(part: Path, report_progress: ProgressCallback) -> str:
    with open_part(part) as file:
        return compute_md5(file, report_progress)


def _rename_part(part: Path, path: Path) -> None:
    """Give a verified download its name; where that fails, it stays what it is, and the error says where."""
    try:
        with open_part(part) as file:
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        cause = describe_write_error(path, error)
        raise NcatoolError(
            f"{cause.what}; the download is whole and kept as {part}", f"{cause.hint}, then run the same command again"
        ) from None


def copy_set(dataset: DataSet, file: Path, folder: Path, report_progress: ProgressCallback) -> FetchResult:
    """Copy a local file of a set into `folder`.

    Its MD5 may differ from that of the catalogue. Raises NcatoolError where the arrays are damaged or do not have
    the set's shape and dtype.
    """
    if not file.is_file():
        raise UsageError(f"no such file: {file}", "give --from an npz file of MedMNIST")
    with _lock_set(dataset, folder, report_progress):
        check_file(file, dataset)
        npz.verify_checksums(file, ARRAYS)
        path = folder / dataset.filename
        if not (path.exists() and path.samefile(file)):
            with replace_atomically(path) as partial:
                shutil.copyfile(file, partial)
        return _write_record(dataset, path, str(file.resolve()), "copied", _compute_md5(path, report_progress))


@contextmanager
def _lock_set(dataset: DataSet, folder: Path, report_progress: ProgressCallback) -> Iterator[None]:
    """Hold the set's lock while the block runs; wait while another process fetches the set.

    The system releases the lock of a process that dies.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise describe_write_error(folder, error) from None
    path = folder / f".{dataset.filename}.lock"
    lock = FileLock(path)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            report_progress(0, None, "another process is fetching this set: waiting for it")
            lock.acquire()
    except OSError as error:
        raise describe_write_error(path, error) from None
    try:
        yield
    finally:
        lock.release()


def _find_present(dataset: DataSet, folder: Path, report_progress: ProgressCallback) -> FetchResult | None:
    """Return the set that is on this machine, if its MD5 equals that of the catalogue or of its own record."""
    for path in (folder / dataset.filename, get_medmnist_folder() / dataset.filename):
        if not path.is_file():
            continue
        digest = _compute_md5(path, report_progress)
        if digest in (dataset.md5, _read_recorded_md5(path)):
            return _make_result(dataset, path, "there", digest)
        report_progress(0, None, f"{path} is not what it should be (MD5 {digest}): fetching it anew")
    return None


def _compute_md5(path: Path, report_progress: ProgressCallback) -> str:
    with path.open("rb") as file:
        return compute_md5(file, report_progress)


def _make_result(dataset: DataSet, path: Path, state: str, digest: str) -> FetchResult:
    verified = digest == dataset.md5
    return FetchResult(dataset.flag, dataset.size, str(path), state, path.stat().st_size, digest, verified)


def _read_recorded_md5(path: Path) -> str | None:
    record = path.with_suffix(".toml")
    try:
        return str(read_toml(record).get("md5")) if record.exists() else None
    except NcatoolError:  # a damaged record proves nothing
        return None


def _write_record(dataset: DataSet, path: Path, origin: str, state: str, digest: str) -> FetchResult:
    result = _make_result(dataset, path, state, digest)
    record = {
        "format": FILE_FORMAT,
        "flag": dataset.flag,
        "pixels": dataset.size,
        "source": origin,
        "md5": digest,
        "catalogue_md5": dataset.md5,
        "verified": result.verified,
        "bytes": result.bytes,
        "licence": dataset.catalogue_entry["license"],
        "citation": CITATION,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_toml(path.with_suffix(".toml"), record)
    return result


def list_sets(root: Path | None) -> list[dict[str, Any]]:
    """Return a row for each set of the catalogue, with the files that are on this machine under `here`."""
    rows = []
    for flag, entry in load_catalogue().items():
        local_files = {size: find_file(DataSet(flag, size), root) for size in list_sizes(flag)}
        rows.append(
            {
                "flag": flag,
                "task": entry["task"],
                "channels": entry["n_channels"],
                "sizes": list(list_sizes(flag)),
                "samples": {split: entry["n_samples"][split] for split in SPLITS},
                "licence": entry["license"],
                "here": {str(size): str(path) for size, path in local_files.items() if path is not None},
            }
        )
    return rows
