"""Requests to servers that may lie, redirect elsewhere, or never end what they begin."""

from __future__ import annotations

import threading
from http import HTTPStatus
from urllib.parse import urljoin

import requests

from ncatool.errors import NcatoolError

MAX_REDIRECTS = 10
"""Most redirects that are followed for one request."""
MAX_WAITS = 3
"""Times the timeout, which holds for each read from the socket, until the head of a response must be whole."""
MIRROR_HINT = "give --mirror URL of a place that has the file"
_MAX_SHOWN = 120
"""Characters of a server's words that a message repeats."""
_MAX_URL_SHOWN = 300


class Session(requests.Session):
    """A session that follows no redirects: requests would read the whole body of each, however long it is."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


def _get(session: requests.Session, url: str, headers: dict[str, str], timeout: float) -> requests.Response:
    """Return the open response to one request, of which only the head has been read.

    Raises Timeout where the head does not come within a time. A timeout of the socket is not enough: it holds for
    each read, and a server can send a head byte by byte, or one `100 Continue` after the other.
    """
    outcome: list[requests.Response | BaseException] = []

    def ask() -> None:
        try:
            outcome.append(session.get(url, headers=headers, stream=True, timeout=timeout))
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=ask, daemon=True)  # one that never ends does not keep the process
    thread.start()
    thread.join(min(MAX_WAITS * timeout, threading.TIMEOUT_MAX))
    if not outcome:
        raise requests.exceptions.Timeout
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def request(session: requests.Session, url: str, headers: dict[str, str], timeout: float) -> requests.Response:
    """Return the open response to a request, after redirects, of which no body is read."""
    for _ in range(MAX_REDIRECTS + 1):
        response = _get(session, url, headers, timeout)
        location = response.headers.get("Location")
        if location is None or not HTTPStatus.MULTIPLE_CHOICES <= response.status_code < HTTPStatus.BAD_REQUEST:
            return response
        response.close()
        # http.client reads headers as Latin-1; a Location in UTF-8 is common.
        url = urljoin(url, location.encode("latin-1", "replace").decode("utf-8", "replace"))
        if not url.startswith(("http://", "https://")):
            raise NcatoolError(
                f"{name_response(response)}: the server redirects to {shorten_words(url)}, which is no HTTP address",
                MIRROR_HINT,
            )
    raise NcatoolError(f"{name_response(response)}: the server redirects more than {MAX_REDIRECTS} times", MIRROR_HINT)


def shorten_words(text: str, length: int = _MAX_SHOWN) -> str:
    """Return a server's words for a message: in one line, and no longer than a message should be."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[:length]}..."


def name_response(response: requests.Response) -> str:
    """Return the URL of a response, which a server chooses where it redirects."""
    return shorten_words(response.url, _MAX_URL_SHOWN)
