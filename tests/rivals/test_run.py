"""The step `rival` on files of predictions: real rivals need no model here."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from flmm.data.question import Question, write_questions
from flmm.data.sample import write_samples
from flmm.errors import InputError
from flmm.evaluation.records import read_records
from flmm.evaluation.score import template, units
from flmm.params import Params, parse_params
from flmm.pipeline.step import Step
from flmm.pipeline.steps import Graph
from flmm.rivals.run import rival
from tests.evaluation.conftest import make_sample

PROJECT = Path(__file__).parents[2]
SAMPLES = [make_sample(index) for index in range(3)]


def raw_params() -> dict[str, Any]:
    raw: dict[str, Any] = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    return raw


def params_with(entry: dict[str, Any]) -> Params:
    raw = raw_params()
    raw["suites"]["shapes"]["rivals"] = {"lisa": {"frozen": "shapes-llava", **entry}}
    return parse_params(raw)


def test_masks_and_answers_are_counted_from_files(tmp_path: Path) -> None:
    predictions = tmp_path / "lisa"
    predictions.mkdir()
    masks: list[dict[str, Any]] = template(SAMPLES, "standard")  # type: ignore[assignment]
    for record, unit in zip(masks, units(SAMPLES, "standard"), strict=True):
        record["segmentation"]["counts"] = unit.sample.targets[unit.target].rle
    (predictions / "refcoco-val.json").write_text(json.dumps(masks))
    questions = [_question(number, label) for number, label in enumerate(("yes", "no", "no", "yes"))]
    lines = [{"question_id": each.question_id, "text": "Sure, [SEG]."} for each in questions]
    (predictions / "pope-random.jsonl").write_text("\n".join(map(json.dumps, lines)))
    parts = {name: tmp_path / f"{name}.parquet" for name in ("refcoco-val", "pope-random")}
    write_samples(parts["refcoco-val"], SAMPLES)
    write_questions(parts["pope-random"], questions)
    params = params_with({"model": None, "predictions": str(predictions), "parts": list(parts)})
    rival(params, "lisa", parts, raw=tmp_path, out=tmp_path / "out")
    found = {(r.benchmark, r.split, r.metric): r for r in read_records(tmp_path / "out" / "metrics.json")}
    assert found["refcoco", "val", "cIoU"].value == 100
    assert found["pope", "random", "accuracy"].value == 0.5  # what is not no is yes
    assert {(r.suite, r.backbone, r.head) for r in found.values()} == {("shapes", "lisa", "fine-tuned")}
    (predictions / "pope-random.jsonl").unlink()
    with pytest.raises(InputError, match=r"pope-random\.jsonl: no such file; docs/rivals\.md"):
        rival(params, "lisa", parts, raw=tmp_path, out=tmp_path / "out")


def _question(number: int, label: str) -> Question:
    return Question(
        question_id=str(number), group=str(number), category="", text="Is there a star?", hint="",
        options=(), answer=label, archive="val2014", image=f"{number}.jpg", image_bytes=b"",
    )  # fmt: skip


@pytest.mark.parametrize(("model", "predictions"), [("a", "b"), (None, None)])
def test_an_entry_has_a_model_or_predictions(model: str | None, predictions: str | None) -> None:
    with pytest.raises(InputError, match=r"rivals\.lisa.*either a `model` or a folder of `predictions`"):
        params_with({"model": model, "predictions": predictions, "parts": []})


def test_a_rival_runs_where_its_backbone_and_its_benchmarks_do() -> None:
    raw = raw_params()
    assert Graph(parse_params(raw)).rivals == [Step("rival", item="shapes-llava-seg")]
    raw["evaluate"]["benchmarks"] = ["pope", "png"]
    assert Graph(parse_params(raw)).rival_parts("shapes-llava-seg") == [
        "pope-random", "pope-popular", "pope-adversarial",
    ]  # fmt: skip
    raw["backbones"] = ["shapes-llava-next"]
    assert Graph(parse_params(raw)).rivals == []


def test_a_part_that_the_suite_lacks_is_named() -> None:
    params = params_with({"model": None, "predictions": "x", "parts": ["refcoco-vall"]})
    with pytest.raises(InputError, match="unknown part 'refcoco-vall'"):
        _ = Graph(params).rivals
