"""The chain of thought: what is cut out, in which words it is asked, what each way sees, and how gains are counted."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from flmm.backbones.base import Generation, Observation
from flmm.benchmarks import benchmark, viscot
from flmm.benchmarks.pope import object_of
from flmm.errors import SecondPictureError
from flmm.evaluation.asking import look_for, which_object
from flmm.evaluation.count_ways import way_records
from flmm.evaluation.crops import box_around, enlarged, grown
from flmm.evaluation.intervals import gain_intervals, intervals
from flmm.evaluation.tables import THOUGHT_SCHEMA
from flmm.evaluation.thoughts import Case, Thinker, drawn, facts
from flmm.heads.model import HeadOutput
from tests.evaluation.conftest import CHANNELS, GRID, HEIGHT, HIDDEN, LAYERS, WIDTH

SIDES = st.integers(1, 40)


@given(st.data(), SIDES, SIDES, st.floats(0, 3))
def test_a_grown_box_holds_the_box_and_stays_in_the_picture(
    data: st.DataObject, width: int, height: int, margin: float
) -> None:
    left = data.draw(st.integers(0, width - 1))
    top = data.draw(st.integers(0, height - 1))
    box = (left, top, data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height)))
    mine = grown(box, margin, width, height)
    assert 0 <= mine[0] <= box[0] and 0 <= mine[1] <= box[1]
    assert box[2] <= mine[2] <= width and box[3] <= mine[3] <= height
    if margin == 0:
        assert mine == box
    part = enlarged(Image.new("RGB", (width, height)), box)
    assert max(part.size) == max(width, height) and min(part.size) >= 1


def test_the_box_around_a_mask_ends_behind_its_last_pixels() -> None:
    mask = np.zeros((6, 8), dtype=bool)
    assert box_around(mask) is None
    mask[2, 3] = mask[4, 5] = True
    assert box_around(mask) == (3, 2, 6, 5)


@pytest.mark.parametrize(
    ("question", "thing"),
    [
        ("Is there a snowboard in the image?", "snowboard"),
        ("Is there an orange star in the image?", "orange star"),
        ("Are there any people in the picture?", "people"),
        ("What is this?", "What is this?"),
    ],
)
def test_the_object_that_pope_asks_for(question: str, thing: str) -> None:
    assert object_of(question) == thing


@pytest.mark.parametrize(
    ("answer", "label", "exact", "contained"),
    [
        ("Red.", "red", True, True),
        ("The red circle", "a red circle", True, True),
        ("It is red, I think", "red", False, True),
        ("a red one and a circle", "red circle", False, False),
        ("reddish", "red", False, False),
        ("2.5 m", "2.5", False, True),
        ("", "red", False, False),
    ],
)
def test_right_answers_by_their_words(answer: str, label: str, exact: bool, contained: bool) -> None:
    numbers = viscot.count_ways({"answer": [answer], "label": [label], "grade": [None]})
    assert {name: number.value for name, number in numbers.items()} == {
        "exact": 100.0 * exact,
        "contained": 100.0 * contained,
    }


@given(st.text(max_size=30), st.text(max_size=30))
def test_an_exact_answer_contains_the_label(answer: str, label: str) -> None:
    if viscot.is_exact(answer, label):
        assert viscot.contains(answer, label)


def test_questions_are_drawn_by_seed_and_number_and_keep_their_order() -> None:
    assert drawn(list("abcde"), None, 7) == list("abcde") == drawn(list("abcde"), 9, 7)
    some = drawn(list(range(100)), 10, 7)
    assert some == sorted(some) == drawn(list(range(100)), 10, 7) and len(set(some)) == 10
    assert some != drawn(list(range(100)), 10, 8)


class Talker:
    """An LMM that answers by what it sees: the sizes of its pictures; with ``one`` it reads one at a time."""

    def __init__(self, one: bool = False, name: str = "the left half") -> None:
        self.one, self.name = one, name
        self.asked: list[str] = []
        self.grounded: list[str] = []
        self.said = ""

    def generate(self, image: Image.Image, question: str, **_: Any) -> Generation:
        self.asked.append(question)
        self.said = self.name if question.startswith("Question:") else "one look"
        return Generation((1,), None)

    def look(self, images: Sequence[Image.Image], question: str, **_: Any) -> tuple[int, ...]:
        if self.one:
            raise SecondPictureError("talker: reads one picture at a time")
        self.asked.append(question)
        self.said = "saw " + " and ".join(f"{image.width}x{image.height}" for image in images)
        return (1,)

    def observe(self, image: Image.Image, answers: Any, prompt: str) -> list[Observation]:
        self.grounded.append(answers[0].pieces[0].text)
        maps = torch.zeros(1, CHANNELS, GRID.rows, GRID.columns)
        return [Observation("q", (0,), ("x",), (maps,), (torch.zeros(LAYERS, 1, HIDDEN),), (GRID,))]

    def converse(self, image: Image.Image) -> "Talker":
        return self

    def say(self, question: str, **_: Any) -> Iterator[int]:
        self.asked.append(question)
        self.said = "talked"
        yield 1

    def keep(self) -> None:
        self.asked.append("kept")

    def decode(self, tokens: Sequence[int]) -> str:
        return self.said


class LeftHalf:
    """A head whose masks are the left half of the picture."""

    def __call__(self, inputs: Sequence[Any], embeddings: Sequence[torch.Tensor]) -> list[HeadOutput]:
        logits = torch.full((1, HEIGHT, WIDTH), -9.0)
        logits[:, :, : WIDTH // 2] = 9.0
        return [HeadOutput(coarse=logits, refined=logits) for _ in inputs]


class NoSegmenter:
    def embed(self, image: Image.Image) -> torch.Tensor:
        return torch.zeros(1)


CASE = Case("7", "viscot", "shapes", "cot", "a.jpg", "What color is it?", "red")
PICTURE = Image.new("RGB", (WIDTH, HEIGHT))


def thinker(talker: Talker, name: str = "viscot", margin: float = 0.0) -> Thinker:
    parts: list[Any] = [talker, LeftHalf(), NoSegmenter(), benchmark(name)]
    return Thinker(*parts, margin=margin, max_new_tokens=4)


def test_each_way_grounds_its_own_words_and_answers_the_same_question() -> None:
    talker = Talker()
    found = thinker(talker).answers(CASE, PICTURE)
    assert talker.grounded == ["the left half", "What color is it?"]
    # The left half of 32 x 24 is 16 x 24, enlarged to a longer side of 32.
    assert {way: thought.answer for way, thought in found.items()} == {
        "named-object": "saw 32x24 and 21x32",
        "whole-question": "saw 32x24 and 21x32",
        "plain": "one look",
    }
    assert found["named-object"].crop == (0, 0, WIDTH // 2, HEIGHT)
    asked = benchmark("viscot").prompt(replace(CASE))  # type: ignore[arg-type]
    assert [text for text in talker.asked if text != which_object(CASE.text)] == [asked] * 3
    wider = thinker(Talker(), margin=0.25).answers(CASE, PICTURE)
    assert wider["whole-question"].crop == (0, 0, 20, HEIGHT)


def test_an_lmm_that_names_nothing_looks_at_the_whole_picture_again() -> None:
    named = thinker(Talker(name=" ")).answers(CASE, PICTURE)["named-object"]
    assert named.looked is not None and named.looked.box is None
    assert not named.looked.masks["unet+sam"].any() and named.crop == (0, 0, WIDTH, HEIGHT)


def test_an_lmm_of_one_picture_says_so_and_talks_about_it_where_there_is_no_region_to_score() -> None:
    found = thinker(Talker(one=True)).answers(CASE, PICTURE)
    assert found["named-object"].answer == "" and "one picture at a time" in found["named-object"].problem
    talker = Talker(one=True)
    case = replace(CASE, text="Is there a dog in the image?")
    looked = thinker(talker, "pope").answers(case, PICTURE)["look-first"]
    assert (looked.answer, looked.pictures) == ("talked", 1) and looked.problem
    assert talker.asked[:2] == [look_for("dog"), "kept"]
    assert talker.asked[2].startswith("Is there a dog in the image?")


def rows(way: str, answers: Sequence[str], **changes: Any) -> list[dict[str, Any]]:
    plain = {"dataset": "pope", "split": "random", "protocol": way, "archive": "val2014", "text": "", "phrase": "",
             "box": [], "crop": [], "pictures": 1, "problem": "", "grade": None}  # fmt: skip
    labels = ["yes", "no"] * len(answers)
    return [
        plain
        | {"question_id": str(n), "image": f"{n // 2}.jpg", "answer": answer, "label": labels[n]}
        | changes
        for n, answer in enumerate(answers)
    ]


def records(name: str, table: list[dict[str, Any]]) -> dict[tuple[str, str, str], Any]:
    made = pa.Table.from_pylist(table, schema=THOUGHT_SCHEMA)
    found = way_records(benchmark(name), made, suite="s", backbone="b", seed=7)
    return {(record.protocol, record.head, record.metric): record for record in found}


def test_a_gain_is_the_difference_on_the_same_questions() -> None:
    plain, look = ["no"] * 8, ["yes", "no", "no", "no", "yes", "no", "yes", "yes"]
    found = records("pope", rows("plain", plain) + rows("look-first", look)[::-1])
    assert found["plain", "none", "accuracy"].value == 0.5
    assert found["look-first", "unet+sam", "accuracy"].value == 0.75
    gain = found["look-first", "unet+sam", "accuracy_gain"]
    assert gain.value == 0.25 and gain.low < 0.25 < gain.high and (gain.n, gain.images) == (8, 4)
    assert found["look-first", "unet+sam", "yes_ratio_gain"].value == 0.5
    assert found["look-first", "unet+sam", "F1_gain"].value == pytest.approx(0.75)
    assert ("plain", "none", "accuracy_gain") not in found


def test_paired_intervals_are_of_the_difference_and_not_of_two_draws() -> None:
    """Where a way is right whenever the other is, and once more on each picture, nothing is left to chance."""
    count = benchmark("pope").count_ways
    assert count is not None
    labels, images = ["yes", "yes", "yes"] * 20, [str(n // 3) for n in range(60)]
    plain = count({"answer": ["yes" if (n // 3) % 2 and n % 3 else "no" for n in range(60)], "label": labels})
    better = count(
        {
            "answer": ["yes" if n % 3 == 0 or ((n // 3) % 2 and n % 3) else "no" for n in range(60)],
            "label": labels,
        }
    )
    assert intervals(plain, images, 7)["accuracy"][1] - intervals(plain, images, 7)["accuracy"][0] > 0.1
    low, high = gain_intervals({"accuracy": better["accuracy"]}, plain, images, 7)["accuracy"]
    assert low == pytest.approx(1 / 3, abs=1e-5) == high


def test_a_way_that_no_question_got_has_no_answers_and_its_reason_is_a_fact() -> None:
    refused = rows("named-object", ["", ""], dataset="viscot", problem="b: reads one picture at a time")
    table = refused + rows("plain", ["yes", "x"], dataset="viscot")
    assert {key[0] for key in records("viscot", table)} == {"plain"}
    told = facts(table)
    assert told["named-object"] == {
        "answers": 2, "with_two_pictures": 0, "without_the_second": 2, "why": "b: reads one picture at a time",
    }  # fmt: skip
    assert told["plain"]["why"] is None
    some = [
        *rows("named-object", ["yes"], dataset="viscot"),
        refused[1],
        *rows("plain", ["yes", "x"], dataset="viscot"),
    ]
    assert records("viscot", some)["named-object", "unet+sam", "exact"].value == 50.0


def test_grades_count_where_a_judge_gave_them_all() -> None:
    graded = rows("plain", ["a", "b"], dataset="viscot", grade=0.5)
    assert records("viscot", graded)["plain", "none", "judge"].value == 50.0
    assert ("plain", "none", "judge") not in records("viscot", rows("plain", ["a"], dataset="viscot"))
