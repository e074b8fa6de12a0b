"""Download of one file over HTTP that continues a partial file and retries after failures that may not last."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from time import monotonic

import requests
import urllib3

from ncatool.data.part_file import READ_BYTES, RESERVED_BYTES, check_space, get_size, open_part
from ncatool.data.web import MIRROR_HINT, Session, name_response, request, shorten_words
from ncatool.errors import NcatoolError
from ncatool.files.atomic import describe_write_error

__all__ = ["RESERVED_BYTES", "ProgressCallback", "RetryPolicy", "download"]

MAX_RETRY_DELAY = 60.0
"""Longest wait before the next attempt, in seconds."""
MAX_BYTES = 2**36
"""Most bytes of a file whose size nothing tells."""
MIN_RATE = 500
"""Bytes a second below which a server counts as silent; the mean over the policy's timeout."""
MIN_PROGRESS = 1024
"""Bytes that an attempt must bring to end the row of failures."""

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


class _TooLongError(Exception):
    """More bytes than the file can have."""


def download(
    url: str, part: Path, policy: RetryPolicy, report_progress: ProgressCallback, max_bytes: int = MAX_BYTES
) -> None:
    """Download `url`, a file of at most `max_bytes`, to `part`; a partial file that exists there is continued.

    Raises NcatoolError where the server refuses, stays silent or disconnects too often, or the disk is full. The
    bytes received so far then stay in `part`. It is removed where the server sends more than `max_bytes`.
    """
    failures = 0
    with Session() as session:
        session.headers.update({"Accept-Encoding": "identity", "User-Agent": f"ncatool/{version('ncatool')}"})
        while True:
            size_before = get_size(part)
            try:
                _try_download(session, url, part, policy.timeout, report_progress, max_bytes)
                return
            except _TransientError as error:
                failures = 1 if get_size(part) >= size_before + MIN_PROGRESS else failures + 1
                if failures > policy.retries:
                    raise NcatoolError(
                        f"{url}: {error} ({failures} times in a row)",
                        "what has come is kept: run the same command again, or give --mirror URL",
                    ) from None
                delay = max(min(2.0 ** (failures - 1), MAX_RETRY_DELAY), error.delay)
                report_progress(get_size(part), None, f"{error}; trying again in {delay:g} s")
                time.sleep(delay)


def _try_download(
    session: requests.Session,
    url: str,
    part: Path,
    timeout: float,
    report_progress: ProgressCallback,
    max_bytes: int,
) -> None:
    offset = get_size(part)
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    try:
        with request(session, url, headers, timeout) as response:
            if offset and response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                return _check_complete(response, part)
            _check_status(response)
            offset = _find_offset(response, offset)
            total = _find_total(response, offset)
            if total is not None and total > max_bytes:
                raise NcatoolError(
                    f"{url}: the server's file takes {_format_megabytes(total)}, but it can have "
                    f"{_format_megabytes(max_bytes)} at most",
                    MIRROR_HINT,
                )
            check_space(part.parent, (total or offset) - offset)
            chunks = _read_chunks(response, timeout)
            _write_chunks(chunks, part, offset, total, report_progress, max_bytes)
    except (requests.exceptions.SSLError, requests.exceptions.InvalidProxyURL, ValueError) as error:
        # requests raises ValueError for a URL that it cannot parse.
        raise NcatoolError(
            f"{url} cannot be asked for: {shorten_words(str(error))}", "correct the URL of --mirror, or the proxy's"
        ) from None
    except requests.exceptions.Timeout:
        raise _TransientError(f"no answer for {timeout:g} s") from None
    except requests.exceptions.RequestException as error:
        raise _TransientError(_find_cause(error)) from None
    return None


def _format_megabytes(size: int) -> str:
    return f"{size // 10**6:,} MB" if size < 10**18 else "over a million TB"


def _find_cause(error: Exception) -> str:
    """Return the innermost cause of a failed request as text, without the names of the libraries around it."""
    cause = getattr(error.args[0], "reason", error.args[0]) if error.args else error
    text = re.sub(r"^<?[\w.]+(\(.*?\)|object at \w+)?>?: |\[Errno -?\d+\] ", "", str(cause))
    return f"the connection failed ({shorten_words(text) or type(error).__name__})"


