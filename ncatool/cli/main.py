"""The entry point: failures become one line and an exit code."""

from __future__ import annotations

import signal
import sys
from types import FrameType

import typer
from typer.exceptions import TyperException

from ncatool.cli import terminal
from ncatool.cli.app import app
from ncatool.cli.streams import use_safe_streams
from ncatool.cli.usage import translate_error
from ncatool.config.schema import check_file_name
from ncatool.errors import ExitCode, NcatoolError, shorten

# Each adds its command to the app, in the order of --help.
# isort: off
from ncatool.cli import demo, fetch, train, resume, sweep, render, compare, info, export, import_model  # noqa: F401
# isort: on


@use_safe_streams()
def main() -> None:
    """Run the command line: every failure that a user can fix is one line and a hint."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        for word in sys.argv[1:]:
            check_file_name(word)
        code = app(prog_name="ncatool", standalone_mode=False)
    except NcatoolError as error:
        _fail(error)
    except TyperException as error:
        if not error.format_message():  # there were no arguments: the help is printed
            sys.exit(ExitCode.USAGE)
        _fail(translate_error(error))
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error) or terminal.settings.traceback:
            raise
        what = f"out of memory: {shorten(next(iter(str(error).splitlines()), 'this process can have no more'))}"
        _fail(NcatoolError(what, "give less at once (--batch-size, --size, --rollouts, --jobs), or --device cpu"))
    except OSError as error:
        if error.filename is None or terminal.settings.traceback:
            raise
        _fail(NcatoolError(f"{error.filename}: {error.strerror}", "give another name, or make that file accessible"))
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(ExitCode.INTERRUPTED)
    else:
        sys.exit(code if isinstance(code, int) else ExitCode.DONE)


def _terminate(number: int, frame: FrameType | None) -> None:
    """Exit as after Ctrl-C, so that what is half done is cleaned up."""
    sys.exit(ExitCode.TERMINATED)


def _is_out_of_memory(error: Exception) -> bool:
    words = ("out of memory", "can't allocate memory")
    return isinstance(error, MemoryError) or any(part in str(error) for part in words)


def _fail(error: NcatoolError) -> None:
    if terminal.settings.traceback:
        terminal.print_traceback(error)
    terminal.print_error(error)
    sys.exit(error.code)
