"""The whole pipeline on few images, driven as a user drives it: Snakemake, DVC, MLflow."""

import hashlib
import json
import os
import re
import shutil
import signal
import statistics
import time

import pytest
from mlflow import MlflowClient

from tests.workflow.conftest import Project, copy_project, quick

pytestmark = pytest.mark.pipeline

HEAD = "results/shapes/shapes-llava/train/head.safetensors"
STEPS = {"prepare", "extract", "embed", "train", "keywords", "evaluate", "rival", "pipeline"}


def digests(project: Project) -> dict[str, bytes]:
    return {name: (project.folder / name).read_bytes() for name in (HEAD, "reports/metrics.json")}


def ran(said: str) -> list[str]:
    """The stages that `dvc repro` ran, in alphabetical order."""
    return sorted(re.findall(r"^Running stage '([\w-]+)", said, re.MULTILINE))


def plan(project: Project) -> str:
    return project.run("snakemake", "--dry-run", "--quiet", "host")


def current_runs(project: Project) -> list:
    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    experiment = client.get_experiment_by_name("f-lmm")
    return list(client.search_runs([experiment.experiment_id], "tags.current = 'true'"))


def test_editing_a_param_and_back_keeps_all_three_books_in_step(made_project: Project) -> None:
    project = made_project
    assert "Nothing to be done" in plan(project)
    project.run("flmm", "record")
    assert ran(project.run("dvc", "repro")) == []
    first = digests(project)
    assert {run.data.tags["step"] for run in current_runs(project)} == STEPS
    learning_rate = project.params()["suites"]["shapes"]["train"]["lr"]

    project.set("suites", "shapes", "train", "lr", value=0.02)
    stages = set(ran(project.run("dvc", "repro")))
    assert stages == {"keys", "train", "evaluate", "count", "overlays", "report", "track"}
    assert "Nothing to be done" in plan(project)
    assert digests(project)[HEAD] != first[HEAD]
    runs = current_runs(project)
    assert sorted(run.data.tags["step"] for run in runs) == sorted(STEPS)  # none is current twice
    assert {run.data.params["train.lr"] for run in runs if run.data.tags["step"] == "train"} == {"0.02"}

    project.set("suites", "shapes", "train", "lr", value=learning_rate)
    said = project.run("dvc", "repro")
    assert "flmm train" not in said
    assert "rule train" not in said
    assert digests(project) == first
    assert "Nothing to be done" in plan(project)
    runs = current_runs(project)
    assert sorted(run.data.tags["step"] for run in runs) == sorted(STEPS)
    assert {run.data.params["train.lr"] for run in runs if run.data.tags["step"] == "train"} == {
        str(learning_rate)
    }