def _check_status(response: requests.Response) -> None:
    code, retry_after = response.status_code, response.headers.get("Retry-After", "")
    message = f"the server answered {code} {shorten_words(response.reason or '')}".rstrip()
    if code == HTTPStatus.TOO_MANY_REQUESTS or code >= HTTPStatus.INTERNAL_SERVER_ERROR:
        delay = min(float(retry_after), MAX_RETRY_DELAY) if retry_after.isdecimal() else 0.0
        raise _TransientError(message, delay)
    if code not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        raise NcatoolError(
            f"{name_response(response)}: {message}",
            "check the URL in a browser, or give --mirror URL of a place that has the file",
        )


def _check_complete(response: requests.Response, part: Path) -> None:
    """Check, where the server has no bytes after the end of `part`, that `part` is as long as the server's file.

    Otherwise it belongs to another file, and is deleted. A server that does not say how long its file is leaves that
    to the MD5.
    """
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    if total and total != str(get_size(part)):
        part.unlink()
        raise _TransientError(f"what is here is longer than the server's {shorten_words(total)} bytes: starting over")


def _parse_size(text: str) -> int | None:
    """Return a number of bytes in a header; None where it is none. Longer ones than any file has stay large."""
    digits = text.strip(" \t")
    return int(digits[:30]) if re.fullmatch("[0-9]+", digits) else None


def _find_total(response: requests.Response, offset: int) -> int | None:
    """Return the size of the server's file; None where the headers do not tell it, or the body comes compressed."""
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.lower() not in ("identity", ""):
        raise NcatoolError(
            f"{name_response(response)}: the server sends the file compressed ({shorten_words(encoding)})", MIRROR_HINT
        )
    if "Transfer-Encoding" in response.headers:  # which makes a Content-Length void
        return None
    length = _parse_size(response.headers.get("Content-Length", ""))
    return None if length is None else offset + length


def _find_offset(response: requests.Response, offset: int) -> int:
    """Return the offset of the response's first byte in the file; 0 where the server does not support ranges."""
    if response.status_code != HTTPStatus.PARTIAL_CONTENT:
        return 0
    content_range = response.headers.get("Content-Range", "")
    match = re.match(r"bytes ([0-9]{1,18})-", content_range)
    if match is None or int(match[1]) > offset:
        raise NcatoolError(
            f"{name_response(response)}: asked for the bytes from {offset} on, the server sends "
            f"{shorten_words(content_range) or 'a part without a Content-Range'}",
            MIRROR_HINT,
        )
    return int(match[1])


def _read_chunks(response: requests.Response, timeout: float) -> Iterator[bytes]:
    """Yield bytes as they arrive, so that a broken connection loses none of them.

    Raises Timeout where none arrive for `timeout` seconds, or so few that a server only seems to be there.
    """
    start, received = monotonic(), 0
    try:
        while chunk := response.raw.read1(READ_BYTES):
            received += len(chunk)
            yield chunk
            if monotonic() - start > timeout:
                if received < MIN_RATE * timeout:
                    raise _TransientError(f"only {received:,} bytes in {timeout:g} s")
                start, received = monotonic(), 0
    except urllib3.exceptions.TimeoutError as error:
        raise requests.exceptions.Timeout from error
    except urllib3.exceptions.HTTPError as error:
        raise _TransientError(_find_cause(error)) from None


def _write_chunks(
    chunks: Iterator[bytes],
    part: Path,
    offset: int,
    total: int | None,
    report_progress: ProgressCallback,
    max_bytes: int,
) -> None:
    report_progress(offset, total, "")
    try:
        with open_part(part) as file:
            file.seek(offset)
            for chunk in chunks:
                if offset + len(chunk) > max_bytes:
                    raise _TooLongError
                check_space(part.parent, len(chunk))
                file.truncate()  # what is there of an earlier download ends where this one goes on
                file.write(chunk)
                offset += len(chunk)
                report_progress(offset, total, "")
    except requests.exceptions.RequestException:
        raise  # it is an OSError, too, but has nothing to do with the disk
    except _TooLongError:
        part.unlink()
        raise NcatoolError(
            f"the server sends more than the {_format_megabytes(max_bytes)} that the file can have at most; "
            "the download is deleted",
            MIRROR_HINT,
        ) from None
    except OSError as error:
        raise describe_write_error(part, error) from None
    if total is not None and offset < total:
        raise _TransientError(f"the connection broke off after {offset:,} of {total:,} bytes")
