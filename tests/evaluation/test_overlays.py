"""Which predictions become pictures, and what the pictures are."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from flmm.cache.schema import Manifest
from flmm.evaluation.engine import Part, predict
from flmm.evaluation.overlays import choose, sheet_size, write_overlays
from flmm.evaluation.script import PANEL
from flmm.evaluation.tables import PREDICTION_SCHEMA
from tests.evaluation.conftest import HEIGHT, PERFECT, SHIFTED, WIDTH, NoEmbeddings


class GreyImages:
    def open(self, archive: str, image: str) -> Image.Image:
        return Image.new("RGB", (WIDTH, HEIGHT), (128, 128, 128))


@pytest.fixture
def table(refcoco: Manifest) -> pa.Table:
    """Rows whose refined IoU is spread over 0-1."""
    rows = predict(
        [Part("refcoco", "val", refcoco)], {"unet": SHIFTED}, NoEmbeddings(), ["paper", "standard"]
    )
    spread: list[dict[str, Any]] = rows.to_pylist()
    for number, row in enumerate(spread):
        row["iou"] = number / len(spread)
    return pa.Table.from_pylist(spread, schema=PREDICTION_SCHEMA)


def test_the_worst_the_best_and_the_median_phrases_are_chosen_each_target_once(table: pa.Table) -> None:
    chosen = choose(table, 8, "standard")
    assert [each.kind for each in chosen] == ["worst"] * 3 + ["median"] * 2 + ["best"] * 3
    targets = [(each.refined["sample_id"], each.refined["target_id"]) for each in chosen]
    assert len(set(targets)) == len(targets)
    refined = [
        row for row in table.to_pylist() if row["head"] == "unet+sam" and row["protocol"] == "standard"
    ]
    assert chosen[0].refined["iou"] == min(row["iou"] for row in refined)
    assert chosen[-1].refined["iou"] == max(row["iou"] for row in refined)
    ious = sorted(row["iou"] for row in refined)
    for each in chosen:
        assert each.of == len(refined) and ious[each.rank - 1] == each.refined["iou"]
    # Two sentences may name one target, which is drawn once: hence "about" the median.
    assert all(abs(each.rank - (len(refined) + 1) / 2) <= 3 for each in chosen if each.kind == "median")
    assert chosen == choose(
        table.take(list(range(table.num_rows))[::-1]), 8, "standard"
    )  # whatever the order


def test_coarse_and_refined_row_are_of_the_same_phrase(table: pa.Table) -> None:
    for each in choose(table, 12, "paper"):
        assert each.coarse["head"] == "unet"
        assert each.refined["head"] == "unet+sam"
        assert each.refined["protocol"] == each.coarse["protocol"] == "paper"
        for name in ("answer_id", "phrase", "text", "target_id"):
            assert each.coarse[name] == each.refined[name]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 12, 500])
def test_no_more_pictures_than_asked_for_and_than_there_are_targets(table: pa.Table, count: int) -> None:
    assert len(choose(table, count, "standard")) == min(count, 12)


def test_files_and_list_agree_and_old_pictures_go(table: pa.Table, tmp_path: Path) -> None:
    write_overlays(table, GreyImages(), tmp_path, count=9, protocol="standard")
    entries = write_overlays(table, GreyImages(), tmp_path, count=4, protocol="standard")
    assert json.loads((tmp_path / "overlays.json").read_text()) == entries
    assert sorted(path.name for path in tmp_path.glob("*.png")) == sorted(
        Path(entry["file"]).name for entry in entries
    )
    for entry in entries:
        places = {"file", "kind", "rank", "of", "phrase", "sample", "dataset", "split", "protocol", "ious"}
        assert set(entry) == places
        assert set(entry["ious"]) == {"unet", "unet+sam"}
        with Image.open(tmp_path / entry["file"]) as picture:
            assert picture.size == sheet_size(HEIGHT, WIDTH)


def test_the_picture_is_kept_inside_the_mask_and_fades_outside(refcoco: Manifest, tmp_path: Path) -> None:
    rows = predict([Part("refcoco", "val", refcoco)], {"unet": PERFECT}, NoEmbeddings(), ["standard"])
    (entry,) = write_overlays(rows, GreyImages(), tmp_path, count=1, protocol="standard")
    with Image.open(tmp_path / entry["file"]) as picture:
        pixels = np.asarray(picture).astype(int)
    panels = [pixels[20 : 20 + PANEL * HEIGHT // WIDTH, 6 + k * (PANEL + 6) :][:, :PANEL] for k in range(4)]
    kept = [(np.abs(panel - 128).sum(axis=-1) < 30).mean() for panel in panels]  # the rest fades
    # Targets are 10 x 10; the outline takes a pixel along their border.
    assert kept == pytest.approx([1.0, *[100 / (HEIGHT * WIDTH)] * 3], abs=0.015)


def test_png_rows_of_both_protocols_are_shown_once(png: Manifest, tmp_path: Path) -> None:
    rows = predict([Part("png", "val", png)], {"unet": PERFECT}, NoEmbeddings(), ["paper", "standard"])
    assert len(choose(rows, 500, "standard")) == 12
