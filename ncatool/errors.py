"""The exceptions for failures that the user can fix, and the exit codes of the command line."""

from enum import IntEnum
from typing import Any

_MAX_SHOWN = 80


class ExitCode(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    INTERRUPTED = 130
    TERMINATED = 143


def shorten(value: object) -> str:
    """Return the repr of a value for an error message, cut to 80 characters."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits; tables nested too deeply
        return f"a {type(value).__name__} that is too long to show"
    return text if len(text) <= _MAX_SHOWN else f"{text[: _MAX_SHOWN - 3]}..."


class NcatoolError(Exception):
    """A failure that the user can fix.

    `what` says in one line what is wrong, with the value found and the value expected; `hint` says what to do;
    `code` is the exit code of the command line.
    """

    def __init__(self, what: str, hint: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        """Describe the error to pickle, so that processes can pass it on; by default `hint` would be missing."""
        return _restore_error, (type(self), self.what, self.hint, self.code)


class UsageError(NcatoolError):
    """A wrong value, or a combination of options that makes no sense."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what, hint, ExitCode.USAGE)


def _restore_error(kind: type[NcatoolError], what: str, hint: str, code: ExitCode) -> NcatoolError:
    error = kind.__new__(kind)
    NcatoolError.__init__(error, what, hint, code)
    return error
