"""`ncatool fetch` from servers that lie, never end, or redirect elsewhere, and in folders with planted links."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ncatool.data import part_file
from ncatool.data.catalogue import DataSet, list_sizes, load_catalogue
from tests.conftest import run_in_process
from tests.files import faults
from tests.raw_site import endless, head, serve_bytes

FETCH = ("fetch", "breastmnist", "--retries", 0)
PART = Path("data/breastmnist.npz.part")
CHUNKED = head(Transfer_Encoding="chunked")


def fetch_from(url, timeout=5):
    start = time.monotonic()
    done = run_in_process(*FETCH, "--timeout", timeout, "--mirror", url)
    assert time.monotonic() - start < 20
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    error, hint = done.stderr.splitlines()[-2:]
    assert error.startswith("error: ")
    assert hint.startswith("hint: ")
    assert len(error) < 700
    return error


@pytest.mark.parametrize(
    "pieces",
    [
        (head(), endless()),
        (CHUNKED, endless(b"10000\r\n" + bytes(2**16) + b"\r\n")),
        (CHUNKED, b"fffffffffff\r\n", endless()),
        (head(Transfer_Encoding="chunked", Content_Length=10), endless(b"10000\r\n" + bytes(2**16) + b"\r\n")),
        (head(Content_Length="-5"), endless()),
        (head(Content_Length=""), endless()),
    ],
    ids=["no length", "chunked", "one chunk", "chunked with a length", "negative length", "empty length"],
)
def test_an_endless_body_ends_at_the_size_that_the_catalogue_allows(pieces):
    with serve_bytes(*pieces) as (url, _):
        error = fetch_from(url)
    assert "sends more than the 1 MB that the file can have at most; the download is deleted" in error
    assert not PART.exists()


@pytest.mark.parametrize("length", ["9" * 4000, "9" * 5000, "9" * 30, "99999999999"])
def test_a_length_that_no_set_has_is_refused_before_anything_is_written(length):
    with serve_bytes(head(Content_Length=length), endless()) as (url, _):
        error = fetch_from(url)
    assert "but it can have 1 MB at most" in error
    assert not PART.exists()


@pytest.mark.parametrize(
    "length", ["", "-5", "+10", "1e5", "1_0", "1.5", "0x10", "٣٣", "²", "1 0", "10\r\nContent-Length: 10"]
)
def test_a_length_that_is_no_number_tells_nothing(length):
    """The MD5 decides, as for a body without a length."""
    answer = head(Content_Length="LENGTH").replace(b"LENGTH", length.encode())
    with serve_bytes(answer, b"x" * 20) as (url, _):
        assert "the MD5 is" in fetch_from(url)


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (head(Content_Length="10\r\nContent-Length: 20"), "multiple unmatching values (10, 20)"),
        (head("206 Partial Content", Content_Range="bytes " + "9" * 4000 + "-"), "the server sends bytes 9999"),
        (head("206 Partial Content", Content_Range="bytes 7-9/10"), "from 0 on, the server sends bytes 7-9/10"),
        (head("206 Partial Content", Content_Range="bytes ٣-9/10").replace(b"?", b""), "the server sends bytes"),
        (head("206 Partial Content"), "a part without a Content-Range"),
        (head(Content_Encoding="gzip"), "sends the file compressed (gzip)"),
        (head("204 No Content"), "answered 204"),
        (head("416 Range Not Satisfiable"), "answered 416"),
        (head("404 " + "z" * 3000), "answered 404 zzz"),
        (b"hello " * 500 + b"\r\n\r\n", "the connection failed"),
        (head("302 Found", Location="file:///etc/passwd"), "redirects to file:///etc/passwd, which is no HTTP"),
        (head("302 Found", Location="ftp://127.0.0.1/x"), "redirects to ftp://127.0.0.1/x, which is no HTTP"),
        (head("302 Found", Location="data:,x"), "which is no HTTP"),
        (head("302 Found", Location="http://[::"), "cannot be asked for"),
        (head("302 Found", Location="/again/" + "x" * 3000), "redirects more than 10 times"),
        (head("302 Found"), "answered 302"),
        (head("503 No", Retry_After="9" * 4000), "answered 503"),
    ],
)
def test_an_answer_that_is_no_file_is_said_in_one_line(answer, what):
    with serve_bytes(answer) as (url, requests):
        assert what in fetch_from(url)
    assert len(requests) <= 11
    assert not PART.exists()


@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 200 ", endless(b"a" * 1000)),
        (b"HTTP/1.1 200 OK\r\n", endless(b"X-A: b\r\n")),
        (b"HTTP/1.1 200 OK\r\nX-A: ", endless(b"a" * 1000)),
        (head("404 No"), endless()),
    ],
    ids=["status line", "headers", "header", "body of an error"],
)
def test_a_head_that_never_ends(pieces):
    with serve_bytes(*pieces) as (url, _):
        fetch_from(url)


def drip(content):
    for byte in content:
        time.sleep(0.05)
        yield bytes([byte])


@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 200 OK\r\nX-A: ", drip(b"a" * 10_000)),
        (endless(b"HTTP/1.1 100 Continue\r\n\r\n"),),
        (CHUNKED, b"5\r\nhello\r\n", endless(b"1" * 1000)),
    ],
    ids=["header byte by byte", "continue", "size of a chunk"],
)
def test_what_never_comes_to_the_point_is_left(pieces):
    with serve_bytes(*pieces) as (url, _):
        fetch_from(url, timeout=1)


def test_the_body_of_a_redirect_is_not_read():
    sent = []

    def body():
        while len(sent) < 4000:
            sent.append(0)
            yield bytes(2**16)

    with serve_bytes(head("302 Found", Location="/again"), body()) as (url, _):
        fetch_from(url)
    assert len(sent) < 2000, "what the system's buffers hold, eleven times"


def test_a_trickle_is_no_answer():
    def body():
        while True:
            time.sleep(0.05)
            yield b"x"

    with serve_bytes(head(Content_Length=100_000), body()) as (url, _):
        error = fetch_from(url, timeout=1)
    assert " bytes in 1 s (1 times in a row)" in error


def test_a_whole_set_of_noise_is_within_its_bound(tmp_path):
    """Noise does not compress: no file of the set can be larger."""
    assert all(DataSet(flag, size).max_bytes > 10**6 for flag in load_catalogue() for size in list_sizes(flag))
    for flag in ("breastmnist", "retinamnist"):
        dataset, arrays = DataSet(flag), {}
        for split, count in dataset.catalogue_entry["n_samples"].items():
            arrays[f"{split}_images"] = np.random.default_rng(0).integers(
                0, 256, (count, *dataset.sample_shape), np.uint8
            )
            arrays[f"{split}_labels"] = np.zeros((count, 1), np.int64)
        for write in (np.savez, np.savez_compressed):
            write(tmp_path / "set.npz", **arrays)
            assert (tmp_path / "set.npz").stat().st_size < dataset.max_bytes


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 24 MB that is mounted at the folder of the sets."""
    (tmp_path / "data").mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(tmp_path / "data")]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("only the administrator can mount a disk")
    yield tmp_path / "data"
    subprocess.run(["umount", str(tmp_path / "data")], check=True)


