"""A part that several jobs extract: Snakemake runs them first, and the step puts their shards together."""

import pytest

from tests.workflow.conftest import Project, quick

pytestmark = pytest.mark.pipeline
PART = "results/shapes/shapes-llava/extract/refcoco-val.json"


def test_the_shards_of_shares_are_those_of_one_job(project: Project) -> None:
    def shards() -> dict[str, bytes]:
        found = (project.folder / "cache/extract").rglob("refcoco-val/*")
        return {file.name: file.read_bytes() for file in found}

    project.set("extract", "samples_per_shard", value=2)
    with quick(project):
        project.run("snakemake", "--cores", "2", PART)
        alone = shards()
        assert len([name for name in alone if name.endswith(".parquet")]) > 1
        (project.folder / PART).unlink()
        for file in (project.folder / "cache/extract").rglob("refcoco-val/*"):
            file.unlink()
        project.set("extract", "jobs", value=2)
        said = project.run("snakemake", "--cores", "2", PART)
        assert said.count("rule extract_share:") == 2
        assert shards() == alone
        assert "Nothing to be done" in project.run("snakemake", "--cores", "2", PART)
