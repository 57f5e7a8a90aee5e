"""The profile `slurm` on a real SLURM of one node: a part is extracted as several jobs of the cluster."""

from collections.abc import Iterator

import pytest
import yaml

from tests.workflow.conftest import Project
from tests.workflow.slurm import Cluster, why_not

pytest.importorskip(
    "snakemake_executor_plugin_slurm", reason="the executor is not installed: make install-test"
)
pytestmark = [pytest.mark.pipeline, pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")]
EXTRACTED = "results/shapes/shapes-llava/extract"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    found = Cluster()
    try:
        try:
            found.start()
        except (RuntimeError, OSError, LookupError) as error:
            pytest.skip(f"SLURM does not start on this machine: {error}")
        yield found
    finally:
        found.stop()


def test_a_part_is_extracted_by_jobs_of_the_cluster(project: Project, cluster: Cluster) -> None:
    profile = project.folder / "workflow/profiles/slurm/config.yaml"
    settings = yaml.safe_load(profile.read_text())
    # What docs/slurm.md says to set: the partition, what a job needs, and how states are told without a database.
    settings["default-resources"] = {"slurm_partition": "main", "runtime": 30, "mem_mb": 3000}
    settings |= {"slurm-status-command": "squeue", "slurm-init-seconds-before-status-checks": 5}
    settings["set-threads"] = {"extract": 1, "extract_share": 1}  # this node has no four cores
    profile.write_text(yaml.safe_dump(settings))
    project.set("extract", "samples_per_shard", value=2)
    project.run(
        "snakemake",
        "--cores",
        "2",
        "data/samples/shapes/refcoco-val.key.json",
        "data/raw/shapes/train2014.zip",
    )

    project.set("extract", "jobs", value=2)
    call = ["snakemake", "--profile", "workflow/profiles/slurm", f"{EXTRACTED}/refcoco-val.json"]
    said = project.run("timeout", "1800", *call)
    assert said.count("has been submitted with SLURM jobid") == 3, said  # two shares and the step
    shards = sorted(path.name for path in (project.folder / "cache/extract").rglob("*.parquet"))
    assert shards == [f"shard-{number:05d}.parquet" for number in range(len(shards))] and len(shards) > 1
    assert "Nothing to be done" in project.run("snakemake", "--cores", "1", f"{EXTRACTED}/refcoco-val.json")
