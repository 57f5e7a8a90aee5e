"""The edit table for the paper's suite: its graph with ten backbones, and steps that do no work (``fake``)."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from flmm.params import parse_params
from flmm.pipeline import hashes
from flmm.pipeline.keys import Keys
from flmm.pipeline.state import State
from flmm.pipeline.step import Step
from flmm.pipeline.steps import Graph
from tests.workflow.conftest import REPOSITORY
from tests.workflow.fake import run

BACKBONES = ["llava-1.5-7b", "llava-next-vicuna-7b", "deepseek-vl-7b"]
TELL = {"count", "report", "track"}
FROM_EVALUATE = {"evaluate", "overlays", *TELL}
FROM_TRAIN = {"train", *FROM_EVALUATE}
FROM_EXTRACT = {"extract", "select", *FROM_TRAIN}
EDITS: list[tuple[tuple[str, ...], Any, set[str], int]] = [
    (("download", "timeout"), 9, set(), 0),
    (("suites", "shapes", "train", "lr"), 0.5, set(), 0),
    (("extract", "device"), "cpu", set(), 0),
    (("train", "workers"), 4, set(), 0),
    (("suites", "paper", "train", "lr"), 0.5, FROM_TRAIN, 3),
    (("suites", "paper", "train", "targets"), "annotation", FROM_TRAIN, 3),
    (("suites", "paper", "extract", "train_draws"), 2, FROM_EXTRACT, 3),
    (("extract", "hidden"), "float16", FROM_EXTRACT, 3),
    (("embed", "dtype"), "bfloat16", {"embed", *FROM_TRAIN}, 3),
    (("select", "phrases"), 10, {"select", *FROM_EVALUATE}, 0),
    (("suites", "paper", "keywords", "narratives"), 10, {"keywords", "report", "track"}, 0),
    (("evaluate", "max_new_tokens"), 5, FROM_EVALUATE, 0),
    (("evaluate", "benchmarks"), ["res"], TELL, 0),
    (("catalogue", "llava-1.5-7b", "revision"), "main", {"keywords", *FROM_EXTRACT}, 1),
    (("catalogue", "hpt-air", "revision"), "main", set(), 0),
    (("overlays", "pictures"), 1, {"overlays", "report", "track"}, 0),
    (("report", "gallery"), 1, {"report", "track"}, 0),
]  # fmt: skip


@pytest.fixture
def paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A finished project of the paper's suite, its sources on a made-up server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hashes, "MEMORY", tmp_path / "hashes.json")
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    params |= {"suite": "paper", "backbones": BACKBONES}
    params["evaluate"]["benchmarks"] = ["res", "png", "reasonseg", "pope", "mmbench"]
    sources = params["suites"]["paper"]["sources"]
    served = {f"http://localhost/{name}": name.encode() for name in sources}
    for name in sources:
        sources[name] = {"url": f"http://localhost/{name}", "bytes": None, "sha256": None}
    run(parse_params(copy.deepcopy(params)), served)
    return params, served


def test_every_edit_runs_exactly_the_steps_that_it_touches(
    paper: tuple[dict[str, Any], dict[str, bytes]],
) -> None:
    params, _ = paper
    for path, value, rules, trained in EDITS:
        edited = copy.deepcopy(params)
        section = edited
        for name in path[:-1]:
            section = section[name]
        section[path[-1]] = value
        running = State(parse_params(edited)).running
        assert {step.name for step in running} == rules, path
        assert sum(step.name == "train" for step in running) == trained, path


def test_one_backbone_more_runs_its_own_steps_only(paper: tuple[dict[str, Any], dict[str, bytes]]) -> None:
    params, served = paper
    params["backbones"] = [*BACKBONES, "mgm-2b"]
    ran = run(parse_params(copy.deepcopy(params)), served)
    assert {step.backbone for step in ran} == {"mgm-2b", ""}
    assert {step.name for step in ran if not step.backbone} == {"report", "track"}
    assert run(parse_params(copy.deepcopy(params)), served) == []


def test_dvc_sees_the_same_steps_by_their_own_keys(paper: tuple[dict[str, Any], dict[str, bytes]]) -> None:
    """DVC's stages depend on own keys and on the stages before: what changes so is what Snakemake runs."""
    params, _ = paper
    before = Keys(Graph(parse_params(copy.deepcopy(params))))
    for path, value, rules, _ in EDITS:
        edited = copy.deepcopy(params)
        section = edited
        for name in path[:-1]:
            section = section[name]
        section[path[-1]] = value
        graph = Graph(parse_params(edited))
        after = Keys(graph)
        known = set(before.graph.results)
        changed: set[Step] = set()
        for step in graph.results:  # in the order of the pipeline, so what a step reads comes before it
            mine = step not in known or before.own(step) != after.own(step)
            if mine or not changed.isdisjoint(graph.reads(step)) or _reads_less(before, graph, step):
                changed.add(step)
        assert {step.name for step in changed} == rules, path


def _reads_less(before: Keys, graph: Graph, step: Step) -> bool:
    """Whether a step reads other steps than before: another stage's files are among its dependencies."""
    return set(before.graph.reads(step)) != set(graph.reads(step))
