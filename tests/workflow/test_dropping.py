"""Training shards that are not kept: they go when nobody needs them, and one backbone's come after another's."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from flmm.errors import InputError
from flmm.params import Params, parse_params
from flmm.pipeline import hashes, paths
from flmm.pipeline.dropping import drop_training_maps
from flmm.pipeline.outputs import record
from flmm.pipeline.state import State
from flmm.pipeline.step import Step
from flmm.pipeline.steps import Graph
from tests.workflow.conftest import REPOSITORY
from tests.workflow.fake import run

ONE, TWO = "shapes-llava", "shapes-llava-next"


@pytest.fixture
def content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Params of two backbones whose training shards are not kept, in an empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hashes, "MEMORY", tmp_path / "hashes.json")
    (tmp_path / "flmm").symlink_to(REPOSITORY / "flmm")
    found: dict[str, Any] = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    found["backbones"] = [ONE, TWO]
    found["extract"]["keep_training_maps"] = False
    return found


def shards(params: Params, backbone: str) -> set[str]:
    """The parts of a backbone whose shards are there."""
    return {path.parent.name for path in (Path("cache/extract") / backbone).rglob("manifest.json")}


def test_training_shards_go_and_nothing_runs_again_for_it(content: dict[str, Any]) -> None:
    params = parse_params(content)
    run(params, {})
    before = shards(params, ONE)
    gone = drop_training_maps(params, ONE)
    assert (
        {folder.name for folder in gone} == set(Graph(params).training_parts) == before - shards(params, ONE)
    )
    assert shards(params, TWO) == before
    assert not State(params).running
    # What needs them later has them made again: the training parts, and nothing else of extract.
    record(Graph(params), Step("select", ONE)).unlink()
    running = State(params).running
    assert {step.item for step in running if step.name == "extract"} == set(Graph(params).training_parts)
    assert not any(step.name == "train" for step in running)


def test_training_shards_stay_while_a_step_needs_them(content: dict[str, Any]) -> None:
    params = parse_params(content)
    run(params, {})
    chosen = record(Graph(params), Step("select", ONE))
    saved = chosen.read_bytes()
    chosen.unlink()
    assert drop_training_maps(params, ONE) == []
    chosen.write_bytes(saved)
    # Made for a step that is forced to run again: its old result is older than the shards.
    os.utime(chosen, (0, 0))
    assert drop_training_maps(params, ONE) == []
    content["extract"]["keep_training_maps"] = True
    os.utime(chosen)
    assert drop_training_maps(parse_params(content), ONE) == []
    assert drop_training_maps(params, ONE)


@pytest.mark.parametrize("in_turn", [True, False])
def test_the_training_parts_of_a_backbone_wait_for_the_head_of_the_one_before(
    content: dict[str, Any], in_turn: bool
) -> None:
    params = parse_params(content)
    state = State(params, in_turn=in_turn)
    heads = {str(record(state.graph, Step(name, ONE))) for name in ("train", "select")}

    def waits(backbone: str, part: str) -> bool:
        return heads <= set(state.inputs(Step("extract", backbone, part)))

    assert waits(TWO, "refcoco-train") == in_turn
    assert not waits(TWO, "refcoco-val") and not waits(ONE, "refcoco-train")
    content["extract"]["keep_training_maps"] = True
    state = State(parse_params(content), in_turn=in_turn)
    assert not waits(TWO, "refcoco-train")


def test_a_pilot_is_asked_for_where_a_part_is_kept(content: dict[str, Any]) -> None:
    assert not Graph(parse_params(content)).pilot(ONE)
    content["extract"]["layers"] = 2
    params = parse_params(content)
    assert Step("pilot", ONE) in Graph(params).reads(Step("extract", ONE, "refcoco-val"))
    assert {step.name for step in run(params, {})} >= {"pilot", "extract", "train"}
    content["pilot"]["images"] = 3
    again = {step.name for step in State(parse_params(content)).running}
    assert {"pilot", "extract", "select", "train", "evaluate"} <= again and "keywords" not in again
    assert paths.pilot(params, ONE).is_file()


def test_a_published_head_needs_every_head_and_layer(content: dict[str, Any]) -> None:
    content["extract"]["heads"] = 8
    content["catalogue"][ONE]["head"] = {"url": "file:head.pth", "sha256": "0" * 64}
    with pytest.raises(InputError, match=f"published head of {ONE} takes every head and layer; write all"):
        Graph(parse_params(content))
