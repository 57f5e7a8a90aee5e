"""`flmm` from a process that has imported torch and transformers already: most of a small job is their import.

Snakemake calls `flmm` through bash, which reads the file that ``BASH_ENV`` names: there `flmm` is a function that asks
a server (``rehearsal.serve``). What Snakemake measures of such a job is its time; its memory is the server's.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from flmm.errors import InputError
from flmm.files import write_text

_CLIENT = """
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.connect(sys.argv[1])
    asked = {"arguments": sys.argv[2:], "folder": os.getcwd(), "environment": dict(os.environ)}
    socket.send_fds(server, [json.dumps(asked).encode() + b"\\n"], [1, 2])
    code = server.makefile().read()
sys.exit(int(code or 1))
"""


@contextlib.contextmanager
def preloaded(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    """Yield ``environment`` as one in which bash asks a server for `flmm`.

    Raises:
        InputError: the server ends before it listens.
    """
    # A socket's whole path has a hundred characters at most, so it does not lie in the work folder.
    with tempfile.TemporaryDirectory(prefix="flmm-") as folder:
        place, client, script = (Path(folder) / name for name in ("socket", "client.py", "bash"))
        write_text(client, _CLIENT)
        write_text(script, f'flmm() {{ "{sys.executable}" -SE "{client}" "{place}" "$@"; }}\n')
        # One thread, as the jobs: forked processes cannot have another number any more.
        server = subprocess.Popen(
            [sys.executable, "-m", "rehearsal.serve", str(place)], env=environment | {"OMP_NUM_THREADS": "1"}
        )
        try:
            while not place.exists():
                if server.poll() is not None:
                    raise InputError("rehearsal: the process that keeps torch imported ended")
                time.sleep(0.05)
            yield environment | {"BASH_ENV": str(script)}
        finally:
            server.terminate()
            server.wait()
