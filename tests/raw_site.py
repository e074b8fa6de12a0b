"""A server on the loopback address that answers every request with bytes of the test's own, HTTP or not."""

import contextlib
import socket
import threading
from itertools import repeat


@contextlib.contextmanager
def serve_bytes(*pieces):
    """Send these pieces, bytes or iterables of bytes, to each connection; yield the URL and a list of the requests."""
    requests, over = [], threading.Event()

    def answer(connection):
        with connection, contextlib.suppress(OSError):
            request = b""
            while b"\r\n\r\n" not in request:
                request += connection.recv(65536) or b"\r\n\r\n"
            requests.append(request)
            for piece in pieces:
                for part in [piece] if isinstance(piece, bytes) else piece:
                    if over.is_set():
                        return
                    connection.sendall(part)

    def accept():
        with contextlib.suppress(OSError):  # the socket is closed at the end
            while True:
                threading.Thread(target=answer, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}", requests
        finally:
            over.set()
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


def head(status="200 OK", **headers):
    """Return the head of a response; `_` stands for `-` in names."""
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def endless(content=bytes(2**16)):
    return repeat(content)
