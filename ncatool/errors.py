"""What the user can mend, and the exit codes of the command line."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    INTERRUPTED = 130
    TERMINATED = 143


def brief(value: object) -> str:
    """A value from a file as an error shows it."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


class NcatoolError(Exception):
    """A failure that the user can mend.

    `what` says in one line what is wrong, with both values at hand; `mend` says what to do.
    """

    def __init__(self, what: str, mend: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(what)
        self.what = what
        self.mend = mend
        self.code = code


class UsageError(NcatoolError):
    """A request that cannot be meant: a wrong value, a wrong combination."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(what, mend, ExitCode.USAGE)
