"""Builds `rollout.c` for this very processor with the system's C compiler, once, and loads it."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("rollout.c")
NO_COMPILER = (
    "no C compiler was found, so rollouts take the dense path, several times slower; "
    "install one (Debian: apt install gcc, macOS: xcode-select --install, anywhere: pip install ziglang)"
)
_FLAGS = ["-std=gnu11", "-O3", "-shared", "-fPIC", "-fno-math-errno", "-ffp-contract=fast"]
_TARGET_FLAGS: tuple[list[str], ...] = (["-march=native"], ["-mcpu=native"], [])
_TIMEOUT = 120
"""Seconds that one call of the compiler may take; the first one of zig builds its own runtime."""


def _find_compilers() -> list[list[str]]:
    """Commands to try, the user's own choice first."""
    named = [shlex.split(os.environ["CC"])] if os.environ.get("CC") else []
    found = [[name] for name in ("cc", "gcc", "clang") if shutil.which(name)]
    zig = [[sys.executable, "-m", "ziglang", "cc"]] if importlib.util.find_spec("ziglang") else []
    return [*named, *found, *zig]


def _run_compiler(command: list[str]) -> bytes | None:
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None


def _folder() -> Path:
    """The user's cache folder, or a private temporary one where that cannot be written."""
    import platformdirs

    try:
        return platformdirs.user_cache_path("ncatool", ensure_exists=True)
    except OSError:
        return Path(tempfile.mkdtemp(prefix="ncatool-"))


def _load(path: Path) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(str(path))
    except OSError:
        return None


def _build(compiler: list[str], native: list[str], folder: Path) -> ctypes.CDLL | None:
    """The library for this compiler and processor, from the cache or built into it.

    The compiler's predefined macros name its version and every instruction set it may use: with the
    source they key the cache, so machines of different kinds can share a home folder.
    """
    macros = _run_compiler([*compiler, *native, "-dM", "-E", "-x", "c", os.devnull])
    if macros is None:
        return None
    key = hashlib.sha256(SOURCE.read_bytes() + macros + repr((compiler, native, _FLAGS)).encode()).hexdigest()
    path = folder / f"rollout-{key[:24]}.so"
    if path.exists() and (library := _load(path)):
        return library
    partial = folder / f"{path.name}.{os.getpid()}.partial"
    try:
        if _run_compiler([*compiler, *native, *_FLAGS, "-o", str(partial), str(SOURCE)]) is None:
            return None
        partial.replace(path)
    except OSError:
        return None
    finally:
        partial.unlink(missing_ok=True)
    return _load(path)


@cache
def load_library() -> ctypes.CDLL | None:
    """The compiled rollout, or None where this machine has no C compiler that works."""
    folder = _folder()
    attempts = (_build(compiler, native, folder) for compiler in _find_compilers() for native in _TARGET_FLAGS)
    return next((built for built in attempts if built is not None), None)


def has_compiler() -> bool:
    """Whether there is any compiler to try."""
    return bool(_find_compilers())


def build_shared_library(source: Path, out: Path) -> bool:
    """Builds a shared library of portable C99; False where no compiler does."""
    flags = ["-std=c99", "-O2", "-shared", "-fPIC"]
    return any(_run_compiler([*one, *flags, "-o", str(out), str(source)]) is not None for one in _find_compilers())
