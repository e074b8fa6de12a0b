"""A terminal of a given size, as a person would see it: commands run in a pseudo-terminal, read by an emulator."""

import contextlib
import fcntl
import io
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text


class Terminal:
    """A command that runs on a terminal; use it as a context manager."""

    def __init__(self, *arguments, columns=80, lines=24, python=sys.executable, **options):
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._own, other = pty.openpty()
        fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **options.pop("env", {})}
        for name in ("NO_COLOR", "COLUMNS", "LINES"):
            environment.pop(name, None)
        command = [str(python), "-m", "ncatool", *map(str, arguments)]
        self.process = subprocess.Popen(
            command, stdin=other, stdout=other, stderr=other, env=environment, start_new_session=True, **options
        )
        os.close(other)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()
        os.close(self._own)

    def read(self, seconds=0.05):
        """Show what the command writes within some seconds; return False after its end."""
        if not select.select([self._own], [], [], seconds)[0]:
            return True
        with contextlib.suppress(OSError):  # so a pseudo-terminal says that its other side is closed
            if data := os.read(self._own, 65536):
                self._stream.feed(data)
                return True
        return False

    def read_until(self, condition, seconds=60):
        """Read until `condition(text)` holds; fails where it does not in time, or the command ends before."""
        limit = time.monotonic() + seconds
        while not condition(self.text):
            assert self.read(), f"it has ended:\n{self.text}"
            assert time.monotonic() < limit, self.text
        while select.select([self._own], [], [], 0.01)[0] and self.read():  # the rest of the same picture
            pass

    def read_all(self, seconds=60):
        """Read to the end; return the exit code."""
        limit = time.monotonic() + seconds
        while self.read():
            assert time.monotonic() < limit, self.text
        return self.process.wait(10)

    def press(self, keys):
        os.write(self._own, keys.encode())

    @property
    def text(self):
        return "\n".join(line.rstrip() for line in self.screen.display)


def draw_screen(screen, title):
    """Return what stands on a screen as SVG, without the empty lines at its end."""
    used = max((i for i, line in enumerate(screen.display) if line.strip()), default=0)
    text = Text()
    for y in range(used + 1):
        for x in range(screen.columns):
            cell = screen.buffer[y][x]
            text.append(cell.data, Style(color=_name(cell.fg), bgcolor=_name(cell.bg), bold=cell.bold))
        text.append("\n")
    console = Console(record=True, width=screen.columns, file=io.StringIO(), force_terminal=True)
    console.print(text, end="")
    return console.export_svg(title=title)


def _name(colour):
    """Return rich's name of one of pyte's colours."""
    if colour == "default":
        return None
    return f"#{colour}" if len(colour) == 6 and set(colour) <= set("0123456789abcdef") else _NAMES.get(colour, colour)


_NAMES = {"brown": "yellow", **{f"bright{name}": f"bright_{name}" for name in ("black", "red", "green", "blue")}}
