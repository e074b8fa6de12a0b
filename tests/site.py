"""A web server on the loopback address that holds files like those of MedMNIST and fails on request."""

import hashlib
import json
import runpy
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path

import numpy as np

SPLITS = {"train": slice(0, 300), "val": slice(300, 350), "test": slice(350, 400)}
INFO = runpy.run_path(str(Path(find_spec("medmnist").submodule_search_locations[0]) / "info.py"))["INFO"]
FLAGS = [flag for flag in INFO if not flag.endswith("3d")]


def write_set(path, flag, tiles):
    """Write a file in the format of MedMNIST; the label of a tile follows from its number."""
    columns, classes = (14, 2) if flag == "chestmnist" else (1, len(INFO[flag]["label"]))
    labels = (np.arange(len(tiles))[:, None] + np.arange(columns)) % classes
    arrays = {}
    for split, part in SPLITS.items():
        arrays[f"{split}_images"] = tiles[part]
        arrays[f"{split}_labels"] = labels[part].astype(np.uint8)
    np.savez_compressed(path, **arrays)


def stack_volumes(tiles):
    """Return as many volumes of 28 slices as there are grey tiles: slice k of volume i is tile i + k."""
    return np.stack([np.roll(tiles, -i, axis=0)[:28] for i in range(len(tiles))])


def make_small_set(tiles):
    """Return the arrays of a set with 20, 10 and 10 of the tiles, all labelled 0."""
    parts = {"train": tiles[:20], "val": tiles[20:30], "test": tiles[30:40]}
    return {
        **{f"{split}_images": part for split, part in parts.items()},
        **{f"{split}_labels": np.zeros((len(part), 1), np.uint8) for split, part in parts.items()},
    }


class Site:
    """A server of the files of a folder, and a log of the requests that it got."""

    def __init__(self, folder):
        self.folder = folder
        self.faults = []
        """Faults of the next requests, one each: a status code, or a word that `do_GET` or `answer` knows."""
        self.log = []
        """For each request: path, value of the Range header, status, bytes of the body that were sent."""
        self.release = threading.Event()
        """Ends the wait of requests with the fault `pause` or `stall`."""
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    @property
    def mirror(self):
        return f"{self.url}/files"

    def bytes_sent(self):
        return sum(entry[3] for entry in self.log)

    def write_catalogue(self, folder):
        """Write a `medmnist` package whose catalogue names the URLs and MD5s of this server's files."""
        info = {flag: dict(facts) for flag, facts in INFO.items()}
        for path in self.folder.glob("*.npz"):
            flag, _, size = path.stem.partition("_")
            suffix = f"_{size}" if size else ""
            info[flag][f"url{suffix}"] = f"{self.url}/files/{path.name}?download=1"
            info[flag][f"MD5{suffix}"] = hashlib.md5(path.read_bytes()).hexdigest()
        package = folder / "medmnist"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("raise ImportError('only info.py may be executed')\n")
        (package / "info.py").write_text(f"import json\nINFO = json.loads({json.dumps(json.dumps(info))})\n")

    def _handler(site):  # noqa: N805 - self is the handler within
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                pass

            def do_GET(self):
                fault = site.faults.pop(0) if site.faults else ""
                name = self.path.split("?")[0].rpartition("/")[2]
                path = site.folder / name
                entry = [self.path, self.headers.get("Range"), 0, 0]
                site.log.append(entry)
                if isinstance(fault, int):
                    return self.answer(entry, fault, b"sorry")
                if fault == "redirect":
                    return self.answer(entry, 302, b"", Location=f"{site.url}/elsewhere/{name}")
                if not path.is_file():
                    return self.answer(entry, 404, b"nothing")
                content = path.read_bytes()
                if fault == "corrupt":
                    content = content[:100] + bytes([content[100] ^ 1]) + content[101:]
                if fault == "truncate":
                    content = content[: len(content) // 2]
                start = 0
                if entry[1] and fault != "no-range":
                    start = int(entry[1].removeprefix("bytes=").removesuffix("-"))
                    if start >= len(content):
                        return self.answer(entry, 416, b"", **{"Content-Range": f"bytes */{len(content)}"})
                ranged = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
                body = content[start:]
                return self.answer(entry, 206 if start else 200, body, fault, **(ranged if start else {}))

            def answer(self, entry, status, body, fault="", **headers):
                entry[2] = status
                self.send_response(status)
                for name, value in {"Content-Length": len(body), **headers}.items():
                    self.send_header(name, str(value))
                self.end_headers()
                half = len(body) // 2 if fault in ("drop", "stall", "pause") else len(body)
                self.send(entry, body[:half])
                if fault in ("stall", "pause"):
                    site.release.wait(60)
                if fault == "pause":
                    self.send(entry, body[half:])
                if fault in ("drop", "stall"):
                    self.close_connection = True

            def send(self, entry, body):
                entry[3] += len(body)  # before: the client may be done with it, and look, before we are
                try:
                    self.wfile.write(body)
                    self.wfile.flush()
                except OSError:
                    entry[3] -= len(body)
                    self.close_connection = True

        return Handler


@contextmanager
def serve_folder(folder):
    site = Site(folder)
    # The interval is how long `shutdown` waits.
    thread = threading.Thread(target=site.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.release.set()
        site.server.shutdown()
        site.server.server_close()


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not true after {seconds} s"
        time.sleep(0.02)
