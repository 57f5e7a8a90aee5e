"""A loopback HTTP server whose faults are chosen per request."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[["Handler", int], None]


class Handler(BaseHTTPRequestHandler):
    """Serves ``server.content`` at any path, through the server's list of faults (one per request)."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_GET(self) -> None:
        value = self.headers.get("Range")
        offset = int(value.removeprefix("bytes=").removesuffix("-")) if value else 0
        self.server.offsets.append(offset)
        answer = self.server.faults.pop(0) if self.server.faults else whole
        self.close_connection = True
        answer(self, offset)

    def head(
        self, offset: int, *, length: int | None = None, total: int | None = None, **headers: str
    ) -> None:
        content = self.server.content
        self.send_response(206 if offset else 200)
        if offset:
            self.send_header("Content-Range", f"bytes {offset}-{len(content) - 1}/{total or len(content)}")
        self.send_header("Content-Length", str(len(content) - offset if length is None else length))
        self.send_header("ETag", '"one"')
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    content: bytes
    faults: list[Answer]
    offsets: list[int]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/file"


@contextmanager
def serving(content: bytes, *faults: Answer) -> Iterator[Server]:
    """A server for the length of a test."""
    server = Server(("127.0.0.1", 0), Handler)
    server.content, server.faults, server.offsets = content, list(faults), []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def whole(handler: Handler, offset: int) -> None:
    """As it should be, ranges included."""
    if offset and offset >= len(handler.server.content):
        handler.send_error(416)
        return
    handler.head(offset)
    handler.wfile.write(handler.server.content[offset:])


def cut(handler: Handler, offset: int) -> None:
    """Half of what is left, then the connection goes away."""
    handler.head(offset)
    rest = handler.server.content[offset:]
    handler.wfile.write(rest[: len(rest) // 2])


def stall(handler: Handler, offset: int) -> None:
    """A thousand bytes, then silence."""
    handler.head(offset)
    handler.wfile.write(handler.server.content[offset : offset + 1000])
    handler.wfile.flush()
    time.sleep(2.5)  # longer than the test's patience


def ignore_range(handler: Handler, offset: int) -> None:
    """The whole file, whatever was asked for."""
    handler.head(0)
    handler.wfile.write(handler.server.content)


def ignore_range_and_cut(handler: Handler, offset: int) -> None:
    handler.head(0)
    handler.wfile.write(handler.server.content[: len(handler.server.content) // 2])


def wrong_range(handler: Handler, offset: int) -> None:
    """206, but not the range that was asked for."""
    handler.head(max(1, offset - 7))
    handler.wfile.write(handler.server.content[max(1, offset - 7) :])


def announce_more(handler: Handler, offset: int) -> None:
    """Everything, under a Content-Length that is too large."""
    handler.head(offset, length=len(handler.server.content) - offset + 500)
    handler.wfile.write(handler.server.content[offset:])


def announce_less(handler: Handler, offset: int) -> None:
    """A Content-Length of half the file."""
    handler.head(offset, length=(len(handler.server.content) - offset) // 2)
    handler.wfile.write(handler.server.content[offset:])


def corrupt(handler: Handler, offset: int) -> None:
    """Right length, one wrong byte."""
    handler.head(offset)
    rest = bytearray(handler.server.content[offset:])
    rest[len(rest) // 2] ^= 1
    handler.wfile.write(bytes(rest))


def corrupt_then_cut(handler: Handler, offset: int) -> None:
    handler.head(offset)
    half = bytearray(handler.server.content[offset : offset + 5000])
    half[100] ^= 1
    handler.wfile.write(bytes(half))


def endless(handler: Handler, offset: int) -> None:
    """Never stops (no Content-Length)."""
    handler.send_response(200)
    handler.end_headers()
    try:
        for _ in range(1000):
            handler.wfile.write(bytes(1 << 16))
    except OSError:
        pass


def compressed(handler: Handler, offset: int) -> None:
    handler.head(offset, Content_Encoding="gzip")
    handler.wfile.write(handler.server.content[offset:])


def status(code: int) -> Answer:
    """An error status."""

    def answer(handler: Handler, offset: int) -> None:
        handler.send_error(code)

    return answer
