"""Building the engine: once, for this processor, whatever the state of the cache and the compilers."""

import os
import subprocess
import sys

import pytest

from ncatool.engine import build


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    build.load_library.cache_clear()
    yield tmp_path / "cache" / "ncatool"
    build.load_library.cache_clear()


def script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_built_once_then_loaded(cache, monkeypatch):
    assert build.load_library() is not None
    (built,) = cache.iterdir()
    calls = []
    real = build._run_compiler
    monkeypatch.setattr(build, "_run_compiler", lambda command: calls.append(command) or real(command))
    build.load_library.cache_clear()
    assert build.load_library() is not None
    assert len(calls) == 1, "the second time only asks the compiler who it is"
    assert list(cache.iterdir()) == [built]


def test_a_damaged_library_is_built_anew(cache):
    """Built by another process, so that the damaged file is not one that this process has loaded."""
    subprocess.run([sys.executable, "-c", "from ncatool.engine import build; build.load_library()"], check=True)
    (built,) = cache.iterdir()
    whole = built.read_bytes()
    built.write_bytes(whole[:100])
    assert build.load_library() is not None
    assert len(built.read_bytes()) > 1000


def test_no_compiler_at_all(cache, monkeypatch):
    monkeypatch.setattr(build, "_find_compilers", list)
    assert build.load_library() is None
    assert "pip install ziglang" in build.NO_COMPILER


def test_a_compiler_that_fails_is_passed_over(cache, tmp_path, monkeypatch):
    broken = script(tmp_path / "broken", "exit 1")
    lying = script(tmp_path / "lying", 'case "$*" in *-dM*) echo "#define A 1";; *) exit 1;; esac')
    monkeypatch.setattr(build, "_find_compilers", lambda: [["no-such-compiler"], [broken], [lying], ["cc"]])
    assert build.load_library() is not None
    assert not list(cache.glob("*.partial"))


def test_what_a_compiler_wrote_is_loaded_only_if_it_is_a_library(cache, tmp_path, monkeypatch):
    text = 'while [ "$1" != -o ]; do [ "$1" ] || exit 0; shift; done; echo rubbish > "$2"'
    monkeypatch.setattr(build, "_find_compilers", lambda: [[script(tmp_path / "odd", text)]])
    assert build.load_library() is None


def test_the_users_compiler_comes_first(monkeypatch):
    monkeypatch.setenv("CC", "my-cc -m64")
    assert build._find_compilers()[0] == ["my-cc", "-m64"]


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX permissions")
def test_a_cache_that_cannot_be_made_is_replaced(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    folder = build._folder()
    assert folder.is_dir()
    folder.rmdir()
