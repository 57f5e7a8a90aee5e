"""The file graph, without running a step."""

import re

from tests.workflow.conftest import Project

RULES = {
    "generate", "download", "digest", "prepare", "extract", "embed", "train", "select", "keywords", "evaluate", "count",
    "overlays", "rival", "report", "track",
}  # fmt: skip


def test_a_fresh_project_plans_every_step(project: Project) -> None:
    assert set(planned(project)) >= RULES


def test_a_bad_value_is_one_line_that_names_the_key_and_no_job_starts(project: Project) -> None:
    project.set("train", "weight_decay", value=-1.0)
    said = project.run("snakemake", "--cores", "1", code=2)
    errors = [line for line in said.splitlines() if not line.startswith("Using workflow specific profile")]
    assert len(errors) == 1
    assert errors[0].startswith("error: params.yaml: train.weight_decay")
    assert not (project.folder / "data").exists()


def test_an_unknown_key_is_named(project: Project) -> None:
    project.set("train", "learning_rate", value=0.1)
    assert "train.learning_rate" in project.run("snakemake", "--dry-run", code=2)


def test_one_benchmark_needs_its_own_files_only(project: Project) -> None:
    project.set("evaluate", "benchmarks", value=["res"])
    found = planned(project)
    assert "keywords" not in found  # it is counted on PNG's val
    # RefCOCO and PNG for training, with the evaluation splits whose photographs training leaves out.
    assert (found["download"], found["prepare"], found["extract"], found["embed"]) == (6, 6, 5, 2)
    project.set("evaluate", "benchmarks", value=["mmbench"])
    assert planned(project)["extract"] == 2


def test_a_published_head_needs_no_training_part(project: Project) -> None:
    project.set("catalogue", "shapes-llava", "head", value={"url": "file:head.pth", "sha256": "0" * 64})
    (project.folder / "head.pth").write_bytes(b"a head")
    found = planned(project)
    assert "train" not in found
    assert "select" not in found
    assert "keywords" not in found
    assert (found["import_head"], found["extract"]) == (1, 4)


def test_a_part_can_be_several_jobs_and_a_head_several_trainings(project: Project) -> None:
    project.set("extract", "jobs", value=3)
    project.set("train", "seeds", value=[7, 8, 9])
    found = planned(project)
    assert found["extract_share"] == 3 * found["extract"]
    assert (found["train"], found["repeat"]) == (1, 2)


def planned(project: Project) -> dict[str, int]:
    said = project.run("snakemake", "--dry-run", "--quiet", "host")
    return {rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", said, re.MULTILINE)}
