"""``dvc exp run -S``, ``--temp``, ``--queue``, going back and ``make pull``, with steps that do no work (``fake``)."""

import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides
from mlflow import MlflowClient

from flmm.params import load_params
from flmm.pipeline.experiment import project_of_copy
from flmm.tracking import uri
from tests.workflow.conftest import REPOSITORY, Project, copy_project

PARAMS = REPOSITORY / "params.yaml"
COLUMNS = ("--only-changed", "--drop", "^(data|flmm|params|reports|results)")  # as in docs/workflow.md
CHANGED_COLUMNS = {"headline.json", "number", "suites.shapes.train.lr", "report.title"}
FLMM = '#!/bin/sh\nexec python -m tests.workflow.fake_stage "$@"\n'


def test_dvc_writes_params_back_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    shutil.copyfile(PARAMS, path)
    apply_overrides(path, [f"seed={load_params(PARAMS).seed}"])
    assert path.read_text() == PARAMS.read_text(), "run .ci/params_form.py"


@pytest.mark.parametrize(
    "override",
    [
        "suite=shapes",
        "backbones=[shapes-llava]",
        "seed=8",
        "download.retries=9",
        "prepare.exclude=[val2017/1.jpg]",
        "extract.attention=float16",
        "pilot.images=20",
        "embed.dtype=bfloat16",
        "train.betas=[0.8,0.99]",
        "select.heads=2",
        "keywords.threshold=0.4",
        "evaluate.benchmarks=[res,pope]",
        "count.text_model=null",
        "overlays.pictures=3",
        "report.title='Another: title, with signs'",
        "suites.shapes.train.precision=bfloat16",
        "suites.shapes.train.lr=1e-4",
        "suites.shapes.generate.train_images=10",
        "catalogue.shapes-llava.revision=null",
    ],
)
def test_every_section_is_valid_after_dvc_has_set_a_value(tmp_path: Path, override: str) -> None:
    path = tmp_path / "params.yaml"
    shutil.copyfile(PARAMS, path)
    apply_overrides(path, [override])
    assert load_params(path).suite == "shapes"
    comments = [line.partition("#")[2] for line in PARAMS.read_text().splitlines() if "#" in line]
    assert all(comment in path.read_text() for comment in comments)


def test_every_section_has_its_override() -> None:
    marks = test_every_section_is_valid_after_dvc_has_set_a_value.pytestmark  # type: ignore[attr-defined]
    tried = {override.partition("=")[0].partition(".")[0] for override in marks[0].args[1]}
    assert tried == set(load_params(PARAMS).model_dump())


