"""Visual-CoT's benchmark JSON: the question without its request, the box in pixels, damaged entries named."""

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from flmm.data.sample import Sample
from flmm.data.viscot import VisualCoT
from flmm.errors import InputError
from tests.data.test_mutations import mutate

HEIGHT, WIDTH = 30, 40
REQUEST = (
    "Please provide the bounding box coordinate of the region that can help you answer the question better."
)


def entry(box: str = "[4, 6, 14, 26]") -> dict[str, Any]:
    turns = [f"<image>\nWhat is there? {REQUEST}", "[0.1, 0.275, 0.35, 0.775]", "<image>", "window"]
    return {
        "dataset": "gqa",
        "split": "val",
        "question_id": 7,
        "image": ["cot/gqa/1.jpg", f"cot/gqa/1.jpg###{box}"],
        "conversations": [{"from": "human", "value": value} for value in turns],
    }


def read(raw: Path, entries: Any) -> tuple[list[Sample], Counter[str]]:
    stream = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT)).save(stream, "JPEG")
    (raw / "cot" / "gqa").mkdir(parents=True, exist_ok=True)
    (raw / "cot" / "gqa" / "1.jpg").write_bytes(stream.getvalue())
    (raw / "viscot_gqa.json").write_text(json.dumps(entries))
    skipped: Counter[str] = Counter()
    return list(VisualCoT(raw, "viscot").samples("gqa", set(), skipped)), skipped


def test_a_question_its_answer_and_its_box(tmp_path: Path) -> None:
    (sample,), _ = read(tmp_path, [entry()])
    target = sample.targets[0]
    assert (sample.question, target.sentences, target.is_box) == ("What is there?", ("window",), True)
    assert (sample.archive, sample.image, sample.height, sample.width) == ("cot", "gqa/1.jpg", HEIGHT, WIDTH)
    mask = target.mask(HEIGHT, WIDTH)
    assert mask.sum() == 10 * 20 and mask[6:26, 4:14].all()


@pytest.mark.parametrize(
    "box", ["[4, 6, 14]", "[1.2.3, 6, 14, 26]", "[--1, 6, 14, 26]", "[1e999, 6, 14, 26]", "[nan, 6, 14, 26]"]
)
def test_a_box_that_is_none_is_named(tmp_path: Path, box: str) -> None:
    with pytest.raises(InputError, match=r"viscot_gqa\.json: question 7"):
        read(tmp_path, [entry(box)])


def test_a_path_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    away = {**entry(), "image": ["cot/../../x.jpg", "cot/../../x.jpg###[1, 1, 2, 2]"]}
    with pytest.raises(InputError):
        read(tmp_path, [away])


def test_a_box_without_pixels_is_counted(tmp_path: Path) -> None:
    samples, skipped = read(tmp_path, [entry("[4, 6, 4, 6]"), entry()])
    assert len(samples) == 1 and skipped["target: mask without pixels"] == 1


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_mutated_file_is_an_error_or_counted(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    changed = mutate(data.draw, [entry(), entry()], rows=False)
    try:
        samples, skipped = read(tmp_path_factory.mktemp("raw"), changed)
    except InputError:
        return
    assert len(samples) + sum(skipped.values()) == len(changed)
