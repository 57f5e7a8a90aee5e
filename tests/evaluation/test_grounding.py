"""From cached answers through heads to the predictions table and its records."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pycocotools import mask as coco_mask

from flmm.benchmarks import benchmark
from flmm.cache.schema import Manifest
from flmm.data.sample import decode_rle
from flmm.errors import StepError
from flmm.evaluation.count import mask_records
from flmm.evaluation.engine import Part, predict, to_masks
from flmm.evaluation.tables import PREDICTION_SCHEMA
from tests.evaluation.conftest import (
    EMPTY,
    EVERYTHING,
    HEIGHT,
    PERFECT,
    SHIFTED,
    WIDTH,
    FakeHead,
    NoEmbeddings,
    make_sample,
    write_part,
)

BOTH = ["paper", "standard"]


def run(manifest: Manifest, protocols: list[str] = BOTH, **heads: Any) -> pa.Table:
    dataset, split = manifest.part.split("-")
    return predict([Part(dataset, split, manifest)], heads, NoEmbeddings(), protocols)


def records(table: pa.Table, protocols: list[str] = BOTH) -> dict[tuple[str, str, str], float]:
    name = "png" if "png" in table["dataset"].to_pylist() else "res"
    found = mask_records(benchmark(name), table, suite="shapes", backbone="b", protocols=protocols, seed=7)
    return {(r.protocol, r.head, r.metric): r.value for r in found}


def test_a_perfect_head_scores_100_and_an_empty_one_0(refcoco: Manifest, png: Manifest) -> None:
    found = records(run(refcoco, unet=PERFECT, untrained=EMPTY))
    assert {value for (_, head, _), value in found.items() if head.startswith("unet")} == {100.0}
    assert {value for (_, head, _), value in found.items() if head.startswith("untrained")} == {0.0}
    recalls = records(run(png, unet=PERFECT, untrained=EMPTY))
    assert all(
        value == pytest.approx(99.999) for (_, head, _), value in recalls.items() if "unet" in head[:4]
    )
    assert all(
        value == pytest.approx(0.001) for (_, head, _), value in recalls.items() if "untrained" in head
    )


def test_a_control_that_marks_everything_scores_far_below_a_head_that_is_slightly_off(
    refcoco: Manifest,
) -> None:
    found = records(run(refcoco, unet=SHIFTED, untrained=EVERYTHING))
    assert found["standard", "unet+sam", "cIoU"] == pytest.approx(100 * 7 / 13)
    assert found["standard", "untrained+sam", "cIoU"] < 20


def test_the_protocols_are_counted_apart(tmp_path: Path) -> None:
    manifest = write_part(tmp_path / "part", "refcoco-val", [make_sample(index) for index in range(3)])
    table = run(manifest, unet=PERFECT)
    rows = [row for row in table.to_pylist() if row["head"] == "unet"]
    assert sum(row["protocol"] == "paper" for row in rows) == 3 * 2  # first sentence of each object
    assert sum(row["protocol"] == "standard" for row in rows) == 3 * 2 * 2  # every sentence
    # Spoil one protocol's rows: the other's numbers must not move.
    spoilt = [
        {**row, "iou": 0.0, "intersection": 0} if row["protocol"] == "paper" else row
        for row in table.to_pylist()
    ]
    found = records(pa.Table.from_pylist(spoilt, schema=PREDICTION_SCHEMA))
    assert found["paper", "unet", "cIoU"] == 0.0
    assert found["standard", "unet", "cIoU"] == 100.0


def test_only_the_protocols_asked_for_are_run_and_reported(refcoco: Manifest, png: Manifest) -> None:
    table = run(refcoco, ["standard"], unet=PERFECT)
    assert set(table["protocol"].to_pylist()) == {"standard"}
    assert {protocol for protocol, _, _ in records(run(png, ["paper"], unet=PERFECT), ["paper"])} == {"paper"}


def test_png_counts_plurals_as_things_under_paper_only(png: Manifest) -> None:
    # Perfect on things, empty on the plural stuff target.
    table = run(png, unet=PERFECT)
    spoilt = [{**row, "iou": 0.0} if row["is_plural"] else row for row in table.to_pylist()]
    found = records(pa.Table.from_pylist(spoilt, schema=PREDICTION_SCHEMA))
    assert found["standard", "unet", "AR_things"] == pytest.approx(99.999)
    assert found["standard", "unet", "AR_stuff"] == pytest.approx(0.001)
    assert found["paper", "unet", "AR_things"] == pytest.approx((99.999 + 0.001) / 2)
    assert ("paper", "unet", "AR_stuff") not in found  # no phrase is left: no number, not a NaN
    for protocol in BOTH:
        assert found[protocol, "unet", "AR"] == pytest.approx(50, abs=0.01)
        assert found[protocol, "unet", "AR_singulars"] == pytest.approx(99.999)
        assert found[protocol, "unet", "AR_plurals"] == pytest.approx(0.001)


def test_png_is_counted_by_category_under_standard(png: Manifest) -> None:
    rows = run(png, unet=PERFECT).to_pylist()
    named = [{**row, "category": "sky" if row["is_plural"] else "dog"} for row in rows]
    spoilt = [{**row, "iou": 0.0} if row["category"] == "sky" else row for row in named]
    found = records(pa.Table.from_pylist(spoilt, schema=PREDICTION_SCHEMA))
    by_category = {place: value for place, value in found.items() if "/" in place[2]}
    assert by_category["standard", "unet", "AR/dog"] == pytest.approx(99.999)
    assert by_category["standard", "unet", "AR/sky"] == pytest.approx(0.001)
    assert {protocol for protocol, _, _ in by_category} == {"standard"}


def test_every_row_says_what_was_predicted_and_what_is_true(refcoco: Manifest) -> None:
    table = run(refcoco, unet=SHIFTED)
    assert table.schema == PREDICTION_SCHEMA
    for row in table.to_pylist():
        mine, truth = (decode_rle(row[name], row["height"], row["width"]) for name in ("rle", "rle_truth"))
        assert np.array_equal(mine, np.roll(truth, 3, axis=1))
        assert row["intersection"] == (mine & truth).sum()
        assert row["area_union"] == (mine | truth).sum()
        assert row["iou"] == pytest.approx(row["intersection"] / row["area_union"])
        truth_rle = {"counts": row["rle_truth"].encode(), "size": [row["height"], row["width"]]}
        mine_rle = {"counts": row["rle"].encode(), "size": [row["height"], row["width"]]}
        assert row["iou"] == pytest.approx(coco_mask.iou([mine_rle], [truth_rle], [False])[0][0])


def test_masks_are_probabilities_resized_to_the_ground_truth_then_cut_at_one_half() -> None:
    logits = torch.tensor([[[-9.0, 9.0]]])
    masks = to_masks(logits, (2, 4), "here")
    # Bilinear probabilities of (~0, ~1) are 0, 1/4, 3/4, 1.
    assert masks.tolist() == [[[False, False, True, True]] * 2]
    # Resized logits would put the border elsewhere: at (-1, 9) the second column's logit is already positive.
    assert to_masks(torch.tensor([[[-1.0, 9.0]]]), (1, 4), "here").tolist() == [[[False, False, True, True]]]
    assert not to_masks(torch.zeros(1, 2, 2), (4, 4), "here").any()  # 0.5 is not more than 0.5


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_finite_stop_the_step_naming_the_sample(refcoco: Manifest, value: float) -> None:
    broken = FakeHead(lambda truth: truth, firmness=value)
    with pytest.raises(StepError, match=r"sample refcoco-val-0 .*head unet: .*not finite"):
        run(refcoco, unet=broken)


def test_a_part_without_answers_has_no_records(tmp_path: Path) -> None:
    table = run(write_part(tmp_path / "part", "refcoco-testB", []), unet=PERFECT)
    assert table.num_rows == 0
    assert records(table) == {}


def test_small_and_large_ground_truths_are_met_at_their_own_size() -> None:
    assert to_masks(torch.full((2, 3, 5), 4.0), (HEIGHT, WIDTH), "here").shape == (2, HEIGHT, WIDTH)