def test_an_experiment_in_a_copy_tells_the_store_of_its_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    copy = tmp_path / ".dvc" / "tmp" / "exps" / "tmpx"
    copy.mkdir(parents=True)
    assert project_of_copy(copy) == project_of_copy(copy / "below") == tmp_path
    assert project_of_copy(tmp_path) is None
    monkeypatch.chdir(tmp_path)
    assert (uri.tracking_uri(), uri.is_the_project_s()) == (uri.DEFAULT_URI, True)
    monkeypatch.chdir(copy)
    assert (uri.tracking_uri(), uri.is_the_project_s()) == (f"sqlite:///{tmp_path}/mlflow.db", False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:1")
    assert uri.tracking_uri() == "http://localhost:1"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A committed project in which `dvc repro` has run with an `flmm` that does no work."""
    project = copy_project(tmp_path_factory.mktemp("experiments"))
    project.set("evaluate", "benchmarks", value=["res", "pope"])
    programs = tmp_path_factory.mktemp("venv")
    (programs / "bin").mkdir()
    (programs / "bin" / "flmm").write_text(FLMM)
    (programs / "bin" / "flmm").chmod(0o755)
    (programs / ".installed").touch()
    os.utime(programs / ".installed", (2**32, 2**32))  # newer than any clone: make installs nothing
    project.environment |= {"PATH": f"{programs}/bin:{project.environment['PATH']}", "VENV": str(programs)}
    for role in ("AUTHOR", "COMMITTER"):
        project.environment |= {f"GIT_{role}_NAME": "test", f"GIT_{role}_EMAIL": "test@localhost"}
    project.run("dvc", "repro")
    project.run("git", "add", "--all")
    project.run("git", "commit", "--quiet", "--message", "results")
    return project


def rates(project: Project) -> set[str]:
    """The learning rates that MLflow knows."""
    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("f-lmm")
    return {run.data.tags["lr"] for run in client.search_runs([experiment.experiment_id])}


def lr(value: float) -> str:
    return f"suites.shapes.train.lr={value}"


def history(project: Project) -> list[float]:
    """The learning rates of the runs of which the report has headlines."""
    found: list[float] = json.loads((project.folder / "reports/history.json").read_text())
    return found


def planned(project: Project) -> set[str]:
    """The rules that Snakemake would run."""
    plan = project.run("snakemake", "--dry-run", "--quiet", "host")
    return set(re.findall(r"^(\w+) +\d+$", plan, re.MULTILINE)) - {"all", "total"}


def assert_only_track_waits(project: Project) -> None:
    """DVC and Snakemake agree that MLflow alone is to be told, and afterwards that nothing is to be done."""
    said = project.run("dvc", "status")
    assert {line for line in said.splitlines() if line and line[0] not in " \t"} == {"track:"}
    assert planned(project) == {"track"}
    project.run("dvc", "repro")
    assert_nothing_waits(project)


def assert_nothing_waits(project: Project) -> None:
    assert "up to date" in project.run("dvc", "status")
    assert "Nothing to be done" in project.run("snakemake", "--dry-run", "--quiet", "host")


@pytest.mark.pipeline
def test_an_experiment_is_applied_and_going_back_leaves_only_mlflow_to_be_told(project: Project) -> None:
    before = history(project)
    project.run("dvc", "exp", "run", "--set-param", lr(0.02), "--set-param", "report.title=Other")
    assert history(project) == [*before, 0.02]  # neither tool deleted it, and the page had both
    assert load_params(project.folder / "params.yaml").train.lr == 0.02
    assert_nothing_waits(project)
    assert re.search(
        r"^reports/headline.json\s+number\s+\d", project.run("dvc", "metrics", "diff"), re.MULTILINE
    )
    columns = project.run("dvc", "exp", "show", "--csv", *COLUMNS).splitlines()[0].split(",")
    assert set(columns) == {"Experiment", "rev", "typ", "Created", *CHANGED_COLUMNS}
    changed = {line[3:] for line in project.run("git", "status", "--short").splitlines()}
    assert changed == {"params.yaml", "dvc.lock"}
    project.run("git", "checkout", "--quiet", "params.yaml", "dvc.lock")
    project.run("dvc", "checkout")
    assert history(project) == before
    assert_only_track_waits(project)


@pytest.mark.pipeline
def test_temporary_and_queued_experiments_keep_their_runs_and_what_they_extracted(project: Project) -> None:
    extracted = set(project.folder.glob("cache/extract/*/*"))
    project.run("dvc", "exp", "run", "--temp", "--name", "one", "--set-param", lr(0.03))
    queued = ("--set-param", lr(0.04), "--set-param", "extract.attention=float16")
    project.run("dvc", "exp", "run", "--queue", "--name", "two", *queued)
    project.run("dvc", "exp", "run", "--run-all")
    assert rates(project) >= {"0.03", "0.04"}
    assert set(project.folder.glob("cache/extract/*/*")) > extracted  # by the second, of its key
    assert project.run("git", "status", "--short") == ""
    assert not list(project.folder.glob(".dvc/tmp/exps/*/params.yaml"))
    project.run("dvc", "exp", "apply", "one")
    assert load_params(project.folder / "params.yaml").train.lr == 0.03
    assert history(project)[-1] == 0.03 and len(history(project)) == 2  # the run from which it began, and it
    assert_only_track_waits(project)
    project.run("git", "checkout", "--quiet", "params.yaml", "dvc.lock")
    project.run("dvc", "checkout")


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a web server that does no more than send the files of a folder."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.pipeline
def test_a_clone_pulls_and_nothing_is_to_be_done(project: Project, tmp_path: Path) -> None:
    project.run("dvc", "remote", "add", "--local", "published", str(tmp_path / "remote"))
    project.run("dvc", "push", "--remote", "published")
    clone = Project(tmp_path / "clone")
    subprocess.run(["git", "clone", "--quiet", project.folder, clone.folder], check=True)
    clone.environment = project.environment | {"PYTHONPATH": str(clone.folder)}
    assert "say where from" in clone.run("make", "pull", code=2)
    with served(tmp_path / "remote") as address:  # where it was published, and where it is read from
        clone.run("make", "pull", f"REMOTE={address}")
    assert_nothing_waits(clone)
    clone.environment["MLFLOW_TRACKING_URI"] = f"sqlite:///{tmp_path}/another.db"
    assert planned(clone) == {"track"}
