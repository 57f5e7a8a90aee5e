"""How answers in words are read and counted."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
import torch
from PIL import Image

from flmm.backbones.base import Generation, HeadInput
from flmm.benchmarks import benchmark, mmbench, pope
from flmm.benchmarks.base import short_answer
from flmm.data.question import Question
from flmm.errors import StepError
from flmm.evaluation.count import answer_columns, answer_records
from flmm.evaluation.qa import AttachedHead, Pictures, answer_twice, facts
from flmm.evaluation.tables import ANSWER_SCHEMA
from flmm.heads import batches
from flmm.heads.model import HeadOutput
from flmm.protocols import Answer, Piece
from tests.evaluation.conftest import HEIGHT, WIDTH, observe


def question(**changes: Any) -> Question:
    plain = {
        "question_id": "1", "group": "1", "text": "Is there a star in the image?", "hint": "", "options": (),
        "answer": "yes", "category": "", "archive": "val2014", "image": "a.jpg", "image_bytes": b"",
    }  # fmt: skip
    return Question(**{**plain, **changes})


class Store:
    """Gives a fresh picture, of a colour of its own, at every call."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def open(self, archive: str, name: str) -> Image.Image:
        self.asked.append(name)
        return Image.new("RGB", (2, 2), {"a.jpg": "red", "b.jpg": "blue"}[name])


def test_a_picture_is_read_once_for_questions_that_follow_each_other_and_never_mistaken() -> None:
    store = Store()
    pictures = Pictures(store)  # type: ignore[arg-type]
    seen = [pictures.of(question(image=name)) for name in ("a.jpg", "a.jpg", "b.jpg", "a.jpg")]
    assert store.asked == ["a.jpg", "b.jpg", "a.jpg"]
    assert seen[0] is seen[1] and seen[2] is not seen[1]
    assert [image.getpixel((0, 0)) for image in seen] == [(255, 0, 0), (255, 0, 0), (0, 0, 255), (255, 0, 0)]


@pytest.mark.parametrize(
    ("answer", "yes"),
    [
        ("yes", True),
        ("Yes, there is.", True),
        ("no", False),
        ("No", False),
        ("No, there is not.", False),
        ("There is no star. Yes.", False),
        ("Yes. There is no star.", True),  # only the first sentence counts
        ("It is not there", False),
        ("not, really", False),
        ("NO", True),  # upstream's rule knows three spellings
        ("nothing", True),
        ("cannot say", True),
        ("", True),
        (". no", True),
    ],
)
def test_pope_answers_are_read_by_the_upstream_rule(answer: str, yes: bool) -> None:
    assert pope.says_yes(answer) is yes


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        ("b", "B"),
        (" B.\n", "B"),
        ("(B)", "B"),
        ("B)", "B"),
        ("B. red square", "B"),
        ("(B) red square", "B"),
        ("B: whatever", "B"),
        ("red square", "B"),
        ("Red square.", "B"),
        ("Answer: B", "B"),
        ("**B**", "B"),
        ("**Answer:** B", "B"),
        ("B - blue", "B"),
        ("[B]", "B"),
        ("Option B", "B"),
        ("The answer is B.", "B"),
        ("I would choose B here", "B"),
        ("The correct answer is **B**, since it is left of all the other things in this picture", "B"),
        ("The answer is A because it is round", "A"),
        ("A is right", "A"),
        ("A - round", "A"),
        ("It is the red square.", "B"),  # an option's text in a short sentence
        ("There is a star", "C"),
        ("A red square", None),  # an article
        ("A red circle", None),
        ("Answer: A red square", None),
        ("A star is seen, so the answer is B", "B"),
        ("A or B", None),
        ("B or C", None),
        ("A and B", None),
        ("B. A red square", "B"),
        ("Answer: B. A red square", "B"),
        ("A red circle, B is a square", None),
        ("The answer is A red circle", None),
        ("A B", None),
        ("(A) or (B)", None),
        ("A. Or rather B", None),
        ("answer is a round thing", None),
        ("Z", None),
        ("Cannot determine the answer, maybe B", None),
        ("It is the red square, " * 9, None),  # more than twice as long as the options
        ("D", None),  # there are three options
        ("D. red square", None),
        ("red square or blue circle", None),
        ("", None),
        ("I cannot tell", None),
    ],
)
def test_an_option_is_chosen_by_letter_or_whole_text(answer: str, letter: str | None) -> None:
    assert mmbench.option_letter(answer, ["blue circle", "red square", "star"]) == letter


