"""Download of one file over HTTP that continues a partial file and retries after failures that may not last."""

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
"""Largest number of bytes read at a time."""
MAX_RETRY_DELAY = 60.0
"""Longest wait before the next attempt, in seconds."""
RESERVED_BYTES = 16 * 2**20
"""Bytes that a download leaves free on the disk."""

ProgressCallback = Callable[[int, int | None, str], None]
"""Takes the bytes done, the total bytes, and the current activity; where the total is None, the text is a message."""


@dataclass(frozen=True)
class RetryPolicy:
    """When a download gives up."""

    timeout: float = 30.0
    """Longest wait for the connection and for the next bytes, in seconds."""
    retries: int = 6
    """Attempts in a row without a byte of progress, after the first attempt."""


class _TransientError(Exception):
    """A failure that may not last; `delay` is the wait that the server asks for, in seconds."""

    def __init__(self, reason: str, delay: float = 0.0) -> None:
        super().__init__(reason)
        self.delay = delay


def download(url: str, part: Path, policy: RetryPolicy, report_progress: ProgressCallback) -> None:
    """Download `url` to `part`; a partial file that exists there is continued.

    Raises NcatoolError where the server refuses, stays silent or disconnects too often, or the disk is full. The
    bytes received so far then stay in `part`.
    """
    failures = 0
    with requests.Session() as session:
        session.headers.update({"Accept-Encoding": "identity", "User-Agent": f"ncatool/{version('ncatool')}"})
        while True:
            size_before = _get_file_size(part)
            try:
                _try_download(session, url, part, policy.timeout, report_progress)
                return
            except _TransientError as error:
                failures = 1 if _get_file_size(part) > size_before else failures + 1
                if failures > policy.retries:
                    raise NcatoolError(
                        f"{url}: {error} ({failures} times in a row)",
                        "what has come is kept: run the same command again, or give --mirror URL",
                    ) from None
                delay = max(min(2.0 ** (failures - 1), MAX_RETRY_DELAY), error.delay)
                report_progress(_get_file_size(part), None, f"{error}; trying again in {delay:g} s")
                time.sleep(delay)


def _get_file_size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _try_download(
    session: requests.Session, url: str, part: Path, timeout: float, report_progress: ProgressCallback
) -> None:
    offset = _get_file_size(part)
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    try:
        with session.get(url, headers=headers, stream=True, timeout=timeout) as response:
            if offset and response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return _check_complete(response, part)
            _check_status(response)
            offset = _find_offset(response, offset)
            length = response.headers.get("Content-Length", "")
            total = offset + int(length) if length.isdecimal() else None
            _check_space(part, (total or offset) - offset)
            _write_chunks(_read_chunks(response), part, offset, total, report_progress)
    except (requests.exceptions.SSLError, requests.exceptions.InvalidProxyURL, ValueError) as error:
        # requests raises ValueError for a URL that it cannot parse.
        raise NcatoolError(
            f"{url} cannot be asked for: {error}", "correct the URL of --mirror, or the proxy's"
        ) from None
    except requests.exceptions.Timeout:
        raise _TransientError(f"no answer for {timeout:g} s") from None
    except requests.exceptions.RequestException as error:
        raise _TransientError(_find_cause(error)) from None
    return None


def _find_cause(error: Exception) -> str:
    """Return the innermost cause of a failed request as text, without the names of the libraries around it."""
    cause = getattr(error.args[0], "reason", error.args[0]) if error.args else error
    text = re.sub(r"^<?[\w.]+(\(.*?\)|object at \w+)?>?: |\[Errno -?\d+\] ", "", str(cause))
    return f"the connection failed ({text or type(error).__name__})"


def _check_status(response: requests.Response) -> None:
    code, retry_after = response.status_code, response.headers.get("Retry-After", "")
    message = f"the server answered {code} {response.reason or ''}".rstrip()
    if code == HTTPStatus.TOO_MANY_REQUESTS or code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        delay = min(float(retry_after), MAX_RETRY_DELAY) if retry_after.isdecimal() else 0.0
        raise _TransientError(message, delay)
    if code not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        raise NcatoolError(
            f"{response.url}: {message}",
            "check the URL in a browser, or give --mirror URL of a place that has the file",
        )


def _check_complete(response: requests.Response, part: Path) -> None:
    """Check, where the server has no bytes after the end of `part`, that `part` is as long as the server's file.

    Otherwise it belongs to another file, and is deleted.
    """
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    if total != str(_get_file_size(part)):
        part.unlink()
        raise _TransientError(f"what is here is longer than the server's {total or '?'} bytes: starting over")


def _find_offset(response: requests.Response, offset: int) -> int:
    """Return the offset of the response's first byte in the file; 0 where the server does not support ranges."""
    if response.status_code != HTTPStatus.PARTIAL_CONTENT:
        return 0
    content_range = response.headers.get("Content-Range", "")
    match = re.match(r"bytes (\d+)-", content_range)
    if match is None or int(match[1]) > offset:
        raise NcatoolError(
            f"{response.url}: asked for the bytes from {offset} on, the server sends "
            f"{content_range or 'a part without a Content-Range'}",
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


def _read_chunks(response: requests.Response) -> Iterator[bytes]:
    """Yield bytes as they arrive, so that a broken connection loses none of them."""
    try:
        while chunk := response.raw.read1(CHUNK_BYTES):
            yield chunk
    except urllib3.exceptions.TimeoutError as error:
        raise requests.exceptions.Timeout from error
    except urllib3.exceptions.HTTPError as error:
        raise _TransientError(_find_cause(error)) from None


def _write_chunks(
    chunks: Iterator[bytes], part: Path, offset: int, total: int | None, report_progress: ProgressCallback
) -> None:
    report_progress(offset, total, "")
    try:
        with part.open("r+b" if offset else "wb") as file:
            file.seek(offset)
            for chunk in chunks:
                file.write(chunk)
                offset += len(chunk)
                report_progress(offset, total, "")
    except requests.exceptions.RequestException:
        raise  # it is an OSError, too, but has nothing to do with the disk
    except OSError as error:
        raise describe_write_error(part, error) from None
    if total is not None and offset < total:
        raise _TransientError(f"the connection broke off after {offset:,} of {total:,} bytes")


def compute_md5(path: Path, report_progress: ProgressCallback) -> str:
    """Return the MD5 of a file as 32 hexadecimal digits."""
    total, done, digest = _get_file_size(path), 0, hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            report_progress(done, total, "verifying")
    return digest.hexdigest()
