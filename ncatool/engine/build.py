"""Builds `rollout.c` for this processor with the system's C compiler, once, and loads it.

A library is built under a temporary name, flushed to disk, and checked by the caller. Only then does it get the name
that later processes load it by: so a library with that name has passed the check.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ncatool.engine import library_cache

SOURCE = Path(__file__).with_name("rollout.c")
"""It includes the headers beside it."""
MAX_ATTEMPT_SECONDS = 120
"""Time that one compiler may take with one set of flags; zig builds its own runtime when it first runs."""
MAX_BUILD_SECONDS = 180
"""Time that all attempts together may take."""
_FLAGS = ["-std=gnu11", "-O3", "-shared", "-fPIC", "-fno-math-errno", "-ffp-contract=fast"]
_TARGET_FLAGS: tuple[list[str], ...] = (["-march=native"], ["-mcpu=native"], [])

_SLOW = "so rollouts take the dense path, several times slower"
_INSTALL = "(Debian: apt install gcc, macOS: xcode-select --install, anywhere: pip install ziglang)"
NO_COMPILER = f"no C compiler was found, {_SLOW}; install one {_INSTALL}"
BUILD_FAILED = f"no C compiler here could build the engine, {_SLOW}; install another one {_INSTALL}"
CHECK_FAILED = (
    f"the engine that the C compiler built does not compute what the dense rule does, {_SLOW}; "
    f"install another compiler {_INSTALL}, or name one in CC"
)


class _CheckFailedError(Exception):
    """A library was built, but it computes something else."""


def _find_compilers() -> list[list[str]]:
    """Return the commands to try, first the one that the user names in CC."""
    named = [shlex.split(os.environ["CC"])] if os.environ.get("CC") else []
    installed = [[name] for name in ("cc", "gcc", "clang") if shutil.which(name)]
    zig = [[sys.executable, "-m", "ziglang", "cc"]] if importlib.util.find_spec("ziglang") else []
    return [*named, *installed, *zig]


def _run_compiler(command: list[str], deadline: float) -> bytes | None:
    """Return what a command prints; None if it fails, or is not done at the deadline (of `time.monotonic`)."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        return None
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def _load(path: Path) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(str(path))
    except OSError:
        return None


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _load_or_build(
    compiler: list[str], target: list[str], folder: Path, check: Callable[[ctypes.CDLL], bool], deadline: float
) -> ctypes.CDLL | None:
    """Return the library for this compiler and processor, from the folder or built into it; None if that fails.

    The compiler's predefined macros name its version and every instruction set it may use: with the
    source they key the cache, so machines of different kinds can share a home folder.
    """
    macros = _run_compiler([*compiler, *target, "-dM", "-E", "-x", "c", os.devnull], deadline)
    if macros is None:
        return None
    sources = b"".join(path.read_bytes() for path in sorted(SOURCE.parent.glob("*.[ch]")))
    key = hashlib.sha256(sources + macros + repr((compiler, target, _FLAGS)).encode()).hexdigest()
    path = folder / f"rollout-{key[:24]}.so"
    if library_cache.is_private(path) and (library := _load(path)):
        return library
    try:
        build_folder = library_cache.make_build_folder(folder)
    except OSError:
        return None
    try:
        return _build([*compiler, *target], build_folder / path.name, check, deadline)
    finally:
        shutil.rmtree(build_folder, ignore_errors=True)


def _build(
    command: list[str], partial: Path, check: Callable[[ctypes.CDLL], bool], deadline: float
) -> ctypes.CDLL | None:
    """Build and check a library, then move it out of its build folder.

    Raises _CheckFailedError for a library that does not pass.
    """
    if _run_compiler([*command, *_FLAGS, "-o", str(partial), str(SOURCE)], deadline) is None:
        return None
    try:
        partial.chmod(0o700)  # whatever the umask: others must not be able to write it
        _flush(partial)
        library = _load(partial)
        if library is not None:
            if not check(library):
                raise _CheckFailedError
            with suppress(OSError):  # it is good for this process even where it cannot be kept
                partial.replace(partial.parent.parent / partial.name)
    except OSError:
        return None
    return library


def load_library(check: Callable[[ctypes.CDLL], bool]) -> ctypes.CDLL | str:
    """Return the compiled rollout, or a sentence that says why there is none.

    `check` is called once a build, and says whether the library computes what it should.
    """
    compilers = _find_compilers()
    if not compilers:
        return NO_COMPILER
    end, reason = time.monotonic() + MAX_BUILD_SECONDS, BUILD_FAILED
    try:
        folder = library_cache.choose_folder()
    except OSError:
        return reason
    for compiler in compilers:
        for target in _TARGET_FLAGS:
            deadline = min(end, time.monotonic() + MAX_ATTEMPT_SECONDS)
            try:
                library = _load_or_build(compiler, target, folder, check, deadline)
            except _CheckFailedError:
                reason = CHECK_FAILED
                continue
            if library is not None:
                return library
    return reason


def has_compiler() -> bool:
    """Return whether there is any compiler to try."""
    return bool(_find_compilers())


def build_shared_library(source: Path, out: Path) -> bool:
    """Build a shared library of portable C99; return whether any compiler could."""
    flags = ["-std=c99", "-O2", "-shared", "-fPIC", "-o", str(out), str(source)]
    return any(
        _run_compiler([*compiler, *flags], time.monotonic() + MAX_ATTEMPT_SECONDS) is not None
        for compiler in _find_compilers()
    )
