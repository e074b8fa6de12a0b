"""Building the engine: once, for this processor, checked, whatever the state of the cache and the compilers."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from ncatool.config.names import Precision
from ncatool.config.schema import ModelConfig
from ncatool.engine import build, choose, compiled, library_cache

CPU = torch.device("cpu")
REAL_FIND_COMPILERS = build._find_compilers


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and builds that take a moment: not optimised, by one compiler with one set of flags."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(build, "_find_compilers", lambda: [["cc"]])
    monkeypatch.setattr(build, "_TARGET_FLAGS", ([],))
    monkeypatch.setattr(build, "_FLAGS", ["-std=gnu11", "-O0", "-shared", "-fPIC"])
    for function in (compiled._load_library, library_cache._make_temporary_folder):
        function.cache_clear()
    yield tmp_path / "cache" / "ncatool" / "engine"
    for function in (compiled._load_library, library_cache._make_temporary_folder):
        function.cache_clear()


def write_script(path, text):
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def accept(library):
    return True


def refuse(library):
    raise AssertionError("a library that has passed its check is not checked again")


def load(check=accept):
    library = build.load_library(check)
    assert not isinstance(library, str), library
    return Path(library._name)


def test_built_and_checked_once_then_loaded(cache, monkeypatch):
    checked = []
    load(lambda library: checked.append(Path(library._name)) or True)
    (built,) = cache.iterdir()
    assert [path.name for path in checked] == [built.name]
    assert checked[0].parent != cache, "before the check it has another name"
    calls = []
    real = build._run_compiler
    monkeypatch.setattr(build, "_run_compiler", lambda command, *rest: calls.append(command) or real(command, *rest))
    assert load(refuse) == built
    assert len(calls) == 1, "the second time the compiler is only asked for its macros"
    assert list(cache.iterdir()) == [built]


def test_a_build_is_flushed_and_checked_before_it_gets_its_name(cache, monkeypatch):
    steps = []
    real_flush, real_rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: steps.append("flush") or real_flush(descriptor))
    monkeypatch.setattr(Path, "replace", lambda path, name: steps.append("rename") or real_rename(path, name))
    load(lambda library: steps.append("check") or True)
    assert steps == ["flush", "check", "rename"]


def test_a_library_that_computes_wrongly_is_not_used(cache, tmp_path, monkeypatch):
    for source in build.SOURCE.parent.glob("*.[ch]"):
        (tmp_path / source.name).write_text(source.read_text())
    right = (tmp_path / "rollout.c").read_text()
    monkeypatch.setattr(build, "SOURCE", tmp_path / "rollout.c")
    assert compiled.is_available()
    assert choose.explain_slowness(CPU, ModelConfig(), Precision.FLOAT32) == ""
    wrong = right.replace("+ filter[9 + t] * transposed", "- filter[9 + t] * transposed")
    assert wrong != right
    (tmp_path / "rollout.c").write_text(wrong)
    compiled._load_library.cache_clear()
    assert not compiled.is_available()
    assert len(list(cache.iterdir())) == 1, "only the right one is kept"
    assert choose.engine_name(CPU) == "dense"
    reason = choose.explain_slowness(CPU, ModelConfig(), Precision.FLOAT32)
    assert reason == build.CHECK_FAILED
    assert "no C compiler" not in reason
    state = torch.zeros(1, 3, 3, 16)
    with pytest.raises(RuntimeError, match="does not compute"):
        compiled.CompiledEngine(ModelConfig(), (state,) * 4, 3, 3)


def test_the_check_does_not_depend_on_the_callers_settings():
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode():
            assert compiled.is_available()
    finally:
        torch.set_default_dtype(torch.float32)


def test_another_compiler_is_tried_after_a_failed_check(monkeypatch):
    monkeypatch.setattr(build, "_find_compilers", lambda: [["cc"], ["cc", "-DSECOND"]])
    results = iter([False, True])
    load(lambda library: next(results))
    assert list(results) == []


def test_a_damaged_library_is_built_again(cache):
    """Built by another process, so that the damaged file is not one that this process has loaded."""
    script = f"""
from ncatool.engine import build
build._find_compilers, build._TARGET_FLAGS, build._FLAGS = lambda: [["cc"]], ([],), {build._FLAGS}
assert not isinstance(build.load_library(lambda library: True), str)
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    (built,) = cache.iterdir()
    built.write_bytes(built.read_bytes()[:100])
    load()
    assert len(built.read_bytes()) > 1000


def test_no_compiler_at_all(monkeypatch):
    monkeypatch.setattr(build, "_find_compilers", list)
    assert build.load_library(accept) == build.NO_COMPILER
    assert "pip install ziglang" in build.NO_COMPILER
    assert choose.explain_slowness(CPU, ModelConfig(), Precision.FLOAT32) == build.NO_COMPILER


def test_a_compiler_that_fails_is_passed_over(cache, tmp_path, monkeypatch):
    broken = write_script(tmp_path / "broken", "exit 1")
    macros_only = write_script(tmp_path / "half", 'case "$*" in *-dM*) echo "#define A 1";; *) exit 1;; esac')
    compilers = [["no-such-compiler"], [broken], [macros_only]]
    monkeypatch.setattr(build, "_find_compilers", lambda: compilers)
    reason = build.load_library(accept)
    assert reason == build.BUILD_FAILED
    assert "was found" not in reason
    compilers.append(["cc"])
    assert load().parent.parent == cache
    assert len(list(cache.iterdir())) == 1, "nothing is left of the failed builds"


