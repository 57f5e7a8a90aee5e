"""The running app, once for all tests that need it."""

import socket
from collections.abc import Iterator

import pytest


def free_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@pytest.fixture(scope="session")
def app() -> Iterator[str]:
    """The address of the app with one of the models that ship."""
    pytest.importorskip("gradio", reason="the extra `demo` is not installed: make install-demo")
    from flmm.app.serve import loaders, running

    with running(loaders("shapes-llava", device="cpu"), "127.0.0.1", free_port()) as address:
        yield address
