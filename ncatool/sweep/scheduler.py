"""Finding a Dask scheduler: its file, its address, and whether something else answers there, all within a time."""

from __future__ import annotations

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ncatool.errors import NcatoolError, UsageError, shorten

POLL_SECONDS = 0.1
"""Seconds between two looks for the scheduler's file."""
FLUSH_SECONDS = 1.0
"""Seconds that the file may be incomplete, while the scheduler writes it."""


def find_scheduler(place: str, timeout: float) -> str:
    """Return the address of the scheduler that is named by its address, or by its file ending in .json.

    Raises NcatoolError where none answers within so many seconds, and UsageError where what answers is no scheduler,
    or one of another version of Dask.
    """
    deadline = time.monotonic() + timeout
    address = _wait_for_file(Path(place), deadline) if place.endswith(".json") else place
    try:
        # In a thread of its own, as an event loop may be running in this one: in a notebook, say.
        with ThreadPoolExecutor(1) as thread:
            asked = _ask(address, max(POLL_SECONDS, deadline - time.monotonic()))
            identity, versions = thread.submit(asyncio.run, asked).result()
    except Exception as error:  # what is no scheduler answers with anything, at which many kinds are raised
        raise _make_error(place, _describe(error)) from None
    _check_answers(place, identity, versions)
    return address


def _make_error(place: str, reason: str) -> NcatoolError:
    return NcatoolError(
        f"no scheduler answers at {place} ({reason})",
        "start one with: dask scheduler; and give its address, as tcp://HOST:8786",
    )


def _describe(error: Exception) -> str:
    if isinstance(error, MemoryError) or (isinstance(error, TimeoutError) and not str(error)):
        return "what answers there is none, or says nothing"
    cause = error.__cause__ if isinstance(error, OSError) else None
    if isinstance(cause, OSError) and not isinstance(cause, TimeoutError):
        return describe_briefly(cause.__cause__ if isinstance(cause.__cause__, Exception) else cause)
    return describe_briefly(error)


def describe_briefly(error: Exception) -> str:
    """Return the first line of an error, or its kind where it says nothing."""
    return next(iter(str(error).splitlines()), "")[:200] or type(error).__name__


def _wait_for_file(path: Path, deadline: float) -> str:
    """Return the address in a scheduler's file, which may have to be written yet."""
    flushed = None
    while True:
        now = time.monotonic()
        try:
            address = json.loads(path.read_text(encoding="utf-8"))["address"]
            if isinstance(address, str):
                return address
            reason = f"its file gives the address {shorten(address)}"
        except FileNotFoundError:
            reason, flushed = "there is no such file", None
        except OSError as error:
            raise _make_error(str(path), f"the file cannot be read: {error.strerror or error}") from None
        except (ValueError, KeyError, TypeError, RecursionError):
            reason = "the file is none that a scheduler writes"
        if reason != "there is no such file":
            flushed = now + FLUSH_SECONDS if flushed is None else flushed
        if now >= min(deadline, flushed if flushed is not None else deadline):
            raise _make_error(str(path), reason)
        time.sleep(POLL_SECONDS)


async def _ask(address: str, timeout: float) -> tuple[Any, Any]:
    """Return what the server at an address says of itself, and its versions."""
    from distributed.comm.core import connect
    from distributed.core import send_recv
    from distributed.security import Security

    async def ask() -> tuple[Any, Any]:
        # It tries again and again; its error says more than that of `wait_for`, which is for what says nothing.
        comm = await connect(address, timeout=round(0.8 * timeout, 1), **Security().get_connection_args("client"))
        try:
            return await send_recv(comm, op="identity"), await send_recv(comm, op="versions")
        finally:
            comm.abort()

    return await asyncio.wait_for(ask(), timeout)


def _check_answers(place: str, identity: Any, versions: Any) -> None:
    """Raise UsageError unless these are the answers of a scheduler of the same version."""
    own = version("distributed")

    kind = identity.get("type") if isinstance(identity, dict) else None
    if not isinstance(kind, str) or not kind.endswith("Scheduler"):
        raise UsageError(
            f"what answers at {place} is no scheduler but {shorten(kind or 'something else')}",
            "give the address that the scheduler prints, as tcp://HOST:8786",
        )
    packages = versions.get("packages") if isinstance(versions, dict) else None
    found = packages.get("distributed") if isinstance(packages, dict) else None
    if found != own:
        raise UsageError(
            f"the scheduler at {place} has Dask {shorten(found)}, but this machine has {own}",
            "install the same on all machines",
        )
