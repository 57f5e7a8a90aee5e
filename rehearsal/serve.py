"""Forks a process for every `flmm` that is asked for; it imports all of flmm anew and runs it as the command does.

    python -m rehearsal.serve SOCKET

Imports nothing of flmm itself: what a job imports of it stays part of the rehearsal.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import NoReturn

_MODULES = (
    "torch", "torchvision", "transformers.modeling_utils", "transformers.processing_utils", "segment_anything.modeling",
    "scipy.optimize", "sklearn.metrics", "pandas", "pyarrow.parquet", "pycocotools.mask", "pydantic", "typer", "yaml",
    "rich.progress", "jinja2", "httpx", "mlflow",
)  # fmt: skip


def serve(place: str) -> None:
    """Listen at the Unix socket ``place`` until somebody ends this process; never returns."""
    listening = socket.socket(socket.AF_UNIX)
    made = Path(f"{place}.made")
    listening.bind(str(made))
    listening.listen(64)
    made.rename(place)  # whoever sees it may connect
    for name in _MODULES:
        importlib.import_module(name)
    gc.freeze()  # or each child would copy what was imported, to count its references
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forked ones: they tell their client
    while True:
        client, _ = listening.accept()
        if not os.fork():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listening.close()
            _run(client)
        client.close()


def _run(client: socket.socket) -> NoReturn:
    """Do one command as a process of its own does it, tell its exit code, and end.

    The client reads until the connection is closed: that is when this process has ended. It ends without taking apart
    what was imported, which is half of a small job's time.
    """
    text, descriptors, _, _ = socket.recv_fds(client, 1 << 20, 2)
    while not text.endswith(b"\n"):
        more = client.recv(1 << 20)
        if not more:  # the client was killed
            os._exit(1)
        text += more
    for descriptor, number in zip(descriptors, (1, 2), strict=True):
        os.dup2(descriptor, number)
    asked = json.loads(text)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.argv = ["flmm", *asked["arguments"]]
    code = _code()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(client.detach(), str(code).encode())
    os._exit(code)


def _code() -> int:
    """What `flmm` ends with."""
    try:
        from flmm.cli import main

        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    serve(sys.argv[1])
