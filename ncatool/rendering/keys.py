"""Keys that are pressed while something is shown in the terminal."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def read_keys() -> Iterator[Callable[[float], str]]:
    """Yield a function that waits for a key for some seconds and returns it, or "" if none was pressed.

    Until the context ends, the terminal does not echo keys.
    """
    if not sys.stdin.isatty() or os.name != "posix":
        yield _wait_without_keys
        return
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    attributes = termios.tcgetattr(descriptor)

    def wait_for_key(seconds: float) -> str:
        ready, _, _ = select.select([descriptor], [], [], seconds)
        return os.read(descriptor, 1).decode(errors="ignore") if ready else ""

    tty.setcbreak(descriptor)
    try:
        yield wait_for_key
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, attributes)


def _wait_without_keys(seconds: float) -> str:
    time.sleep(seconds)
    return ""
