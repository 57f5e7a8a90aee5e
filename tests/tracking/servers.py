"""A tracking server as a team has one: MLflow over PostgreSQL, with an artifact store of its own, on this machine."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import requests

from tests.ports import free_port

POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))  # Debian's package `postgresql`
USER = "postgres"  # initdb refuses to run as root


def wait_for(address: str, server: subprocess.Popen[bytes]) -> None:
    """Wait until a server that was just started answers there with a success: up to ten minutes."""
    deadline = time.monotonic() + 600
    while not _answers(address):
        assert server.poll() is None, "the server has ended"
        assert time.monotonic() < deadline, "the server does not answer"
        time.sleep(0.3)


def _answers(address: str) -> bool:
    try:
        return requests.get(address, timeout=10).ok
    except requests.RequestException:
        return False


class Postgres:
    """A database cluster in a folder of its own; anybody on this machine may connect."""

    def __init__(self) -> None:
        self._programs = POSTGRES[-1].parent
        self.folder = Path(tempfile.mkdtemp(prefix="flmm-postgres-"))
        self._as = ["runuser", "-u", USER, "--"] if os.geteuid() == 0 else []
        if self._as:
            shutil.chown(self.folder, USER)
        self.port = free_port()
        data = str(self.folder / "data")
        self._run("initdb", "--pgdata", data, "--auth", "trust", "--username", USER, "--no-sync")
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        log = str(self.folder / "log")
        self._run("pg_ctl", "--pgdata", data, "--options", options, "--log", log, "--timeout", "600", "start")
        self._run("createdb", "--host", "127.0.0.1", "--port", str(self.port), "--username", USER, "mlflow")

    @property
    def uri(self) -> str:
        """As SQLAlchemy wants it."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/mlflow"

    def stop(self) -> None:
        """Stop it and delete its folder."""
        self._run("pg_ctl", "--pgdata", str(self.folder / "data"), "--mode", "immediate", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as, str(self._programs / program), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.folder)


class TrackingServer:
    """`mlflow server`, which may be killed and started again at the same address."""

    def __init__(self, database: str, artifacts: Path) -> None:
        self._database, self._artifacts = database, artifacts
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = ["--backend-store-uri", self._database, "--artifacts-destination", str(self._artifacts)]
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *options, *where],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for(f"{self.uri}/health", self._process)

    def kill(self) -> None:
        """As a machine that goes down: nothing is finished."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