def test_a_run_killed_in_the_middle_goes_on_and_ends_with_the_same_results(
    made_project: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    project = copy_project(tmp_path_factory.mktemp("killed"))
    # All that comes before the training, as the other project made it.
    for name in (
        "data",
        "cache/extract",
        "cache/embed",
        "results/shapes",
        "results/shapes/shapes-llava/extract",
    ):
        source = made_project.folder / name
        later = shutil.ignore_patterns("shapes-llava", "rival") if name == "results/shapes" else None
        shutil.copytree(source, project.folder / name, symlinks=True, ignore=later, dirs_exist_ok=True)
    process = project.start("snakemake", "--cores", "2")
    log = project.folder / "logs" / "shapes" / "shapes-llava" / "train.log"
    while not log.exists() and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()

    project.run("snakemake", "--unlock")
    extracted = {path: path.stat().st_mtime_ns for path in project.folder.glob("cache/extract/**/*.parquet")}
    assert extracted
    with quick(project):
        project.run("snakemake", "--cores", "2")
    assert {path: path.stat().st_mtime_ns for path in extracted} == extracted
    assert digests(project) == digests(made_project)
    assert not list(project.folder.glob("results/**/.*.tmp*"))


def test_record_refuses_where_steps_have_to_run(made_project: Project) -> None:
    project = made_project
    title = project.params()["report"]["title"]
    project.set("report", "title", value="Another title")
    assert "steps have to run, such as `report`" in project.run("flmm", "record", code=1)
    project.set("report", "title", value=title)


def test_record_without_a_repository_says_what_to_do(made_project: Project) -> None:
    (made_project.folder / ".git").rename(made_project.folder / "git")
    try:
        said = made_project.run("flmm", "record", code=1)
    finally:
        (made_project.folder / "git").rename(made_project.folder / ".git")
    assert "dvc commit failed: " in said
    assert "git init" in said


def test_a_clone_that_pulled_its_results_has_nothing_to_do(made_project: Project) -> None:
    project = made_project
    project.run("flmm", "record")
    kept = (project.folder / HEAD).read_bytes()
    # What a clone lacks: Snakemake's memory, everything that neither git nor DVC holds, and the results themselves.
    for name in (".snakemake", "cache", "data", "results", "reports"):
        (project.folder / name).rename(project.folder / f"old-{name}")
    project.run("dvc", "checkout")
    assert (project.folder / HEAD).read_bytes() == kept
    assert not (project.folder / "data" / "mirror").exists()
    waiting = set(re.findall(r"^(\w+) +\d+$", plan(project), re.MULTILINE)) - {"total", "all"}
    assert waiting <= {"track"}  # which runs are current is nothing that DVC restores


def test_tracking_twice_adds_no_run_and_no_point(made_project: Project) -> None:
    project = made_project

    def content() -> dict[str, tuple[int, dict[str, float]]]:
        return {run.info.run_id: (run.info.end_time, run.data.metrics) for run in current_runs(project)}

    project.run("flmm", "track")
    before = content()
    assert before
    project.run("flmm", "track")
    assert content() == before


def test_the_runs_hold_curves_metrics_datasets_and_pictures(made_project: Project) -> None:
    project = made_project
    project.run("flmm", "track")
    runs = {run.data.tags["step"]: run for run in current_runs(project)}
    client = MlflowClient(f"sqlite:///{project.folder}/mlflow.db")
    curves = (project.folder / "results/shapes/shapes-llava/train/curves.jsonl").read_text().splitlines()
    history = client.get_metric_history(runs["train"].info.run_id, "loss")
    assert [(point.step, point.value) for point in sorted(history, key=lambda point: point.step)] == [
        (record["step"], record["loss"]) for record in map(json.loads, curves)
    ]
    assert runs["train"].data.metrics["trainable_parameters"] > 0
    records = json.loads((project.folder / "reports/metrics.json").read_text())
    counted = [name for name in runs["evaluate"].data.metrics if not name.startswith("system/")]
    assert len(counted) == 3 * len(records)  # each with the bounds of its interval
    headlines = runs["pipeline"].data.metrics
    assert "headline/RefCOCO val cIoU" in headlines and len(headlines) < 15
    names = {entry.dataset.name for entry in runs["evaluate"].inputs.dataset_inputs}
    assert {"refcoco-val", "png-val", "pope-random", "mmbench-dev"} <= names
    pictures = client.list_artifacts(runs["evaluate"].info.run_id, "overlays/res")
    assert [picture for picture in pictures if picture.path.endswith(".png")]
    parent = runs["pipeline"].info.run_id
    assert {step for step, run in runs.items() if run.data.tags.get("mlflow.parentRunId") != parent} == {
        "pipeline",
        "rival",  # an LMM of its own, beside the backbone
        "prepare",  # the same for all backbones
        "embed",
    }


def test_snakemakes_own_report_shows_the_results(made_project: Project) -> None:
    project = made_project
    project.run("snakemake", "--cores", "2")
    project.run("snakemake", "--report", "snakemake.html")
    page = (project.folder / "snakemake.html").read_text(encoding="utf-8")
    assert "comparison of backbones with 95 % intervals" in page
    for name in ("index.html", "headline.csv", "curves.csv"):
        assert f"reports/{name}" in page


def test_a_further_seed_is_trained_and_counted_beside_the_head(made_project: Project) -> None:
    project = made_project
    project.run("snakemake", "--cores", "2")
    project.set("train", "seeds", value=[7, 8])
    project.run("snakemake", "--cores", "2")
    results = project.folder / "results/shapes/shapes-llava"
    assert (results / "repeat/8/head.safetensors").read_bytes() != (project.folder / HEAD).read_bytes()
    place = ("unet+sam", "refcoco", "val", "standard", "cIoU")
    values = [
        record["value"]
        for file in ("count/metrics.json", "repeat/8/metrics.json")
        for record in json.loads((results / file).read_text())
        if tuple(record[name] for name in ("head", "benchmark", "split", "protocol", "metric")) == place
    ]
    assert len(values) == 2
    shown = f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}"
    assert shown in (project.folder / "reports/tables/several-heads.csv").read_text()
    (run,) = [run for run in current_runs(project) if run.data.tags["step"] == "repeat"]
    assert run.data.metrics["refcoco/val/unet_sam/mean"] == pytest.approx(statistics.mean(values))
    project.run("flmm", "record")
    assert "up to date" in project.run("dvc", "status")
    project.set("train", "seeds", value=[7])


def test_a_published_head_is_imported_evaluated_and_recorded(made_project: Project) -> None:
    project = made_project
    project.run("snakemake", "--cores", "2")
    project.run("flmm", "export-checkpoint", "head.pth", "--backbone", "shapes-llava")
    sha256 = hashlib.sha256((project.folder / "head.pth").read_bytes()).hexdigest()
    project.set("catalogue", "shapes-llava", "head", value={"url": "file:head.pth", "sha256": sha256})
    project.set("evaluate", "benchmarks", value=["res"])
    project.run("snakemake", "--cores", "2")
    summary = json.loads((project.folder / "results/shapes/shapes-llava/train/summary.json").read_text())
    assert summary["imported"] == {"file": "file:head.pth", "sha256": sha256}
    project.run("flmm", "record")
    assert "up to date" in project.run("dvc", "status")
