"""Visual-CoT's benchmark JSON: the question without its request, the box in pixels, damaged entries named."""

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
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


ENDS = st.one_of(
    st.integers(-200, 200), st.floats(-200, 200, allow_nan=False), st.sampled_from([-1, 0, -0.4, 1e-5, 1e9])
)


@settings(max_examples=60, deadline=None)
@given(boxes=st.lists(st.tuples(ENDS, ENDS, ENDS, ENDS), min_size=1, max_size=4))
def test_boxes_are_clipped_and_inverted_ones_counted(
    tmp_path_factory: pytest.TempPathFactory, boxes: list[tuple[float, float, float, float]]
) -> None:
    samples, skipped = read(tmp_path_factory.mktemp("raw"), [entry(str(list(box))) for box in boxes])
    expected = []
    inverted = empty = 0
    for left, top, right, bottom in boxes:
        if left > right or top > bottom:
            inverted += 1
            continue
        ys, xs = np.mgrid[:HEIGHT, :WIDTH]
        inside = (xs >= round(left)) & (xs < round(right)) & (ys >= round(top)) & (ys < round(bottom))
        expected += [inside] if inside.any() else []
        empty += not inside.any()
    assert skipped["sample: a box with its ends in the wrong order"] == inverted
    assert skipped["target: mask without pixels"] == empty
    found = [sample.targets[0].mask(HEIGHT, WIDTH) for sample in samples]
    assert len(found) == len(expected)
    assert all(np.array_equal(mine, right) for mine, right in zip(found, expected, strict=True))


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
