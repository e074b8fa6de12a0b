"""Files appear whole or not at all."""

import errno
import os
import secrets
import stat
from pathlib import Path

import pytest

from ncatool.errors import ExitCode, NcatoolError
from ncatool.files.atomic import check_writable, hide_name, remove_partials, replace_atomically, write_bytes
from ncatool.files.lock import hold_lock


def test_nothing_is_overwritten_without_force(tmp_path):
    path = tmp_path / "there"
    path.touch()
    with pytest.raises(NcatoolError, match="exists already") as caught:
        check_writable([path], force=False)
    assert "--force" in caught.value.hint
    check_writable([path], force=True)
    with pytest.raises(NcatoolError, match="is a folder"):
        check_writable([tmp_path], force=True)
    with pytest.raises(NcatoolError, match="cannot be written"):
        check_writable([tmp_path / "nowhere" / "x"], force=False)


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("where", ["fsync", "replace", "write"])
def test_a_failing_disk_leaves_the_old_file(tmp_path, monkeypatch, fault, where):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(*arguments, **options):
        raise OSError(fault, os.strerror(fault))

    with monkeypatch.context() as patched, pytest.raises(NcatoolError, match=os.strerror(fault)) as caught:
        owner, name = {"fsync": (os, "fsync"), "replace": (Path, "replace"), "write": (Path, "write_bytes")}[where]
        patched.setattr(owner, name, fail)
        write_bytes(path, b"new")
    assert caught.value.code == ExitCode.FAILED
    assert path.read_bytes() == b"old"
    assert list(tmp_path.glob("*")) == [path], "no partial file is left"
    assert not list(tmp_path.glob(".*.partial"))


def test_a_broken_link_is_not_replaced_without_force(tmp_path):
    path = tmp_path / "there"
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(NcatoolError, match="exists already"):
        check_writable([path], force=False)
    check_writable([path], force=True)


@pytest.mark.parametrize("name", ["x" * 256, "é" * 128])
def test_a_name_that_is_too_long(tmp_path, name):
    with pytest.raises(NcatoolError, match="File name too long") as caught:
        check_writable([tmp_path / name], force=False)
    assert caught.value.hint == "give a shorter name"


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "x" * 201])
def test_the_longest_names_can_be_written(tmp_path, name):
    path = tmp_path / name
    check_writable([path], force=False)
    write_bytes(path, b"x")
    with hold_lock(tmp_path / hide_name(name, ".lock"), name):
        remove_partials(path)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_partial_files_of_killed_processes_are_removed_and_no_others(tmp_path):
    path = tmp_path / "m.safetensors"
    killed = [".m.safetensors.1234.partial", ".m.safetensors.0a1b2c3d.partial"]
    others = [".m.safetensors.gif.0a1b2c3d.partial", ".m.safetensors.partial", ".xm.safetensors.1.partial"]
    for name in [*killed, *others]:
        (tmp_path / name).touch()
    remove_partials(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(others)


def test_a_link_planted_at_the_temporary_name_is_not_followed(tmp_path, monkeypatch):
    monkeypatch.setattr(secrets, "token_hex", lambda count: "0" * 2 * count)
    victim, path = tmp_path / "victim", tmp_path / "file"
    victim.write_bytes(b"precious")
    (tmp_path / ".file.00000000.partial").symlink_to(victim)
    with pytest.raises(NcatoolError, match="cannot be written"):
        write_bytes(path, b"new")
    assert victim.read_bytes() == b"precious"
    assert not path.exists()


def test_temporary_names_cannot_be_foreseen(tmp_path):
    names = set()
    for _ in range(3):
        with replace_atomically(tmp_path / "file") as partial:
            names.add(partial.name)
    assert len(names) == 3


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o664])
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path, mode):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(mode)
    with replace_atomically(path) as partial:
        assert stat.S_IMODE(partial.stat().st_mode) == 0o600, "nobody else reads it while it is written"
        partial.write_bytes(b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_file_that_came_meanwhile_is_not_replaced(tmp_path):
    path = tmp_path / "file"
    with pytest.raises(NcatoolError, match="exists already"), replace_atomically(path, overwrite=False) as partial:
        partial.write_bytes(b"new")
        path.write_bytes(b"of another process")
    assert path.read_bytes() == b"of another process"
    path.unlink()
    write_bytes(path, b"new", overwrite=False)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("file", b"new")]


def test_new_files_have_ordinary_permissions(tmp_path):
    write_bytes(tmp_path / "file", b"x")
    (tmp_path / "plain").touch()
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)
