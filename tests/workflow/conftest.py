"""A whole small project in a temporary directory: the repository's own files with a shrunken params.yaml."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from rehearsal.preloaded import preloaded

REPOSITORY = Path(__file__).resolve().parents[2]

# Values only: the pipeline is the real one, with fewer images.
SMALL = {
    ("backbones",): ["shapes-llava"],
    ("suites", "shapes", "generate", "train_images"): 24,
    ("suites", "shapes", "generate", "evaluation_images"): 20,
    ("extract", "samples_per_shard"): 10,
    ("embed", "images_per_shard"): 20,
    ("suites", "shapes", "train", "head", "base_channels"): 4,
    ("train", "checkpoint_every"): 2,
    ("overlays", "pictures"): 2,
    ("evaluate", "max_new_tokens"): 4,
}


class Project:
    """A copy of the repository and the commands that a user runs in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # The copy's own package, and neither settings nor a server of the machine that runs the tests.
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("MLFLOW", "DVC", "SNAKEMAKE"))
        }
        self.environment = kept | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(folder),
            "DVC_NO_ANALYTICS": "true",
            "DO_NOT_TRACK": "true",
        }

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command in a process group of its own."""
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *command: str, code: int = 0) -> str:
        """Run a command to its end and return what it printed, stdout and stderr together."""
        process = self.start(*command)
        said, _ = process.communicate()
        assert process.returncode == code, f"{' '.join(command)} ended with {process.returncode}:\n{said}"
        return said

    def params(self) -> dict:
        return yaml.safe_load((self.folder / "params.yaml").read_text())

    def set(self, *path: str, value: object) -> None:
        """Change one value of params.yaml."""
        params = self.params()
        section = params
        for key in path[:-1]:
            section = section[key]
        section[path[-1]] = value
        (self.folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))


def copy_project(folder: Path) -> Project:
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listed, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split(
        "\0"
    )
    for name in filter(None, names):
        source, destination = REPOSITORY / name, folder / name
        # Neither what is deleted but still in git's index, nor the versions of the repository's own results.
        if source.is_file() and name != "dvc.lock":
            destination.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, destination)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    project = Project(folder)
    for path, value in SMALL.items():
        project.set(*path, value=value)
    return project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project in which nothing has run."""
    return copy_project(tmp_path)


@contextmanager
def quick(project: Project) -> Iterator[Project]:
    """The project with jobs that are forked from a process that has imported torch: their code is the project's."""
    with preloaded(project.environment) as project.environment:
        yield project


@pytest.fixture(scope="module")
def made_project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project in which the whole pipeline has run once."""
    with quick(copy_project(tmp_path_factory.mktemp("project"))) as project:
        project.run("snakemake", "--cores", "2")
        yield project
