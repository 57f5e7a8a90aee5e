"""The running app, once for all tests that need it."""

from collections.abc import Iterator

import pytest

from tests.ports import free_port


@pytest.fixture(scope="session")
def app() -> Iterator[str]:
    """The address of the app with one of the models that ship."""
    pytest.importorskip("gradio", reason="the extra `demo` is not installed: make install-demo")
    from flmm.app.serve import loaders, running

    with running(loaders("shapes-llava", device="cpu"), "127.0.0.1", free_port()) as address:
        yield address
