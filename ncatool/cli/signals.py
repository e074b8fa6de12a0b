"""TODO."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


@contextmanager
def catch_signals() -> Iterator[Callable[[], int | None]]:
    """Gives a function that says which signal has asked to stop; a second one ends at once."""
    caught: int | None = None
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def catch(number: int, frame: FrameType | None) -> None:
        nonlocal caught
        caught = number
        restore()

    for number in before:
        signal.signal(number, catch)
    try:
        yield lambda: caught
    finally:
        restore()
