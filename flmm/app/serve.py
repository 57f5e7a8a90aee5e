"""Start the page: on this machine alone unless told otherwise, nothing from outside, nothing told to anybody."""

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from flmm import shipped
from flmm.app.models import Models
from flmm.app.uploads import MAX_MEGABYTES, examples
from flmm.errors import InputError
from flmm.predictor import Grounder

INSTALL = "make install-demo"
DEFAULT = "shapes-llava"
EVENTS = 64  # clicks and questions that may wait together; questions alone: flmm.app.models.WAITING


def loaders(head: str | None, **options: Any) -> Models:
    """The models to choose from: the one of ``head``, loaded at once, or all that ship with the package.

    Raises:
        InputError: as ``Grounder.load``.
    """
    if head is not None:
        grounder = Grounder.load(head, **options)
        return Models({head: lambda: grounder})
    names = sorted(shipped.models(), key=lambda name: (name != DEFAULT, name))
    return Models({name: partial(Grounder.load, name, device=options["device"]) for name in names})


@contextmanager
def running(models: Models, host: str, port: int) -> Iterator[str]:
    """The page as long as the context lasts; yields its address. Uploads lie in a folder that is gone afterwards.

    Raises:
        InputError: Gradio is not installed, or the port is taken.
    """
    with tempfile.TemporaryDirectory(prefix="flmm-app-") as folder:
        # Read when Gradio is imported and when its components are made.
        os.environ.update(
            GRADIO_TEMP_DIR=folder, GRADIO_ANALYTICS_ENABLED="False", HF_HUB_DISABLE_TELEMETRY="1"
        )
        try:
            import gradio as gr
        except ImportError as error:
            raise InputError(
                f"flmm app needs Gradio, which is not installed; in the checkout run: {INSTALL}"
            ) from error
        from flmm.app.page import STATIC, build

        blocks = build(models, examples(), Path(folder)).queue(max_size=EVENTS, api_open=False)
        try:
            _, address, _ = blocks.launch(
                server_name=host,
                server_port=port,
                share=False,
                quiet=True,
                prevent_thread_lock=True,
                max_file_size=f"{MAX_MEGABYTES}mb",
                theme=gr.themes.Soft(
                    font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
                ),
                css_paths=STATIC / "app.css",
                footer_links=[],
                run_history=False,
                ssr_mode=False,
                pwa=False,
                mcp_server=False,
                enable_monitoring=False,
                state_session_capacity=64,
            )
        except OSError as error:
            raise InputError(
                f"{host}:{port}: cannot be listened on; is it in use? Choose another --port."
            ) from error
        try:
            yield address
        finally:
            blocks.close(verbose=False)
            models.close()


def serve(models: Models, host: str, port: int) -> None:
    """Run until Ctrl-C or a request to end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the uploads' folder is deleted
    with running(models, host, port) as address:
        print(f"The app runs at {address} (Ctrl-C ends it)", flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
