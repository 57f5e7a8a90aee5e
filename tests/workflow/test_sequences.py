"""Any sequence of edits ends with the results that a fresh project with the final state has, byte for byte.

The graph, the keys and the decisions are the real ones; steps write digests of what they are made of (``fake``).
"""

import copy
import hashlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flmm.params import parse_params
from flmm.pipeline import hashes
from tests.workflow.conftest import REPOSITORY
from tests.workflow.fake import Served, run

PARAMS: dict[str, Any] = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
BENCHMARKS = ["res", "png", "reasonseg", "viscot", "pope", "mmbench"]
VALUES = [
    (("seed",), (7, 8)),
    (("prepare", "exclude_evaluation_images"), (True, False)),
    (("prepare", "exclude"), ([], ["val2017/1.jpg"])),
    (("extract", "attention"), ("log8", "float16")),
    (("extract", "layers"), ("all", 2)),
    (("extract", "samples_per_shard"), (250, 10)),
    (("suites", "shapes", "extract", "train_draws"), (1, 2)),
    (("embed", "dtype"), ("float32", "bfloat16")),
    (("suites", "shapes", "train", "lr"), (0.001, 0.002)),
    (("train", "workers"), (0, 1)),
    (("select", "heads"), (2, 3)),
    (("keywords", "threshold"), (0.3, 0.5)),
    (("evaluate", "protocols"), (["paper"], ["standard"], ["paper", "standard"])),
    (("evaluate", "max_new_tokens"), (8, 16)),
    (("evaluate", "benchmarks"), (BENCHMARKS, ["res"], ["pope", "mmbench"], ["png", "viscot"])),
    (("overlays", "pictures"), (2, 16)),
    (("report", "title"), ("a", "b")),
    (("suites", "shapes", "rivals"), (PARAMS["suites"]["shapes"]["rivals"], {})),
    (("backbones",), (["shapes-llava"], ["shapes-llava", "shapes-llava-next"])),
]
REMOTE = "http://localhost/{}"
SOURCES = ["refcoco.zip", "coco_pope_random.json", "ReasonSeg_val.zip"]


class Edits(RuleBasedStateMachine):
    """A user who edits params, moves, replaces and deletes files, and runs the pipeline now and then."""

    def __init__(self) -> None:
        super().__init__()
        self.home, self.folder = Path.cwd(), Path(tempfile.mkdtemp())
        hashes.MEMORY = (
            Path(tempfile.gettempdir()) / "flmm-test-hashes.json"
        )  # code is the same in all folders
        self.params = copy.deepcopy(PARAMS)
        self.params["backbones"] = ["shapes-llava"]
        self.params["suites"]["shapes"]["segmenter"]["checkpoint"] = str(
            REPOSITORY / "flmm/shapes/models/shapes-sam"
        )
        self.served: Served = {}
        for entry in self.params["catalogue"].values():
            if entry["suite"] == "shapes":
                entry["model"] = str(REPOSITORY / entry["model"])
        os.chdir(self.folder)
        self.fresh = False
        self.run_it()

    def teardown(self) -> None:
        os.chdir(self.home)
        hashes.MEMORY = Path("cache/hashes.json")
        shutil.rmtree(self.folder)

    @rule(edit=st.sampled_from([(path, value) for path, values in VALUES for value in values]))
    def set_a_value(self, edit: tuple[tuple[str, ...], Any]) -> None:
        section: Any = self.params
        for name in edit[0][:-1]:
            section = section[name]
        section[edit[0][-1]] = copy.deepcopy(edit[1])
        self.fresh = False

    @rule(source=st.sampled_from(SOURCES), content=st.sampled_from([b"one", b"two"]), with_sum=st.booleans())
    def serve_a_source_elsewhere(self, source: str, content: bytes, with_sum: bool) -> None:
        url = REMOTE.format(hashlib.sha256(content).hexdigest()[:6] + source)
        self.served[url] = content
        sha256 = hashlib.sha256(content).hexdigest() if with_sum else None
        self.params["suites"]["shapes"]["sources"][source] = {"url": url, "bytes": None, "sha256": sha256}
        self.fresh = False

    @rule(source=st.sampled_from(SOURCES))
    def go_back_to_the_mirror(self, source: str) -> None:
        self.params["suites"]["shapes"]["sources"][source] = PARAMS["suites"]["shapes"]["sources"][source]
        self.fresh = False

    @rule(
        folder=st.sampled_from(
            ["cache", "data/mirror", "data/raw", "data/samples", "reports", "results/shapes/download"]
        )
    )
    def delete(self, folder: str) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        self.fresh = False

    @rule()
    def run_it(self) -> None:
        run(parse_params(copy.deepcopy(self.params)), self.served)
        assert run(parse_params(copy.deepcopy(self.params)), self.served) == []
        self.fresh = True

    @precondition(lambda self: self.fresh)
    @invariant()
    def results_are_those_of_a_fresh_project(self) -> None:
        if not self.fresh:
            return
        mine = _results(self.folder, self.params)
        other = Path(tempfile.mkdtemp())
        os.chdir(other)
        try:
            run(parse_params(copy.deepcopy(self.params)), self.served)
            assert _results(other, self.params) == mine
        finally:
            os.chdir(self.folder)
            shutil.rmtree(other)


def _results(folder: Path, params: dict[str, Any]) -> dict[str, bytes]:
    """Every current result; those of backbones and benchmarks that do not run any more may lie beside them."""
    from flmm.pipeline.outputs import outputs
    from flmm.pipeline.steps import Graph

    graph = Graph(parse_params(copy.deepcopy(params)))
    return {
        str(path): (folder / path).read_bytes() for step in graph.results for path in outputs(graph, step)
    }


TestEdits = Edits.TestCase
TestEdits.settings = settings(
    max_examples=6, stateful_step_count=10, deadline=None, suppress_health_check=list(HealthCheck)
)
