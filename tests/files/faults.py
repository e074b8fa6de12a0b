"""A process that dies, or whose disk fails, at a chosen file operation.

Counted are the operations of which an atomic write consists: `Path.write_bytes`, `os.fsync`, `Path.replace` and
`Path.unlink`. What comes before an operation has taken effect, what comes after has not.
"""

import errno
import os
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg

DEATH = 77
"""Exit code of a process that died by a fault."""

LOG = Path("operations.txt")
"""One line for each operation: its name, a space, the name of the file."""


def install(kind, number=0):
    """Make the operation of this number fail in the current process.

    - `log`: none fails; each is written to LOG.
    - `die`: the process ends at once, as by SIGKILL or a power cut; a write leaves half of its bytes.
    - `fail`: this one operation raises OSError; a write leaves half of its bytes.
    - `full`: this write or fsync and all that follow raise OSError.
    """
    count = 0

    def fault_of(name, file):
        """Return whether the next operation fails."""
        nonlocal count
        current, count = count, count + 1
        if kind == "log":
            with LOG.open("a") as log:
                log.write(f"{name} {file}\n")
        if kind == "full":
            return current >= number and name in ("write", "fsync")
        return current == number and kind != "log"

    def fail():
        if kind == "die":
            os._exit(DEATH)
        code = errno.ENOSPC if kind == "full" else errno.EIO
        raise OSError(code, os.strerror(code))

    def wrap(name, operation):
        def wrapped(target, *arguments, **options):
            if fault_of(name, getattr(target, "name", "")):
                fail()
            return operation(target, *arguments, **options)

        return wrapped

    def write(path, content):
        if fault_of("write", path.name):
            original(path, content[: len(content) // 2])
            fail()
        return original(path, content)

    original = Path.write_bytes
    Path.write_bytes = write
    Path.replace = wrap("replace", Path.replace)
    Path.unlink = wrap("unlink", Path.unlink)
    os.fsync = wrap("fsync", lambda file: None)  # a flush matters to a power cut only, and takes time
    # Drawing takes longer than all the rest of a small run.
    FigureCanvasAgg.print_png = lambda self, path, **options: Path(path).write_bytes(b"picture")