def test_an_endless_body_leaves_room_on_the_disk(small_disk):
    with serve_bytes(head(), endless()) as (url, _):
        done = run_in_process("fetch", "chestmnist", "--retries", 0, "--mirror", url)
    assert done.returncode == 1
    assert "MB are needed" in done.stderr
    assert shutil.disk_usage(small_disk).free >= part_file.RESERVED_BYTES
    assert (small_disk / "chestmnist.npz.part").stat().st_size > 10**6, "what has come is kept"


def plant(kind, part, victim):
    part.parent.mkdir(exist_ok=True)
    if kind == "symbolic link":
        part.symlink_to(victim)
    elif kind == "dangling link":
        part.symlink_to("nowhere")
    elif kind == "hard link":
        part.hardlink_to(victim)
    elif kind == "pipe":
        os.mkfifo(part)
    elif kind == "folder":
        part.mkdir()
    else:
        part.write_bytes(b"theirs")
        os.chown(part, 12345, -1)


@pytest.mark.parametrize(
    ("kind", "what"),
    [
        ("symbolic link", "is a symbolic link"),
        ("dangling link", "is a symbolic link"),
        ("hard link", "is one of 2 hard links to a file"),
        ("pipe", "is no regular file"),
        ("folder", "cannot be written: Is a directory"),
        ("another user's", "is a file of another user (number 12345)"),
    ],
)
def test_a_planted_part_leads_nowhere(site, tmp_path, kind, what):
    if kind == "another user's" and os.geteuid():
        pytest.skip("only the administrator can give files to others")
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    plant(kind, tmp_path / "data" / "chestmnist.npz.part", victim)
    done = run_in_process("fetch", "chestmnist")
    assert done.returncode == 1
    assert what in done.stderr
    assert "hint:" in done.stderr
    assert victim.read_bytes() == b"precious"
    assert not Path("nowhere").exists()
    assert not Path("data/nowhere").exists()


FAULTY = """
import sys
from tests.files import faults
faults.install(sys.argv.pop(1), int(sys.argv.pop(1)))
from ncatool.cli.main import main
main()
"""


def fetch_with_fault(kind, number):
    command = [sys.executable, "-c", FAULTY, kind, str(number), "fetch", "chestmnist"]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("fault", ["fsync", "rename", "folder"])
def test_a_verified_download_is_kept_when_its_last_step_fails(site, files, tmp_path, fault):
    part, path = tmp_path / "data" / "chestmnist.npz.part", tmp_path / "data" / "chestmnist.npz"
    if fault == "folder":
        path.mkdir(parents=True)
        (path / "file").write_bytes(b"")
        done = run_in_process("fetch", "chestmnist")
    else:
        done = fetch_with_fault("fail", ["fsync", "rename"].index(fault))
    assert done.returncode == 1, done.stderr
    assert f"the download is whole and kept as {part}" in done.stderr
    assert "run the same command again" in done.stderr
    assert part.read_bytes() == (files / "chestmnist.npz").read_bytes()
    if fault == "folder":
        shutil.rmtree(path)
    site.log.clear()
    done = run_in_process("fetch", "chestmnist")
    assert done.returncode == 0, done.stderr
    assert site.log == [], "what is whole needs no server"
    assert hashlib.md5(path.read_bytes()).hexdigest() == DataSet("chestmnist").md5
    assert not part.exists()


@pytest.mark.parametrize("number", range(3))
def test_a_kill_at_any_of_the_last_steps_loses_nothing(site, files, tmp_path, number):
    """At the flush and the renaming of the download, then within the record."""
    assert fetch_with_fault("die", number).returncode == faults.DEATH
    site.log.clear()
    done = run_in_process("fetch", "chestmnist")
    assert done.returncode == 0, done.stderr
    assert site.log == []
    assert (tmp_path / "data" / "chestmnist.npz").read_bytes() == (files / "chestmnist.npz").read_bytes()
    assert not (tmp_path / "data" / "chestmnist.npz.part").exists()


def test_a_planted_lock_file_leads_nowhere(site, tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".chestmnist.npz.lock").symlink_to(victim)
    done = run_in_process("fetch", "chestmnist")
    assert done.returncode == 1
    assert ".chestmnist.npz.lock cannot be written" in done.stderr
    assert victim.read_bytes() == b"precious"
