"""stdin, stdout and stderr that hold in every shell: closed, full, cut off, or in an encoding without our letters.

Everything that is written to stdout and stderr passes here, rich's and Typer's output as well. What cannot be written
is dropped, so that the work is done all the same; the command then ends with an error if stdout has lost data.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from ncatool.cli import terminal
from ncatool.errors import ExitCode, NcatoolError

_PLAIN_LETTERS = str.maketrans(
    {"–": "-", "—": "-", "−": "-", "×": "x", "·": ".", "…": "...", "†": "+", "±": "+-", "²": "^2", "∞": "inf", "▀": "^"}
    | {"→": "->"}
)
"""What stands for our own letters in an encoding that lacks them."""
_ERROR_HANDLER = "ncatool-plain"


class _LossyFile(io.FileIO):
    """A descriptor whose failed writes are dropped; `error` is the first failure."""

    error: OSError | None = None

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write some of the bytes and return their number, or drop all of them."""
        try:
            while (count := super().write(data)) is None:  # another process has made the pipe non-blocking
                select.select([], [self], [])
        except OSError as error:
            self.error = self.error or error
            return len(data)
        return count


def _replace_letters(error: UnicodeError) -> tuple[str, int]:
    """Return a plain letter for each one that the encoding lacks; those without one are shown by their number."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return lacking.translate(_PLAIN_LETTERS).encode("ascii", "backslashreplace").decode(), error.end


@contextmanager
def use_safe_streams() -> Iterator[None]:
    """Make the streams of this process safe; at the end, flush them and exit with an error where stdout lost data."""
    codecs.register_error(_ERROR_HANDLER, _replace_letters)
    _open_missing_descriptors()
    files = {name: _make_safe(name) for name in ("stdout", "stderr")}
    sys.excepthook = lambda kind, error, trace: terminal.print_traceback(error)  # an error may quote any text
    try:
        yield
    except SystemExit as stop:
        lost = _flush(files["stdout"])
        if lost is not None and lost.errno != errno.EPIPE:
            terminal.print_error(_describe_loss(lost))
        raise SystemExit(stop.code or (ExitCode.DONE if lost is None else ExitCode.FAILED)) from None
    finally:
        _flush(files["stderr"])


def _open_missing_descriptors() -> None:
    """Open the null device in place of closed descriptors 0 to 2, or the next file opened would take their place.

    It is opened for reading, so that writing to a closed stdout still fails.
    """
    while (descriptor := os.open(os.devnull, os.O_RDONLY)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - it stays open


def _make_safe(name: str) -> _LossyFile | None:
    """Replace a stream of `sys` by one over a lossy file, and return that file; None where it was replaced before."""
    stream: TextIO | None = getattr(sys, name)
    if stream is not None and stream is not getattr(sys, f"__{name}__"):
        return None
    file = getattr(getattr(stream, "buffer", None), "raw", None)
    if not isinstance(file, _LossyFile):
        file = _LossyFile({"stdout": 1, "stderr": 2}[name], "w", closefd=False)
        safe = _wrap(file, stream, line_buffering=name == "stderr" or file.isatty())
        setattr(sys, name, safe)
        setattr(sys, f"__{name}__", safe)
    file.error = None
    return file


def _wrap(file: _LossyFile, stream: TextIO | None, line_buffering: bool) -> io.TextIOWrapper:
    """Return a text stream in the encoding of the one that it replaces."""
    if stream is not None:
        with suppress(OSError, ValueError):
            stream.flush()
    encoding = getattr(stream, "encoding", None) or "utf-8"
    writer = io.BufferedWriter(file)  # type: ignore[type-var]
    return io.TextIOWrapper(writer, encoding, _ERROR_HANDLER, line_buffering=line_buffering)


def _flush(file: _LossyFile | None) -> OSError | None:
    """Write what is left to stdout or stderr; return why data was lost, or None."""
    if file is None:
        return None
    stream = sys.stdout if file.fileno() == 1 else sys.stderr
    stream.flush()
    return file.error


def _describe_loss(error: OSError) -> NcatoolError:
    reason = "it is closed" if error.errno == errno.EBADF else error.strerror or str(error)
    return NcatoolError(
        f"stdout cannot be written: {reason}",
        "give it a file with space or a program that reads it; files that the command names are written",
    )
