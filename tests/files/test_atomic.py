"""Files appear whole or not at all."""

import errno
import os
import stat
from pathlib import Path

import pytest

from ncatool.errors import ExitCode, NcatoolError
from ncatool.files.atomic import check_writable, write_bytes


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


def test_new_files_have_ordinary_permissions(tmp_path):
    write_bytes(tmp_path / "file", b"x")
    (tmp_path / "plain").touch()
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)
