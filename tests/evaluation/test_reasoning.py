"""Answer-then-ground: one phrase of all tokens, ignored pixels in no count, an empty answer an empty mask."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from flmm.backbones.base import Generation, Observation
from flmm.benchmarks import benchmark, reasonseg, viscot
from flmm.data.images import ImageStore
from flmm.evaluation.predictions import counts, prediction_rows
from flmm.evaluation.reasoning import answer_then_ground, described
from tests.evaluation.conftest import CHANNELS, GRID, HEIGHT, HIDDEN, LAYERS, WIDTH, make_question


def test_an_answers_tokens_are_one_phrase() -> None:
    maps = torch.rand(3, CHANNELS, GRID.rows, GRID.columns)
    hidden = tuple(torch.full((LAYERS, 1, HIDDEN), float(token)) for token in range(3))
    spoken = Observation("q", (0, 1, 2), ("a", " b", " c"), (maps,), hidden, (GRID,)).joined()
    said = spoken.head_input((HEIGHT, WIDTH))
    assert len(said) == 1 and spoken.texts == ("a b c",)
    assert torch.equal(said.attention[0][0], maps.mean(dim=0))
    assert said.hidden[0].shape == (LAYERS, 3, HIDDEN)
    assert said.hidden[0][0, :, 0].tolist() == [0.0, 1.0, 2.0]
    assert described(make_question(0, "reasonseg"), "a b c", "p").phrases[0].text == "Which is it? a b c"


class Silent:
    """An LMM that ends its answer at once."""

    def generate(self, image: Image.Image, question: str, **settings: Any) -> Generation:
        return Generation((), None)

    def decode(self, tokens: Sequence[int]) -> str:
        return ""


def test_an_empty_answer_has_empty_masks(tmp_path: Path) -> None:
    sample = make_question(0, "reasonseg")
    (tmp_path / sample.archive).mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / sample.archive / sample.image)
    made: list[Any] = [Silent(), {"unet": None}, None, [sample], ImageStore(tmp_path), benchmark("reasonseg")]
    rows = answer_then_ground(*made, max_new_tokens=4, description="").to_pylist()
    assert [row["head"] for row in rows] == ["unet", "unet+sam"]
    assert all(row["intersection"] == 0 and row["iou"] == 0 and row["area_union"] > 0 for row in rows)


def row(sample_kind: str, mask: np.ndarray) -> dict[str, object]:
    sample = make_question(0, sample_kind)
    answer = described(sample, "", "answer-then-ground")
    return prediction_rows(answer, counts(sample, mask)[None], dataset=sample_kind, split="val", head="unet")[
        0
    ]


def test_ignored_pixels_are_in_no_intersection_and_no_union() -> None:
    truth = make_question(0, "reasonseg").targets[0].mask(HEIGHT, WIDTH)
    with_strip = truth.copy()
    with_strip[-4:] = True  # make_question ignores the last four rows
    assert row("reasonseg", with_strip)["iou"] == 1.0
    elsewhere = truth.copy()
    elsewhere[-5] = True
    assert row("reasonseg", elsewhere)["iou"] < 1.0  # type: ignore[operator]


def test_a_mask_stands_for_its_box_where_only_a_box_is_annotated() -> None:
    truth = make_question(0, "viscot").targets[0].mask(HEIGHT, WIDTH)
    rows, columns = np.flatnonzero(truth.any(axis=1)), np.flatnonzero(truth.any(axis=0))
    corners = np.zeros_like(truth)
    corners[rows[0], columns[0]] = corners[rows[-1], columns[-1]] = True
    assert row("viscot", corners)["iou"] == 1.0
    assert row("viscot", np.zeros_like(truth))["iou"] == 0.0


def columns(ious: list[float], unions: list[int], kinds: list[str]) -> dict[str, np.ndarray]:
    found = np.array(unions)
    return {
        "iou": np.array(ious),
        "intersection": np.round(np.array(ious) * found).astype(int),
        "area_union": found,
        "category": np.array(kinds, dtype=object),
    }


def test_reasonseg_counts_an_empty_truth_that_was_left_empty_as_right() -> None:
    scores = reasonseg.count(columns([0.5, 0.0], [100, 0], ["long query", "short query"]), "any")
    assert {name: score.value for name, score in scores.items()} == {
        "gIoU": 75.0,
        "cIoU": 50.0,
        "gIoU_long": 50.0,
        "cIoU_long": 50.0,
        "gIoU_short": 100.0,
        "cIoU_short": 0.0,
    }


def test_viscot_counts_boxes_from_one_half_on() -> None:
    scores = viscot.count(columns([0.5, 0.49, 0.0, 1.0], [100, 100, 10, 10], ["gqa"] * 4), "any")
    assert scores["Pr@0.5"].value == 50.0 and scores["gIoU"].value == 49.75
