"""Answers of the frozen LMM without and with the head attached: the paper claims that nothing changes.

Every question is answered twice: plain, and with the attention of the answer's tokens read and the trained
head (U-Net and refiner) making masks of them. Token ids are compared one for one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image

from flmm.backbones.base import Backbone, Generation, Observation
from flmm.data.images import ImageStore, decode_image
from flmm.data.question import Question
from flmm.evaluation.engine import to_masks
from flmm.evaluation.tables import dataset_and_split
from flmm.heads.model import GroundingHead
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
        key = (question.archive, question.image, question.image_bytes)
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
        self._seen: tuple[Image.Image, torch.Tensor] | None = None

    @torch.inference_mode()
    def masks(self, image: Image.Image, observation: Observation | None, where: str) -> int:
        """Make the refined masks of an answer's tokens; returns how many.

        Raises:
            StepError: they are not finite (``where`` names the question).
        """
        if observation is None or not observation.texts:
            return 0
        said = observation.head_input((image.height, image.width))
        output = self._head([said], [self._embedding(image)])[0]
        return len(to_masks(output.refined, said.image_size, where))

    def _embedding(self, image: Image.Image) -> torch.Tensor:
        """(1, C, E, E); the last one is kept, because the questions about a picture follow each other."""
        if self._seen is None or self._seen[0] is not image:
            self._seen = (image, self._segmenter.embed(image))
        return self._seen[1]


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
    keys = [(q.archive, q.image, q.image_bytes, prompt(q)) for q in questions]
    distinct = dict(zip(keys, questions, strict=True))
    plain: dict[tuple[Any, ...], Generation] = {}
    found: dict[tuple[Any, ...], Answered] = {}
    for key, question in tracked(distinct.items(), f"{description}: plain"):
        plain[key] = backbone.generate(
            pictures.of(question), prompt(question), max_new_tokens=max_new_tokens, tap=False
        )
    for key, question in tracked(distinct.items(), f"{description}: head attached"):
        image = pictures.of(question)
        spoken = backbone.generate(image, prompt(question), max_new_tokens=max_new_tokens, tap=True)
        masks = attached.masks(image, spoken.observation, f"question {question.question_id}")
        found[key] = Answered(tuple(plain[key].tokens), tuple(spoken.tokens), masks)
    return [found[key] for key in keys]


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
