"""A fine-tuned LMM has a run of its own in MLflow, beside the backbones'."""

from pathlib import Path

import pytest
import yaml

from flmm.files import write_json, write_text
from flmm.params import Params, parse_params
from flmm.pipeline import paths
from flmm.pipeline.steps import Graph
from flmm.tracking.store import Store
from flmm.tracking.track import track
from tests.tracking.test_tracking import PARAMS, empty_store, params  # noqa: F401

RECORD = {
    "suite": "shapes", "backbone": "shapes-llava-seg", "head": "fine-tuned", "benchmark": "pope", "split": "random",
    "protocol": "upstream", "metric": "accuracy", "value": 0.5, "low": 0.45, "high": 0.55, "n": 20, "images": 9,
}  # fmt: skip


@pytest.fixture
def with_rival(params: Params) -> Params:  # noqa: F811
    rivals = yaml.safe_load(PARAMS.read_text())["suites"]["shapes"]["rivals"]
    found = params.model_dump(mode="json")
    found["suites"]["shapes"]["rivals"] = rivals
    for section in ("extract", "train", "keywords"):  # the suite's own values are merged into these already
        for name in found["suites"]["shapes"][section]:
            del found[section][name]
    folder = paths.rival(params, "shapes-llava-seg")
    write_json(folder / "metrics.json", [RECORD])
    write_text(folder / "pope-random.jsonl", "{}")
    return parse_params(found)


def test_a_rival_has_a_run_with_its_numbers_its_tag_and_its_predictions(with_rival: Params) -> None:
    assert [step.item for step in Graph(with_rival).rivals] == ["shapes-llava-seg"]
    for _ in range(2):  # the second time nothing is made twice
        track(with_rival, reports=Path("reports"))
    store = Store.connect()
    (run,) = store.client.search_runs([store.experiment], "tags.rival = 'shapes-llava-seg'")
    assert run.data.tags["frozen"] == "shapes-llava" and run.data.tags["current"] == "true"
    assert run.data.metrics == {
        "pope/random/upstream/accuracy": 0.5,
        "pope/random/upstream/accuracy/low": 0.45,
        "pope/random/upstream/accuracy/high": 0.55,
    }
    files = {file.path for file in store.client.list_artifacts(run.info.run_id, "shapes-llava-seg")}
    assert "shapes-llava-seg/pope-random.jsonl" in files
