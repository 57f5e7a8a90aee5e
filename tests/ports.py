"""Addresses on this machine for servers that a test starts, and for those that are not there."""

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def free_port() -> int:
    """A port on which nobody listens, and that is still free when a slow server comes to take it.

    It lies below those that Linux gives to outgoing connections, and to whoever asks for any port: from 32,768 on.
    """
    while True:
        port = random.SystemRandom().randrange(20_000, 32_000)
        with socket.socket() as tried, suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return port


@contextmanager
def refusing() -> Iterator[str]:
    """An address at which nobody listens, for the length of a test: the port is taken, so that nobody else can."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"