def test_an_option_text_that_is_a_letter_does_not_outrank_the_letter() -> None:
    assert mmbench.option_letter("A", ["B", "A"]) == "A"
    assert mmbench.option_letter("same", ["same", "same"]) is None


def test_the_prompts_are_the_published_wording() -> None:
    assert benchmark("pope").prompt is short_answer
    assert short_answer(question()) == (
        "Is there a star in the image?\nAnswer the question using a single word or phrase."
    )
    choice = question(text="What is it?", hint="Look up.", options=("a dog", "a cat"), answer="B")
    assert mmbench.prompt(choice) == (
        "Look up.\nWhat is it?\nA. a dog\nB. a cat\n"
        "Answer with the option's letter from the given choices directly."
    )
    assert mmbench.prompt(question(text="What?", options=("x", "y"))).startswith("What?\nA. x\nB. y\n")


def row(**changes: Any) -> dict[str, Any]:
    plain = {
        "question_id": "1", "group": "1", "category": "c", "dataset": "d", "split": "dev",
        "text": "?", "options": ["x", "y"],
        "label": "A", "answer_plain": "A", "answer_attached": "A", "tokens_plain": [1],
        "tokens_attached": [1],
        "masks": 1,
    }  # fmt: skip
    return {**plain, **changes}


def counted(rows: list[dict[str, Any]]) -> dict[str, float]:
    numbers = mmbench.count(answer_columns(rows, [row["answer_plain"] for row in rows]), "upstream")
    return {name: number.value for name, number in numbers.items()}


def test_questions_without_a_category_count_in_the_overall_numbers_only() -> None:
    rows = [
        row(group="1", category="", answer_plain="y"),
        row(group="2", category=" "),
        row(group="3", category="object/part "),
    ]
    assert counted(rows) == {
        "circular_accuracy": 2 / 3,
        "circular_accuracy/object/part": 1.0,
        "plain_accuracy": 2 / 3,
    }
    assert set(counted(rows[:2])) == {"circular_accuracy", "plain_accuracy"}


def test_mmbench_counts_questions_by_all_their_rotations_overall_and_per_category() -> None:
    rows = [
        row(group="1", category="colour"),
        row(group="1", category="", label="B", answer_plain="y"),  # a rotation may lack the category
        row(group="2", category="shape"),
        row(group="2", category="shape", label="B", answer_plain="who knows"),
    ]
    assert counted(rows) == {
        "circular_accuracy": 0.5,
        "circular_accuracy/colour": 1.0,
        "circular_accuracy/shape": 0.0,
        "plain_accuracy": 0.75,
    }


def test_answers_of_the_plain_and_of_the_attached_model_become_records_of_their_own() -> None:
    rows = [
        row(split="random", options=[], label="yes", answer_plain="yes", answer_attached="yes"),
        row(
            split="random",
            options=[],
            label="no",
            answer_plain="no",
            answer_attached="yes",
            tokens_attached=[2],
        ),
        row(split="popular", options=[], label="no", answer_plain="no", answer_attached="no"),
    ]
    table = pa.Table.from_pylist(rows, schema=ANSWER_SCHEMA)
    records = answer_records(
        benchmark("pope"), table, ["1.jpg"] * len(rows), suite="shapes", backbone="b", seed=7
    )
    found = {(r.head, r.split, r.metric): r.value for r in records}
    assert found["none", "random", "accuracy"] == 1.0
    assert found["unet+sam", "random", "accuracy"] == 0.5
    assert found["unet+sam", "random", "answers_equal"] == 0.5
    assert found["unet+sam", "popular", "answers_equal"] == 1.0
    assert ("none", "random", "answers_equal") not in found
    assert {(r.benchmark, r.protocol) for r in records} == {("d", "upstream")}


