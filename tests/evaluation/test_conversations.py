"""Pictures of whole conversations: which are chosen, what stands in them, and what is written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from flmm.benchmarks import benchmark
from flmm.colours import colour
from flmm.data.sample import encode_rle
from flmm.errors import InputError
from flmm.evaluation.conversations import write_conversations
from flmm.evaluation.script import PANEL, Said, script
from flmm.evaluation.tables import (
    DESCRIPTION_SCHEMA,
    DESCRIPTIONS,
    LOOKS,
    PREDICTION_SCHEMA,
    PREDICTIONS,
    THOUGHT_SCHEMA,
    THOUGHTS,
)
from flmm.files import write_table

HEIGHT, WIDTH = 40, 60
TOP, BOTTOM = slice(0, 20), slice(20, 40)


def opened(archive: str, image: str) -> Image.Image:
    return Image.new("RGB", (WIDTH, HEIGHT), (128, 128, 128))


def rle(rows: slice) -> str:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[rows] = True
    return encode_rle(mask)


def table(schema: pa.Schema, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows whose other columns are null."""
    return pa.Table.from_pylist([dict.fromkeys(schema.names) | row for row in rows], schema=schema)


def mask_row(sample: str, phrase: int, text: str, iou: float, rows: slice, **more: Any) -> dict[str, Any]:
    place = {
        "dataset": "d",
        "split": "val",
        "sample_id": sample,
        "archive": "a.zip",
        "image": f"{sample}.jpg",
    }
    size = {"height": HEIGHT, "width": WIDTH, "rle": rle(rows), "rle_truth": rle(rows)}
    return place | size | {"phrase": phrase, "text": text, "iou": iou, "head": "unet+sam"} | more


@pytest.fixture
def described(tmp_path: Path) -> Path:
    """Seven descriptions, the n-th of a mean IoU of n tenths; the first one has no phrase."""
    rows, masks = [], []
    for number in range(7):
        sample = f"s{number}"
        text = "nothing here" if not number else "there is a star and a star"
        rows.append({"sample_id": sample, "dataset": "d", "split": "val", "archive": "a.zip", "text": text,
                     "image": f"{sample}.jpg", "height": HEIGHT, "width": WIDTH})  # fmt: skip
        if number:
            masks += [
                mask_row(sample, 1, "a star", number / 10 + 0.05, BOTTOM),
                mask_row(sample, 0, "a star", number / 10 - 0.05, TOP),
                mask_row(sample, 0, "a star", 1.0, TOP, head="unet"),
            ]
    write_table(tmp_path / DESCRIPTIONS, table(DESCRIPTION_SCHEMA, rows))
    write_table(tmp_path / PREDICTIONS, table(PREDICTION_SCHEMA, masks))
    return tmp_path


def test_descriptions_are_chosen_evenly_from_the_worst_to_the_best(described: Path) -> None:
    out = described / "out"
    entries = write_conversations(benchmark("gcg"), described, opened, out, count=4)
    assert [entry["rank"] for entry in entries] == [1, 3, 5, 7]
    assert {entry["of"] for entry in entries} == {7}
    assert [entry["score"] for entry in entries] == pytest.approx([0.0, 0.2, 0.4, 0.6])
    assert json.loads((out / "conversations.json").read_text()) == entries
    assert {path.name for path in out.glob("*.png")} == {entry["file"] for entry in entries}
    again = write_conversations(benchmark("gcg"), described, opened, out, count=2)
    assert [entry["rank"] for entry in again] == [1, 7]
    assert len(list(out.glob("*.png"))) == 2, "pictures of an earlier run go"


def test_each_mask_has_the_colour_of_its_phrase(described: Path) -> None:
    (entry,) = write_conversations(benchmark("gcg"), described, opened, described / "out", count=1)
    assert entry["rank"] == 1  # the only one is the worst: nothing was grounded, and nothing is coloured
    assert entry["answer"] == "nothing here"
    *_, best = write_conversations(benchmark("gcg"), described, opened, described / "out", count=2)
    with Image.open(described / "out" / best["file"]) as picture:
        panel = np.asarray(picture.convert("RGB"))
    left, high = 6 + PANEL + 6, round(HEIGHT * PANEL / WIDTH)
    for number, row in enumerate((10, high - 10)):
        shown = panel[6 + row, left + PANEL // 2].astype(float)
        assert np.abs(shown - (0.55 * 128 + 0.45 * np.array(colour(number)))).max() < 3


def test_a_chain_of_thought_shows_what_was_named_and_looked_at_again(tmp_path: Path) -> None:
    thought = {"dataset": "d", "split": "val", "archive": "a.zip", "image": "q.jpg", "text": "What color?",
               "label": "red", "phrase": "star", "box": [0, 0, 60, 20], "crop": [0, 0, 60, 24], "pictures": 2,
               "answer": "blue", "problem": ""}  # fmt: skip
    rows = [
        thought | {"question_id": "q", "protocol": way} for way in ("named-object", "whole-question", "plain")
    ]
    write_table(tmp_path / THOUGHTS, table(THOUGHT_SCHEMA, rows))
    looks = [mask_row("q", 0, "star", 0.7, TOP, protocol=way) for way in ("named-object", "whole-question")]
    write_table(tmp_path / LOOKS, table(PREDICTION_SCHEMA, looks))
    (entry,) = write_conversations(benchmark("viscot"), tmp_path, opened, tmp_path / "out", count=4)
    assert (entry["text"], entry["answer"], entry["score"]) == ("What color?", "blue", 0.7)
    with Image.open(tmp_path / "out" / entry["file"]) as picture:
        assert picture.width >= 3 * PANEL, "image, mask, and the part that was looked at again"


def test_other_benchmarks_have_an_empty_list(tmp_path: Path) -> None:
    assert write_conversations(benchmark("res"), tmp_path, opened, tmp_path / "out", count=4) == []
    assert json.loads((tmp_path / "out/conversations.json").read_text()) == []


def test_no_table_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"descriptions\.parquet|predictions\.parquet"):
        write_conversations(benchmark("gcg"), tmp_path, opened, tmp_path / "out", count=4)


def test_long_words_and_empty_answers_are_drawn() -> None:
    image = Image.new("RGB", (10, 300))
    said = [Said("user", "x" * 500 + " end"), Said("LMM", ""), Said("LMM", "two\nlines")]
    sheet = script([(image, "image")], said)
    assert sheet.height > PANEL + 5 * 20
