"""Locks of dead processes stop nobody, those of living ones everybody."""

import os
import re
import threading
import time
from pathlib import Path

import pytest
from filelock import SoftFileLease

from ncatool.errors import NcatoolError
from ncatool.files import lock
from ncatool.files.lock import hold_lock
from ncatool.training.run_files import RunFiles
from tests.conftest import SMALL, run_in_process

LOCK = Path(".m.lock")
LEASE = "filelock/2\npid={pid}\nhost={host}\nmode=lease\ntoken=0123456789abcdef\nduration={duration}\n"
EARLIER = "{pid}\n{host}\n"
DEAD = 2**22 + 1
"""More than any process number."""


@pytest.fixture(autouse=True)
def _short_times(monkeypatch):
    monkeypatch.setattr(lock, "LOCK_TIMEOUT", 0.2)
    monkeypatch.setattr(lock, "LEASE_TIMEOUT", 0.6)


def acquire():
    """Return the notes that are given while the lock is acquired."""
    notes = []
    with hold_lock(LOCK, "m", notes.append):
        assert f"pid={os.getpid()}" in LOCK.read_text()
    assert not LOCK.exists()
    return notes


def write_lock(form, pid, host):
    LOCK.write_text(form.format(pid=pid, host=host, duration=lock.LEASE_TIMEOUT))


def read_own_host():
    with SoftFileLease("own.lock"):
        return re.search(r"host=(.*)", Path("own.lock").read_text())[1]


def test_an_empty_lock_is_removed_when_it_is_old():
    LOCK.touch()
    with pytest.raises(NcatoolError, match="another process is writing m"):
        acquire()
    os.utime(LOCK, (time.time() - 3,) * 2)
    assert acquire() == []


@pytest.mark.parametrize("form", [LEASE, EARLIER])
def test_a_dead_process_on_this_machine_stops_nobody(form):
    write_lock(form, DEAD, read_own_host())
    assert acquire() == []


@pytest.mark.parametrize("form", [LEASE, EARLIER])
def test_a_living_process_on_this_machine_is_named(form):
    write_lock(form, os.getppid(), read_own_host())
    with pytest.raises(NcatoolError, match=f"process {os.getppid()} is writing m") as caught:
        acquire()
    assert "remove .m.lock" in caught.value.hint


@pytest.mark.parametrize("form", [LEASE, EARLIER])
def test_another_machine_that_gives_no_sign_of_life_stops_nobody(form):
    """Such as a container that was started again under another name."""
    write_lock(form, os.getppid(), "elsewhere")
    (note,) = acquire()
    assert note.startswith(f"process {os.getppid()} on elsewhere has locked m: waiting 0.6 s")


def test_another_machine_that_renews_its_lock_is_believed():
    write_lock(LEASE, 77, "elsewhere")
    ended = threading.Event()

    def renew():
        while not ended.wait(0.1):
            LOCK.touch()

    holder = threading.Thread(target=renew)
    holder.start()
    try:
        with pytest.raises(NcatoolError, match="process 77 is writing m"):
            acquire()
    finally:
        ended.set()
        holder.join()


def test_the_holder_renews_its_lock():
    with hold_lock(LOCK, "m"):
        before = LOCK.stat().st_mtime_ns
        time.sleep(0.5)
        assert LOCK.stat().st_mtime_ns > before


def test_a_run_that_ended_while_another_waited_for_it_is_not_replaced(monkeypatch):
    """Two `train` are started together, both see that there is no model; the first one ends, the second one comes."""
    monkeypatch.setattr(lock, "LOCK_TIMEOUT", 5)
    locked = threading.Event()

    def train_first():
        with RunFiles(Path("m.safetensors")).lock():
            locked.set()
            time.sleep(1.5)
            Path("m.safetensors").write_bytes(b"of the first")

    first = threading.Thread(target=train_first)
    first.start()
    locked.wait()
    done = run_in_process("train", *SMALL, "--target", "phantom", "--out", "m.safetensors")
    first.join()
    assert done.returncode == 2
    assert "error: m.safetensors exists already" in done.stderr
    assert [path.name for path in Path().glob("*m.*")] == ["m.safetensors"]
    assert Path("m.safetensors").read_bytes() == b"of the first"
