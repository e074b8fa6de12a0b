"""MedMNIST sets brought to this machine: downloaded or copied, verified, recorded."""

from __future__ import annotations

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
from ncatool.data.download import RetryPolicy, Watch, compute_md5, download
from ncatool.data.medmnist import (
    ARRAYS,
    CITATION,
    SPLITS,
    DataSet,
    available_sizes,
    check_file,
    find_file,
    load_catalogue,
    medmnist_folder,
)
from ncatool.errors import NcatoolError, UsageError
from ncatool.files.atomic import describe_write_error, replace_atomically
from ncatool.files.toml import read_toml, write_toml


@dataclass(frozen=True)
class FetchResult:
    """A set that is here now."""

    flag: str
    size: int
    path: str
    state: str
    """`downloaded`, `copied`, or `there` already."""
    bytes: int
    md5: str
    verified: bool
    """Whether the MD5 is the catalogue's."""


def expand_names(flags: list[str], size: int) -> list[str]:
    """Names of sets, each once, with `all` as every set that comes at this size."""
    everything = [flag for flag in load_catalogue() if size in available_sizes(flag)]
    return list(dict.fromkeys(name for flag in flags for name in (everything if flag == "all" else [flag])))


def source_url(of: DataSet, mirror: str | None) -> str:
    """Where a set is downloaded from: the catalogue's URL, or a file of the same name under a mirror."""
    if mirror is None:
        return of.url
    if not mirror.startswith(("http://", "https://")):
        raise UsageError(f"mirror is {mirror!r}", "give --mirror a URL that starts with http:// or https://")
    return f"{mirror.rstrip('/')}/{of.filename}"


def fetch_set(of: DataSet, folder: Path, mirror: str | None, patience: RetryPolicy, watch: Watch) -> FetchResult:
    """Brings a set into `folder` unless it, or medmnist's own folder, has it already.

    A file that is there is verified first, and replaced where it is not what it should be. Raises
    NcatoolError where the download fails; what was there before is then still there.
    """
    url = source_url(of, mirror)
    with _lock_set(of, folder, watch):
        found = _find_present(of, folder, watch)
        if found is not None:
            return found
        path, part = folder / of.filename, folder / f"{of.filename}.part"
        download(url, part, patience, watch)
        digest = compute_md5(part, watch)
        if digest != of.md5:
            part.unlink()
            raise NcatoolError(
                f"{url}: the MD5 is {digest}, but should be {of.md5}; the download is deleted",
                "run the same command again, or give --mirror URL of another place",
            )
        with replace_atomically(path) as partial:
            part.rename(partial)
        return _write_record(of, path, url, "downloaded", digest)


def copy_set(of: DataSet, file: Path, folder: Path, watch: Watch) -> FetchResult:
    """Takes a local copy of a set; its MD5 may differ from the catalogue's, its arrays must fit.

    Raises NcatoolError where they do not.
    """
    if not file.is_file():
        raise UsageError(f"no such file: {file}", "give --from an npz file of MedMNIST")
    with _lock_set(of, folder, watch):
        check_file(file, of)
        npz.verify(file, ARRAYS)
        path = folder / of.filename
        if not (path.exists() and path.samefile(file)):
            with replace_atomically(path) as partial:
                shutil.copyfile(file, partial)
        return _write_record(of, path, str(file.resolve()), "copied", compute_md5(path, watch))


@contextmanager
def _lock_set(of: DataSet, folder: Path, watch: Watch) -> Iterator[None]:
    """Waits until no other process fetches this set; a lock whose process died holds nobody up."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f".{of.filename}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            watch(0, None, "another process is fetching this set: waiting for it")
            lock.acquire()
    except OSError as error:
        raise describe_write_error(folder, error) from None
    try:
        yield
    finally:
        lock.release()


def _find_present(of: DataSet, folder: Path, watch: Watch) -> FetchResult | None:
    """The set as it is here already, if it is whole: by our record, or by the catalogue."""
    for path in (folder / of.filename, medmnist_folder() / of.filename):
        if not path.is_file():
            continue
        digest = compute_md5(path, watch)
        if digest in (of.md5, _read_recorded_md5(path)):
            return FetchResult(of.flag, of.size, str(path), "there", path.stat().st_size, digest, digest == of.md5)
        watch(0, None, f"{path} is not what it should be (MD5 {digest}): fetching it anew")
    return None


def _read_recorded_md5(path: Path) -> str | None:
    record = path.with_suffix(".toml")
    try:
        return str(read_toml(record).get("md5")) if record.exists() else None
    except NcatoolError:  # a broken record vouches for nothing
        return None


def _write_record(of: DataSet, path: Path, origin: str, state: str, digest: str) -> FetchResult:
    done = FetchResult(of.flag, of.size, str(path), state, path.stat().st_size, digest, digest == of.md5)
    record = {
        "format": FILE_FORMAT,
        "flag": of.flag,
        "pixels": of.size,
        "source": origin,
        "md5": digest,
        "catalogue_md5": of.md5,
        "verified": done.verified,
        "bytes": done.bytes,
        "licence": of.catalogue_entry["license"],
        "citation": CITATION,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    write_toml(path.with_suffix(".toml"), record)
    return done


def list_sets(root: Path | None) -> list[dict[str, Any]]:
    """What there is to fetch, and where what is here lies."""
    rows = []
    for flag, facts in load_catalogue().items():
        here = {size: find_file(DataSet(flag, size), root) for size in available_sizes(flag)}
        rows.append(
            {
                "flag": flag,
                "task": facts["task"],
                "channels": facts["n_channels"],
                "sizes": list(available_sizes(flag)),
                "samples": {split: facts["n_samples"][split] for split in SPLITS},
                "licence": facts["license"],
                "here": {str(size): str(path) for size, path in here.items() if path is not None},
            }
        )
    return rows
