"""The file graph, without running a step."""

import re

from tests.workflow.conftest import Project

RULES = {
    "generate", "download", "digests", "prepare", "extract", "manifest", "embed", "embed_manifest", "train", "evaluate",
    "scores", "report", "track",
}  # fmt: skip


def test_a_fresh_project_plans_every_step(project: Project) -> None:
    said = project.run("snakemake", "--dry-run", "--quiet", "host")
    assert set(re.findall(r"^(\w+) +\d+$", said, re.MULTILINE)) >= RULES


def test_a_bad_value_is_one_line_that_names_the_key_and_no_job_starts(project: Project) -> None:
    project.set("train", "lr", value=-1.0)
    said = project.run("snakemake", "--cores", "1", code=2)
    errors = [line for line in said.splitlines() if not line.startswith("Using workflow specific profile")]
    assert len(errors) == 1
    assert errors[0].startswith("error: params.yaml: train.lr")
    assert not (project.folder / "data").exists()


def test_an_unknown_key_is_named(project: Project) -> None:
    project.set("train", "learning_rate", value=0.1)
    assert "train.learning_rate" in project.run("snakemake", "--dry-run", code=2)


def test_another_learning_rate_keeps_the_address_of_the_attention(project: Project) -> None:
    def addresses() -> set[str]:
        return set(
            re.findall(
                r"cache/\w+/[\w-]+/[0-9a-f]{12}", project.run("snakemake", "--dry-run", "--quiet", "host")
            )
        )

    before = addresses()
    project.set("train", "lr", value=0.5)
    assert addresses() == before
    project.set("suites", "shapes", "generate", "train_images", value=25)
    assert addresses().isdisjoint(before)


def test_the_paper_suite_plans_its_backbones(project: Project) -> None:
    project.set("suite", value="paper")
    project.set("backbones", value=["llava-1.5-7b"])
    said = project.run("snakemake", "--dry-run", "--quiet", "host")
    assert "flmm extract" not in said  # a dry run prints no shell commands
    assert "results/paper/llava-1.5-7b/train/head.safetensors" in said
    assert re.search(r"^generate ", said, re.MULTILINE) is None