def test_what_a_compiler_wrote_is_loaded_only_if_it_is_a_library(tmp_path, monkeypatch):
    text = 'while [ "$1" != -o ]; do [ "$1" ] || exit 0; shift; done; echo rubbish > "$2"'
    monkeypatch.setattr(build, "_find_compilers", lambda: [[write_script(tmp_path / "odd", text)]])
    assert build.load_library(accept) == build.BUILD_FAILED


def test_a_library_without_the_functions_fails_the_check(tmp_path, monkeypatch):
    (tmp_path / "rollout.c").write_text("int other(void) { return 1; }\n")
    monkeypatch.setattr(build, "SOURCE", tmp_path / "rollout.c")
    assert compiled.explain_absence() == build.CHECK_FAILED


def test_all_attempts_together_have_limited_time(monkeypatch):
    """On a clock that only the compilers move: each of them takes all the time that it is given."""
    clock, given = [0.0], []

    def run(command, timeout, **_):
        given.append(timeout)
        clock[0] += timeout
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(build, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(build.subprocess, "run", run)
    monkeypatch.setattr(build, "_find_compilers", lambda: [["one"], ["two"], ["three"], ["four"]])
    monkeypatch.setattr(build, "_TARGET_FLAGS", ([], [], []))
    assert build.load_library(accept) == build.BUILD_FAILED
    assert given == [120, 60]


def test_macros_and_build_share_the_time_of_an_attempt(monkeypatch):
    clock, given = [0.0], []

    def run(command, timeout, **_):
        given.append(timeout)
        clock[0] += 50
        return SimpleNamespace(stdout=b"")

    monkeypatch.setattr(build, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(build.subprocess, "run", run)
    assert build.load_library(accept) == build.BUILD_FAILED, "nothing was written"
    assert given == [120, 70]


def test_the_users_compiler_comes_first(monkeypatch):
    monkeypatch.setenv("CC", "my-cc -m64")
    assert REAL_FIND_COMPILERS()[0] == ["my-cc", "-m64"]


def test_the_compiler_cannot_move_arithmetic_across_the_control_register():
    statements = re.findall(r"__asm__ volatile\([^;]*;", build.SOURCE.read_text())
    assert len(statements) == 3
    assert all(': "memory")' in statement for statement in statements)


# ---------- the cache folder ----------


def test_the_cache_is_private(cache):
    previous = os.umask(0)
    try:
        load()
    finally:
        os.umask(previous)
    (built,) = cache.iterdir()
    assert [path.stat().st_mode & 0o777 for path in (cache.parent, cache, built)] == [0o700] * 3
    load(refuse)


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o1777])
@pytest.mark.parametrize("part", ["folder", "library"])
def test_what_others_may_write_is_not_loaded(cache, tmp_path, part, mode):
    load()
    (built,) = cache.iterdir()
    before = built.stat()
    (cache if part == "folder" else built).chmod(mode)
    checked = []
    library = load(lambda library: checked.append(library) or True)
    assert checked, "a new one is built"
    if part == "folder":
        assert not library.is_relative_to(cache)
        assert built.stat().st_ino == before.st_ino
    else:
        assert built.stat().st_ino != before.st_ino
        assert library_cache.is_private(built)


@pytest.mark.parametrize("part", ["folder", "library"])
def test_what_belongs_to_another_user_is_not_loaded(cache, monkeypatch, part):
    load()
    (built,) = cache.iterdir()
    real = Path.stat

    def stat(path, **options):
        status = real(path, **options)
        foreign = path == (cache if part == "folder" else built)
        return SimpleNamespace(st_uid=os.geteuid() + 1, st_mode=status.st_mode) if foreign else status

    monkeypatch.setattr(Path, "stat", stat)
    checked = []
    load(lambda library: checked.append(library) or True)
    assert checked


def test_a_cache_that_cannot_be_made_is_replaced(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    folder = library_cache.choose_folder()
    assert folder.parent == tmp_path
    assert folder.stat().st_mode & 0o777 == 0o700
    assert load().is_relative_to(folder)


def test_a_cache_that_cannot_be_written_is_still_read(cache, monkeypatch):
    """As on a disk mounted for reading alone, whoever the user is."""
    real = library_cache.tempfile.mkdtemp

    def mkdtemp(prefix, dir=None):  # noqa: A002 - its name there
        if dir == cache:
            raise OSError(30, "Read-only file system")
        return real(prefix=prefix, dir=dir)

    load()
    (built,) = cache.iterdir()
    monkeypatch.setattr(library_cache.tempfile, "mkdtemp", mkdtemp)
    assert load(refuse) == built
    built.unlink()
    library = load()
    assert not library.is_relative_to(cache)
    assert list(cache.iterdir()) == []


def test_without_any_folder_the_reason_is_true(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    def mkdtemp(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(library_cache.tempfile, "mkdtemp", mkdtemp)
    assert build.load_library(accept) == build.BUILD_FAILED


def test_the_temporary_folder_is_removed_at_exit(tmp_path):
    (tmp_path / "file").touch()
    script = """
from ncatool.engine import library_cache
folder = library_cache.choose_folder()
(folder / "library.so").touch()
print(folder)
"""
    command = [sys.executable, "-c", script]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "file")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"{tmp_path}/ncatool-")
    assert not Path(done.stdout.strip()).exists()
