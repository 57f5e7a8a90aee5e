"""Answers of the frozen LMM without and with the head attached: the paper claims that nothing changes.

Every question is answered twice: plain, and with the attention of the answer's tokens read and the trained
head (U-Net and refiner) making masks of them. Token ids are compared one for one. The questions about a picture
are asked together, in both passes in the same way.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from flmm.backbones.base import Backbone, Generation
from flmm.data.images import ImageStore, decode_image
from flmm.data.question import Question
from flmm.evaluation.engine import to_masks
from flmm.evaluation.tables import dataset_and_split
from flmm.heads.batches import together
from flmm.heads.model import GroundingHead, HeadOutput
from flmm.heads.segmenter import Segmenter
from flmm.progress import tracked


@dataclass(frozen=True)
class Answered:
    """One question's two answers, as new token ids, and how many masks the attached head made."""

    plain: tuple[int, ...]
    attached: tuple[int, ...]
    masks: int


class Pictures:
    """The questions' pictures, from their archive or their own bytes."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store
        self._last: tuple[tuple[Any, ...], Image.Image] | None = None

    def of(self, question: Question) -> Image.Image:
        """The RGB picture, the same object for questions about one picture that follow each other.

        Raises:
            InputError: absent or unreadable (names the file or the question).
        """
        key = _picture(question)
        if self._last is None or self._last[0] != key:
            self._last = (key, self._read(question))
        return self._last[1]

    def _read(self, question: Question) -> Image.Image:
        if question.image_bytes:
            return decode_image(question.image_bytes, f"question {question.question_id}")
        return self._store.open(question.archive, question.image)


class AttachedHead:
    """A trained head at work on what the LMM says: SAM sees the picture, each token read gets a mask."""

    def __init__(self, head: GroundingHead, segmenter: Segmenter) -> None:
        self._head, self._segmenter = head, segmenter

    def masks(
        self, image: Image.Image, spoken: Iterable[Generation], where: Sequence[str]
    ) -> Iterator[tuple[tuple[int, ...], int]]:
        """Make the refined masks of answers about one picture; yields each answer's tokens and how many it has.

        Raises:
            StepError: they are not finite (``where`` names the questions).
        """
        size = (image.height, image.width)
        embedding: torch.Tensor | None = None  # (1, C, E, E)
        for some in together(zip(spoken, where, strict=True), lambda each: _phrases(each[0])):
            inputs = [each.observation.head_input(size) for each, _ in some if each.observation]
            outputs: Iterator[HeadOutput] = iter(())
            if inputs:
                with torch.inference_mode():  # not around the LMM, which speaks as it does without the head
                    embedding = self._segmenter.embed(image) if embedding is None else embedding
                    outputs = iter(self._head(inputs, [embedding] * len(inputs)))
            for each, name in some:
                made = len(to_masks(next(outputs).refined, size, name)) if each.observation else 0
                yield each.tokens, made


def answer_twice(
    backbone: Backbone,
    attached: AttachedHead,
    questions: Sequence[Question],
    prompt: Callable[[Question], str],
    pictures: Pictures,
    *,
    max_new_tokens: int,
    description: str,
) -> list[Answered]:
    """Both answers of every question, in order.

    The plain pass is finished before anything is attached, so that a trace which the tap leaves behind cannot
    reach it. Greedy answers are deterministic: a question that several splits share is asked once.
    """
    by_picture = grouped(questions, prompt)
    plain: dict[tuple[Any, ...], list[tuple[int, ...]]] = {}
    found: dict[tuple[Any, ...], Answered] = {}
    for key, asked in tracked(by_picture.items(), f"{description}: plain"):
        image = pictures.of(next(iter(asked.values())))
        answers = backbone.answer(image, list(asked), max_new_tokens=max_new_tokens, tap=False)
        plain[key] = [each.tokens for each in answers]
    for key, asked in tracked(by_picture.items(), f"{description}: head attached"):
        image = pictures.of(next(iter(asked.values())))
        spoken = backbone.answer(image, list(asked), max_new_tokens=max_new_tokens, tap=True)
        masks = attached.masks(image, spoken, [f"question {each.question_id}" for each in asked.values()])
        for text, before, (after, count) in zip(asked, plain[key], masks, strict=True):
            found[*key, text] = Answered(before, after, count)
    return [found[*_picture(each), prompt(each)] for each in questions]


def grouped(
    questions: Sequence[Question], prompt: Callable[[Question], str]
) -> Mapping[tuple[Any, ...], Mapping[str, Question]]:
    """The questions by picture and prompt, in their order."""
    found: dict[tuple[Any, ...], dict[str, Question]] = {}
    for question in questions:
        found.setdefault(_picture(question), {}).setdefault(prompt(question), question)
    return found


def _phrases(spoken: Generation) -> int:
    return len(spoken.observation.texts) if spoken.observation else 0


def _picture(question: Question) -> tuple[Any, ...]:
    return (question.archive, question.image, question.image_bytes)


def answer_rows(
    backbone: Backbone, part: str, questions: Sequence[Question], answers: Sequence[Answered]
) -> list[dict[str, Any]]:
    """Rows of the answers table; ``part`` is ``<dataset>-<split>``."""
    dataset, split = dataset_and_split(part)
    return [
        {
            "question_id": question.question_id,
            "group": question.group,
            "category": question.category,
            "dataset": dataset,
            "split": split,
            "text": question.text,
            "options": list(question.options),
            "label": question.answer,
            "answer_plain": backbone.decode(answered.plain),
            "answer_attached": backbone.decode(answered.attached),
            "tokens_plain": list(answered.plain),
            "tokens_attached": list(answered.attached),
            "masks": answered.masks,
        }
        for question, answered in zip(questions, answers, strict=True)
    ]


def facts(rows: Sequence[dict[str, Any]], hash_before: str, hash_after: str) -> dict[str, Any]:
    """What was checked: answers token for token, and the weights. A difference is a fact, not an error."""
    equal = sum(row["tokens_plain"] == row["tokens_attached"] for row in rows)
    return {
        "answers": len(rows),
        "answers_equal": equal,
        "masks": sum(row["masks"] for row in rows),
        "weights_hash_before": hash_before,
        "weights_hash_after": hash_after,
        "equal": equal == len(rows) and hash_before == hash_after,
    }
