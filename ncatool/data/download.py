"""One file over HTTP: goes on where an earlier try ended, and tries again while there is hope."""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path

import requests
import urllib3

from ncatool.errors import NcatoolError
from ncatool.files.atomic import describe_write_error

CHUNK_BYTES = 2**20
"""Bytes read at a time, at most."""
MAX_PAUSE = 60.0
RESERVED_BYTES = 16 * 2**20
"""Bytes that a download leaves free on the disk."""

Watch = Callable[[int, int | None, str], None]
"""Sees how a transfer goes: bytes done, bytes in all, what is being done. Without bytes in all: a message."""


@dataclass(frozen=True)
class RetryPolicy:
    """How long to hope."""

    timeout: float = 30.0
    """Seconds to connect, and seconds of silence."""
    retries: int = 6
    """Tries without a byte of progress, after the first."""


class _TransientError(Exception):
    """A failure that may not last; `pause` is what the server asked for, in seconds."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


def download(url: str, part: Path, patience: RetryPolicy, watch: Watch) -> None:
    """Completes `part` with what `url` holds, from where it ends.

    Raises NcatoolError where the server refuses, stays silent or breaks off too often, or the disk is
    full; what has come by then stays in `part`.
    """
    failures = 0
    with requests.Session() as session:
        session.headers.update({"Accept-Encoding": "identity", "User-Agent": f"ncatool/{version('ncatool')}"})
        while True:
            before = _file_size(part)
            try:
                _try_download(session, url, part, patience.timeout, watch)
                return
            except _TransientError as error:
                failures = 1 if _file_size(part) > before else failures + 1
                if failures > patience.retries:
                    raise NcatoolError(
                        f"{url}: {error} ({failures} times in a row)",
                        "what has come is kept: run the same command again, or give --mirror URL",
                    ) from None
                pause = max(min(2.0 ** (failures - 1), MAX_PAUSE), error.pause)
                watch(_file_size(part), None, f"{error}; trying again in {pause:g} s")
                time.sleep(pause)


def _file_size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _try_download(session: requests.Session, url: str, part: Path, timeout: float, watch: Watch) -> None:
    done = _file_size(part)
    wanted = {"Range": f"bytes={done}-"} if done else {}
    try:
        with session.get(url, headers=wanted, stream=True, timeout=timeout) as answer:
            if done and answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return _check_complete(answer, part)
            _check_status(answer)
            done = _find_start(answer, done)
            length = answer.headers.get("Content-Length", "")
            total = done + int(length) if length.isdecimal() else None
            _check_space(part, (total or done) - done)
            _store(_read_chunks(answer), part, done, total, watch)
    except (requests.exceptions.SSLError, requests.exceptions.InvalidProxyURL, ValueError) as error:
        # requests calls a URL that it cannot read a ValueError, too.
        raise NcatoolError(
            f"{url} cannot be asked for: {error}", "correct the URL of --mirror, or the proxy's"
        ) from None
    except requests.exceptions.Timeout:
        raise _TransientError(f"no answer for {timeout:g} s") from None
    except requests.exceptions.RequestException as error:
        raise _TransientError(_find_cause(error)) from None
    return None


def _find_cause(error: Exception) -> str:
    """The innermost cause of a failed request, without the layers around it."""
    cause = getattr(error.args[0], "reason", error.args[0]) if error.args else error
    text = re.sub(r"^<?[\w.]+(\(.*?\)|object at \w+)?>?: |\[Errno -?\d+\] ", "", str(cause))
    return f"the connection failed ({text or type(error).__name__})"


def _check_status(answer: requests.Response) -> None:
    code, asked = answer.status_code, answer.headers.get("Retry-After", "")
    said = f"the server answered {code} {answer.reason or ''}".rstrip()
    if code == HTTPStatus.TOO_MANY_REQUESTS or code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise _TransientError(said, min(float(asked), MAX_PAUSE) if asked.isdecimal() else 0.0)
    if code not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        raise NcatoolError(
            f"{answer.url}: {said}", "check the URL in a browser, or give --mirror URL of a place that has the file"
        )


def _check_complete(answer: requests.Response, part: Path) -> None:
    """The server has nothing beyond what is here: then this is all of it, or of another file."""
    total = answer.headers.get("Content-Range", "").rpartition("/")[2]
    if total != str(_file_size(part)):
        part.unlink()
        raise _TransientError(f"what is here is longer than the server's {total or '?'} bytes: starting over")


def _find_start(answer: requests.Response, done: int) -> int:
    """Where the bytes of this answer belong: a server that knows no ranges begins again."""
    if answer.status_code != HTTPStatus.PARTIAL_CONTENT:
        return 0
    said = answer.headers.get("Content-Range", "")
    match = re.match(r"bytes (\d+)-", said)
    if match is None or int(match[1]) > done:
        raise NcatoolError(
            f"{answer.url}: asked for what follows byte {done}, the server sends {said or 'a range without a name'}",
            "give --mirror URL of a place that has the file",
        )
    return int(match[1])


def _check_space(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed + RESERVED_BYTES > free:
        raise NcatoolError(
            f"{part.parent} has {free / 1e6:,.0f} MB free, but {(needed + RESERVED_BYTES) / 1e6:,.0f} MB are needed",
            "free some space, or give --root another folder",
        )


def _read_chunks(answer: requests.Response) -> Iterator[bytes]:
    """What comes, as it comes: a break loses nothing that had arrived."""
    try:
        while piece := answer.raw.read1(CHUNK_BYTES):
            yield piece
    except urllib3.exceptions.TimeoutError as error:
        raise requests.exceptions.Timeout from error
    except urllib3.exceptions.HTTPError as error:
        raise _TransientError(_find_cause(error)) from None


def _store(pieces: Iterator[bytes], part: Path, done: int, total: int | None, watch: Watch) -> None:
    watch(done, total, "")
    try:
        with part.open("r+b" if done else "wb") as file:
            file.seek(done)
            for piece in pieces:
                file.write(piece)
                done += len(piece)
                watch(done, total, "")
    except requests.exceptions.RequestException:
        raise  # an OSError too, but not the disk's
    except OSError as error:
        raise describe_write_error(part, error) from None
    if total is not None and done < total:
        raise _TransientError(f"the connection broke off after {done:,} of {total:,} bytes")


def compute_md5(path: Path, watch: Watch) -> str:
    """A file's MD5 as 32 hexadecimal digits."""
    total, done, digest = _file_size(path), 0, hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            digest.update(piece)
            done += len(piece)
            watch(done, total, "verifying")
    return digest.hexdigest()