def test_a_changed_answer_and_changed_weights_are_reported_as_facts() -> None:
    same = [row(), row()]
    assert facts(same, "x", "x") == {
        "answers": 2, "answers_equal": 2, "masks": 2, "weights_hash_before": "x", "weights_hash_after": "x",
        "equal": True,
    }  # fmt: skip
    assert facts(same, "x", "y")["equal"] is False
    changed = facts([*same, row(tokens_attached=[1, 2])], "x", "x")
    assert (changed["answers"], changed["answers_equal"], changed["equal"]) == (3, 2, False)


class Speaker:
    """Answers with the first letter's code of each question; notes what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[bool, object, tuple[str, ...]]] = []

    def answer(
        self, image: Image.Image, questions: list[str], *, max_new_tokens: int, tap: bool
    ) -> Iterator[Generation]:
        self.asked.append((tap, image.getpixel((0, 0)), tuple(questions)))
        return (Generation((ord(each[0]),), None) for each in questions)


class Counter:
    """A head that makes as many masks as an answer's first token says."""

    def masks(self, image: Image.Image, spoken: Iterator[Generation], where: list[str]) -> Iterator[object]:
        return ((each.tokens, each.tokens[0]) for each, _ in zip(spoken, where, strict=True))


def test_questions_are_asked_picture_by_picture_first_all_plain_and_come_back_in_their_order() -> None:
    asked = [
        question(question_id=str(number), text=text, image=name)
        for number, (text, name) in enumerate(
            [("x", "a.jpg"), ("y", "b.jpg"), ("z", "a.jpg"), ("x", "a.jpg")]
        )
    ]
    speaker, store = Speaker(), Store()
    found = answer_twice(
        speaker,  # type: ignore[arg-type]
        Counter(),  # type: ignore[arg-type]
        asked,
        lambda each: each.text,
        Pictures(store),  # type: ignore[arg-type]
        max_new_tokens=1,
        description="test",
    )
    red, blue = (255, 0, 0), (0, 0, 255)
    both = [(red, ("x", "z")), (blue, ("y",))]  # shared by two splits: asked once
    assert speaker.asked == [(tap, *each) for tap in (False, True) for each in both]
    assert [(chr(a.plain[0]), chr(a.attached[0]), chr(a.masks)) for a in found] == [(t, t, t) for t in "xyzx"]
    assert store.asked == ["a.jpg", "b.jpg"] * 2


class Segmenter:
    """Counts the pictures that it sees."""

    def __init__(self) -> None:
        self.seen = 0

    def embed(self, image: Image.Image) -> torch.Tensor:
        self.seen += 1
        return torch.zeros(1, 1, 1, 1)


def test_the_head_makes_every_answers_masks_and_sees_a_picture_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "PHRASES_AT_ONCE", 3)
    rooms: list[list[int]] = []

    def head(inputs: list[HeadInput], embeddings: list[torch.Tensor]) -> list[HeadOutput]:
        assert len(inputs) == len(embeddings)
        rooms.append([len(each) for each in inputs])
        logits = [torch.zeros(len(each), HEIGHT, WIDTH) for each in inputs]
        return [HeadOutput(each, each + (torch.inf if len(each) == 4 else 0)) for each in logits]

    segmenter = Segmenter()
    attached = AttachedHead(head, segmenter)  # type: ignore[arg-type]
    image = Image.new("RGB", (WIDTH, HEIGHT))
    spoken = [
        Generation((1,) * count, observe(Answer("x", (Piece("a", 0),) * count)) if count else None)
        for count in (1, 0, 2, 2, 3)
    ]
    found = list(attached.masks(image, spoken, list("abcde")))
    assert found == [(each.tokens, len(each.tokens)) for each in spoken]
    assert rooms == [[1, 2], [2], [3]] and segmenter.seen == 1
    assert list(attached.masks(image, [Generation((5,), None)], ["a"])) == [((5,), 0)] and segmenter.seen == 1
    with pytest.raises(StepError, match=r"^question 7: the mask logits"):
        four = Generation((1,) * 4, observe(Answer("x", (Piece("a", 0),) * 4)))
        list(attached.masks(image, [spoken[0], four], ["question 6", "question 7"]))
