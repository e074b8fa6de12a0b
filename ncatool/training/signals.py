"""Signals that ask a run to stop: the run ends after the current iteration, so that everything can be saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def catch_signals() -> Iterator[Callable[[], int | None]]:
    """Yield a function that returns the first signal received, or None; a second signal has its usual effect.

    Handles SIGINT and SIGTERM while the context lasts, but only in the main thread, as Python allows no other.
    """
    caught: int | None = None
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in handlers.items():
            signal.signal(number, handler)

    def catch(number: int, frame: FrameType | None) -> None:
        nonlocal caught
        caught = number
        restore()

    for number in handlers:
        signal.signal(number, catch)
    try:
        yield lambda: caught
    finally:
        restore()
