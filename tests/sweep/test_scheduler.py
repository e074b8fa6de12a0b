"""A scheduler that is not there, or is something else: one line, and soon."""

import json
import socket
import time
from contextlib import closing
from importlib.metadata import distribution
from pathlib import Path

import pytest

from ncatool.errors import NcatoolError, UsageError
from ncatool.sweep.scheduler import find_scheduler
from tests.cluster import ROOT, find_free_port, start_cluster
from tests.conftest import ncatool
from tests.site import serve_folder

REFUSED = "refused|Timed out"
"""Dask tries again until the time is over; if that is while it tries, it no longer knows why it failed before."""
FILES = {
    "rubbish": ("rubbish", "the file is none that a scheduler writes"),
    "empty": ("", "the file is none that a scheduler writes"),
    "a list": ("[1]", "the file is none that a scheduler writes"),
    "without an address": ("{}", "the file is none that a scheduler writes"),
    "nested": ("[" * 100_000, "the file is none that a scheduler writes"),
    "another type": ('{"address": 3}', "its file gives the address 3"),
    "dead": ('{"address": "tcp://127.0.0.1:9"}', REFUSED),
    "malformed": ('{"address": "127.0.0.1"}', "missing port number"),
}


def expect_error(place, what, timeout=0.5):
    start = time.monotonic()
    with pytest.raises(NcatoolError) as caught:
        find_scheduler(place, timeout)
    assert time.monotonic() - start < timeout + 5
    assert any(part in caught.value.what for part in what.split("|"))
    assert len(caught.value.what.splitlines()) == 1
    assert place in caught.value.what


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_leads_to_no_scheduler(kind, monkeypatch):
    monkeypatch.setattr("ncatool.sweep.scheduler.FLUSH_SECONDS", 0.2)
    content, what = FILES[kind]
    Path("s.json").write_text(content)
    expect_error("s.json", what)


def test_a_file_that_is_missing_or_a_folder():
    expect_error("nowhere.json", "there is no such file")
    Path("folder.json").mkdir()
    expect_error("folder.json", "the file cannot be read")


@pytest.mark.parametrize(
    ("place", "what"),
    [
        ("tcp://127.0.0.1:9", REFUSED),
        ("[::1]:9", ""),
        ("127.0.0.1", "missing port number"),
        ("", "missing port number"),
        ("tcp://127.0.0.1:port", "port"),
        ("http://127.0.0.1:9", "unknown address scheme 'http'"),
        ("tls://127.0.0.1:9", "TLS expects"),
        ("inproc://x", ""),
    ],
)
def test_an_address_that_leads_nowhere(place, what):
    expect_error(place, what)


def test_a_port_where_something_else_listens(tmp_path):
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        expect_error(f"tcp://127.0.0.1:{silent.getsockname()[1]}", "says nothing")
    with serve_folder(tmp_path) as site:
        address = site.url.removeprefix("http://").rstrip("/")
        expect_error(f"tcp://{address}", "(")


def test_the_command_prints_one_line_and_nothing_from_a_destructor():
    done = ncatool("sweep", "--target", "phantom", "--seed", "0,1", "--scheduler", "127.0.0.1", "--no-compare")
    assert done.returncode == 1
    first, hint = (line for line in done.stderr.splitlines() if " → " not in line)
    assert first == "error: no scheduler answers at 127.0.0.1 (missing port number in address '127.0.0.1')"
    assert hint.startswith("hint:")
    assert done.stdout == ""


def test_a_scheduler_of_another_version(tmp_path):
    """By its address and by its file."""
    facts = distribution("distributed")
    own = tmp_path / "packages" / "distributed-1999.1.0.dist-info"
    own.mkdir(parents=True)
    for name in ("METADATA", "entry_points.txt"):
        (own / name).write_text(facts.read_text(name).replace(f"Version: {facts.version}", "Version: 1999.1.0"))
    with start_cluster(tmp_path, workers=0, scheduler={"PYTHONPATH": f"{own.parent}:{ROOT}"}) as cluster:
        Path("s.json").write_text(json.dumps({"address": cluster.address}))
        for place in (cluster.address, "s.json"):
            with pytest.raises(UsageError) as caught:
                find_scheduler(place, 30)
            versions = f"has Dask '1999.1.0', but this machine has {facts.version}"
            assert caught.value.what == f"the scheduler at {place} {versions}"


def test_a_free_port_is_one():
    expect_error(f"tcp://127.0.0.1:{find_free_port()}", REFUSED)
