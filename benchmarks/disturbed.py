"""A small project that is disturbed, put back to where it was, and compared byte by byte with an undisturbed run.

Its jobs are forked from a process that has imported torch (``rehearsal.preloaded``): they are that process's children,
not Snakemake's, and a cut of the power kills both.
"""

import contextlib
import hashlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from flmm.errors import StepError
from rehearsal.preloaded import preloaded
from tests.workflow.conftest import copy_project

# What a run makes, and what of it has to be the same bytes: not times, pages with dates, and MLflow's ids.
MADE = ("data", "cache", "results", "reports", "logs", ".snakemake", "mlflow.db", "mlruns", "params.yaml")
COMPARED = (
    "data/samples",
    "cache/extract",
    "cache/embed",
    "results",
    "reports/metrics.json",
    "reports/headline.json",
)
OTHER_EACH_TIME = "timing.json"
TEMPORARY = re.compile(r"^\..*\.tmp")
BACKBONE = "shapes-llava"
RESULTS = f"results/shapes/{BACKBONE}"
# A finished project without these has everything from the frozen LMM's attention on before it.
FROM_ATTENTION_ON = (f"cache/extract/{BACKBONE}", RESULTS, "reports")
PATIENCE = 600  # seconds after which a command counts as one that hangs


class Disturbed:
    """One project in a folder, and what an undisturbed run made in it."""

    def __init__(self, work: Path) -> None:
        self.work, self.folder, self._saved = work, work / "project", work / "saved"
        self.folder.mkdir()
        self._project = copy_project(self.folder)
        self._project.set("evaluate", "benchmarks", value=["res", "pope"])
        self._project.set("evaluate", "thoughts", "questions", value=5)
        self.environment = self._project.environment
        self.expected: dict[str, str] = {}
        self.unlocked = 0  # times that Snakemake asked for `--unlock` first
        self.litter = 0  # temporary files that lay there after the rerun
        self.missed = 0  # commands that had ended before their disturbance, and were started again

    def set(self, *path: str, value: object) -> None:
        """Change one value of params.yaml until the next ``reset``."""
        self._project.set(*path, value=value)

    def reset(self, *without: str) -> None:
        """The project as the undisturbed run left it, but for what these patterns match."""
        for name in MADE:
            _remove(self.folder / name)
            source = self._saved / name
            if source.is_dir():
                shutil.copytree(source, self.folder / name, symlinks=True)
            elif source.exists():
                shutil.copy2(source, self.folder / name)
        for pattern in without:
            for path in list(self.folder.glob(pattern)):
                _remove(path)

    def save(self) -> None:
        """Keep what is here now as what ``reset`` puts back, and its bytes as what is expected."""
        shutil.rmtree(self._saved, ignore_errors=True)
        self._saved.mkdir()
        for name in filter(lambda name: (self.folder / name).exists(), MADE):
            source = self.folder / name
            if source.is_dir():
                shutil.copytree(source, self._saved / name, symlinks=True)
            else:
                shutil.copy2(source, self._saved / name)
        self.expected = self.digests()

    def digests(self) -> dict[str, str]:
        """SHA-256 of every compared file that is here under its final name."""
        roots = [self.folder / name for name in COMPARED]
        files = [path for root in roots for path in ([root] if root.is_file() else root.rglob("*"))]
        return {
            str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(files)
            if path.is_file() and path.name != OTHER_EACH_TIME and not TEMPORARY.match(path.name)
        }

    def differing(self, *, only: str = "", complete: bool = True) -> list[str]:
        """Files below ``only`` that differ from the undisturbed run's; ``complete``: or are absent."""
        found = self.digests()
        names = {*found, *self.expected} if complete else found.keys()
        return sorted(
            name for name in names if name.startswith(only) and found.get(name) != self.expected.get(name)
        )

    def count_litter(self) -> None:
        """Temporary files that nobody removed."""
        roots = [self.folder / name for name in ("data", "cache", "results", "reports")]
        self.litter += sum(bool(TEMPORARY.match(path.name)) for root in roots for path in root.rglob(".*"))

    # Commands, as a user gives them in a shell.

    def start(self, command: str) -> "Command":
        """Start a command line of bash."""
        return Command(command, self.folder, self.environment)

    def run(self, command: str) -> tuple[int, str]:
        """Its exit code and what it said, stdout and stderr together."""
        return self.start(command).end()

    def again(self, command: str) -> tuple[int, str]:
        """The same command once more, after `snakemake --unlock` where Snakemake asks for it."""
        code, said = self.run(command)
        if code and "--unlock" in said:
            self.unlocked += 1
            code, said = self.run("snakemake --unlock")
            assert code == 0, said
            code, said = self.run(command)
        return code, said

    def cut_power(self, command: "Command") -> None:
        """SIGKILL of the command, of all that it started, and of the jobs."""
        if command.is_running:
            others = _children(psutil.Process(command.process.pid))
            os.killpg(command.process.pid, signal.SIGKILL)  # all of it at once: nobody sees another one die
            kill_all(others)
        command.process.wait()
        while left := self.jobs():
            kill_all(left)
            time.sleep(0.02)

    def jobs(self) -> list[psutil.Process]:
        """The jobs that are running, and the processes that they started: jobs first."""
        (server,) = (
            child for child in psutil.Process().children() if "rehearsal.serve" in " ".join(child.cmdline())
        )
        direct = server.children()
        return [*direct, *(more for job in direct for more in _children(job))]

    @contextlib.contextmanager
    def quick(self) -> Iterator[None]:
        """Let jobs be forked from a process that has imported torch."""
        with preloaded(self.environment) as self.environment:
            yield


class Command:
    """A running command line; what it says goes into a file, so that it never waits for a reader."""

    def __init__(self, line: str, folder: Path, environment: dict[str, str]) -> None:
        self._said = folder.parent / f"said-{time.time_ns()}"
        with self._said.open("w") as file:
            self.process = subprocess.Popen(
                ["bash", "-c", line],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def end(self) -> tuple[int, str]:
        """Wait for it; exit code and what it said.

        Raises:
            StepError: it hangs.
        """
        try:
            code = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired as error:
            raise StepError(f"{self.process.args} did not end in {PATIENCE} seconds") from error
        said = self._said.read_text(encoding="utf-8", errors="replace")
        self._said.unlink()
        return code, said


def kill_all(processes: list[psutil.Process]) -> None:
    """SIGKILL of processes and of what they started."""
    for process in processes:
        for each in (*_children(process), process):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
