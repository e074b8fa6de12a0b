"""What the user can hint, and the exit codes of the command line."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    INTERRUPTED = 130
    TERMINATED = 143


def shorten(value: object) -> str:
    """A value from a file as an error shows it."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


class NcatoolError(Exception):
    """A failure that the user can fix.

    `what` says in one line what is wrong, with both values at hand; `hint` says what to do.
    """

    def __init__(self, what: str, hint: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.code = code


class UsageError(NcatoolError):
    """A request that cannot be meant: a wrong value, a wrong combination."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what, hint, ExitCode.USAGE)
