"""`flmm score`: anybody's masks under our protocols, and nothing dropped in silence."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from typer.testing import CliRunner

from flmm.benchmarks import of_dataset
from flmm.cache.schema import Manifest
from flmm.cli import app
from flmm.data.sample import Sample, encode_rle, write_samples
from flmm.errors import InputError
from flmm.evaluation.count import mask_records
from flmm.evaluation.engine import Part, predict
from flmm.evaluation.score import Score, template, units
from flmm.evaluation.score import score as score_as
from flmm.files import write_table
from tests.evaluation.conftest import SHIFTED, NoEmbeddings, make_sample

RUN = CliRunner()
RES = [make_sample(index) for index in range(6)]
PNG = [make_sample(index, dataset="png") for index in range(6)]


def score(samples: list[Sample], predictions: Path, protocol: Any, system: str) -> Score:
    chosen = of_dataset(samples[0].dataset)
    assert chosen is not None
    return score_as(samples, predictions, protocol, system, chosen)


def filled(samples: list[Sample], protocol: Any) -> list[dict[str, Any]]:
    """The template with the true masks in it."""
    records: list[dict[str, Any]] = template(samples, protocol)  # type: ignore[assignment]
    truths = [unit.sample.targets[unit.target].rle for unit in units(samples, protocol)]
    for record, truth in zip(records, truths, strict=True):
        record["segmentation"]["counts"] = truth
    return records


def saved(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps(records))
    return path


@pytest.mark.parametrize("protocol", ["paper", "standard"])
@pytest.mark.parametrize("name", ["refcoco", "png"])
def test_scoring_the_evaluate_steps_predictions_gives_its_metrics(
    tmp_path: Path, protocol: Any, name: str, request: pytest.FixtureRequest
) -> None:
    manifest: Manifest = request.getfixturevalue(name)
    samples = {"refcoco": RES, "png": PNG}[name]
    table = predict([Part(name, "val", manifest)], {"unet": SHIFTED}, NoEmbeddings(), [protocol])
    mine = table.filter(pc.equal(table["head"], "unet"))
    write_table(tmp_path / "predictions.parquet", mine)
    found = score(samples, tmp_path / "predictions.parquet", protocol, "unet")
    counted = of_dataset(name)
    assert counted is not None
    expected = mask_records(counted, mine, suite="scored", backbone="unet", protocols=[protocol], seed=7)
    assert found.records == expected and found.missing == 0
    assert 0 < expected[0].value < 99


def test_protocols_count_other_units() -> None:
    assert len(units(RES, "paper")) == 12 and len(units(RES, "standard")) == 24
    assert len(units(PNG, "paper")) == len(units(PNG, "standard")) == 12


def test_run_lengths_may_be_compressed_or_not(tmp_path: Path) -> None:
    records = filled(RES, "paper")
    for record in records[::2]:
        mask = coco_mask.decode(
            {**record["segmentation"], "counts": record["segmentation"]["counts"].encode()}
        )
        flat = mask.flatten(order="F")
        changes = np.flatnonzero(np.diff(flat)) + 1
        runs = np.diff([0, *changes, len(flat)]).tolist()
        record["segmentation"]["counts"] = runs if flat[0] == 0 else [0, *runs]
    found = score(RES, saved(tmp_path / "p.json", records), "paper", "x")
    assert {record.value for record in found.records} == {100.0}


def test_what_is_missing_counts_as_an_empty_mask_and_is_told(tmp_path: Path) -> None:
    records = filled(RES, "paper")[:6]
    found = score(RES, saved(tmp_path / "p.json", records), "paper", "x")
    assert (found.units, found.missing) == (12, 6)
    assert next(r.value for r in found.records if r.metric == "gIoU") == pytest.approx(50)


@pytest.mark.parametrize("left", [{"size": [24, 32], "counts": None}, {"size": [24, 32], "counts": ""}, None])
def test_a_template_that_is_not_filled_in_counts_as_missing(tmp_path: Path, left: Any) -> None:
    records = filled(RES, "paper")
    for record in records[:3]:
        record["segmentation"] = left
    found = score(RES, saved(tmp_path / "p.json", records), "paper", "x")
    assert (found.units, found.missing) == (12, 3)
    assert next(r.value for r in found.records if r.metric == "gIoU") == pytest.approx(75)
    empty = score(RES, saved(tmp_path / "t.json", template(RES, "paper")), "paper", "x")  # type: ignore[arg-type]
    assert (empty.missing, {record.value for record in empty.records}) == (12, {0.0})


def test_a_very_high_picture_is_scored(tmp_path: Path) -> None:
    height, width = 12_000, 7
    mask = np.zeros((height, width), dtype=bool)
    mask[10_500:11_000, 2:5] = True
    target = replace(RES[0].targets[0], rle=encode_rle(mask))
    sample = replace(RES[0], height=height, width=width, targets=(target,))
    records = filled([sample], "paper")
    found = score([sample], saved(tmp_path / "p.json", records), "paper", "x")
    assert {record.value for record in found.records} == {100.0}


def broken(change: str) -> list[dict[str, Any]]:
    records = filled(RES, "paper")
    first = records[0]
    if change == "twice":
        records.append(first)
    elif change == "unknown":
        first["answer_id"] = "nobody"
    elif change == "size":
        first["segmentation"]["size"] = [5, 5]
    elif change == "counts":
        first["segmentation"]["counts"] = "no run lengths"
    elif change == "keys":
        del first["phrase"]
    return records


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("twice", "1 units are there more than once, such as refcoco-val-0/paper/0 phrase 0"),
        (
            "unknown",
            "1 predictions belong to no unit of the samples under this protocol, such as nobody phrase 0",
        ),
        ("size", "mask of 5x5 pixels for an image of 24x32"),
        ("counts", "refcoco-val-0/paper/0 phrase 0: not compressed run lengths"),
        ("keys", "prediction 0 has no answer_id, phrase and segmentation"),
    ],
)
def test_wrong_predictions_are_named(tmp_path: Path, change: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        score(RES, saved(tmp_path / "p.json", broken(change)), "paper", "x")


@pytest.mark.parametrize("content", ["", "{}", "[1]", "null", "[[]]"])
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, content: str) -> None:
    for name in ("p.json", "p.parquet"):
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=name):
            score(RES, tmp_path / name, "paper", "x")


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5), lambda s: st.lists(s, max_size=2), max_leaves=3
    )
)
def test_any_segmentation_is_scored_or_refused(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    records = filled(RES[:1], "paper")
    records[0]["segmentation"]["counts"] = value
    path = saved(tmp_path_factory.mktemp("any") / "p.json", records)
    try:
        found = score(RES[:1], path, "paper", "x")
    except InputError as error:
        assert "p.json" in str(error)
    else:
        assert all(0 <= record.value <= 100 for record in found.records)


def test_the_command_writes_a_template_and_scores_it(tmp_path: Path) -> None:
    write_samples(tmp_path / "samples.parquet", RES)
    arguments = ["score", str(tmp_path / "samples.parquet")]
    made = RUN.invoke(app, [*arguments, "--protocol", "paper", "--template", str(tmp_path / "t.json")])
    assert made.exit_code == 0, made.output
    assert json.loads((tmp_path / "t.json").read_text())[0]["text"] == "object 0"
    predictions = saved(tmp_path / "p.json", filled(RES, "standard"))
    result = RUN.invoke(
        app, [*arguments, str(predictions), "--out", str(tmp_path / "r.json"), "--system", "mine"]
    )
    assert result.exit_code == 0, result.output
    assert "24 units, 0 without a prediction or not filled in" in result.output
    assert {record["backbone"] for record in json.loads((tmp_path / "r.json").read_text())} == {"mine"}
    refused = RUN.invoke(app, [*arguments, str(predictions), "--protocol", "train"]).exception
    assert isinstance(refused, InputError) and "there are paper and standard" in str(refused)
    assert isinstance(RUN.invoke(app, arguments).exception, InputError)
