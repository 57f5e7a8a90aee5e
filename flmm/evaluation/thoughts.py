"""The visual chain of thought: ground what matters to a question, look at it again, then answer.

As the F-LMM paper does it: the frozen LMM names an object, or is told which words matter; the head grounds them; the
part of the picture around the mask is the second picture of the prompt. The words of the question stay the same in all
ways, so that what differs between their answers is what was seen.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from flmm.backbones.base import Backbone
from flmm.benchmarks import Benchmark
from flmm.benchmarks.base import Short, Way
from flmm.errors import SecondPictureError
from flmm.evaluation.asking import look_for, which_object
from flmm.evaluation.crops import Box, box_around, enlarged, grown
from flmm.evaluation.engine import head_masks
from flmm.evaluation.tables import THOUGHT_SCHEMA
from flmm.heads import names
from flmm.heads.model import MaskHead
from flmm.heads.segmenter import Segmenter
from flmm.progress import tracked
from flmm.protocols import GROUNDING_PROMPT, SEPARATOR, Answer, Piece

Item = TypeVar("Item")


@dataclass(frozen=True)
class Case:
    """A question of a benchmark with its picture's place and the expected answer, whatever table it is from."""

    question_id: str
    dataset: str
    split: str
    archive: str
    image: str
    text: str
    label: str


@dataclass(frozen=True)
class Look:
    """What a way grounded: the ``phrase``, masks (h, w) bool by head, and the refined one's ``box``."""

    phrase: str
    masks: Mapping[str, np.ndarray]
    box: Box | None


@dataclass(frozen=True)
class Thought:
    """The answer of one way to one question. ``looked``: None where the way looks once.

    ``pictures``: how many the LMM saw with the question. ``problem``: why it saw no second one.
    """

    looked: Look | None
    crop: Box | None
    answer: str
    pictures: int
    problem: str


def drawn(items: Sequence[Item], count: int | None, seed: int) -> list[Item]:
    """``count`` of the items (None: all) in their order; the places depend on seed and number alone."""
    if count is None or count >= len(items):
        return list(items)
    places = sorted(Random(f"{seed}/thoughts").sample(range(len(items)), count))
    return [items[place] for place in places]


class Thinker:
    """A frozen LMM, its trained head and the segmenter, answering in the ways of one benchmark."""

    def __init__(
        self, backbone: Backbone, head: MaskHead, segmenter: Segmenter, benchmark: Benchmark,
        *, margin: float, max_new_tokens: int,
    ) -> None:  # fmt: skip
        """``margin``: by which a box grows before it is cropped, as a share of its sides."""
        self._backbone, self._head, self._segmenter = backbone, head, segmenter
        self._benchmark, self._margin, self._longest = benchmark, margin, max_new_tokens

    def answers(self, case: Case, image: Image.Image) -> dict[str, Thought]:
        """Every way's answer to a question about an RGB picture, by the way's name.

        Raises:
            InputError: the picture or the question cannot be read, or is too long.
            StepError: the mask logits are not finite.
        """
        with torch.inference_mode():
            embedding = self._segmenter.embed(image)
        asked = self._benchmark.prompt(Short(case.text))
        return {way.name: self._answer(way, case, image, asked, embedding) for way in self._benchmark.ways}

    def _answer(
        self, way: Way, case: Case, image: Image.Image, asked: str, embedding: torch.Tensor
    ) -> Thought:
        if way.grounds == "nothing":
            return Thought(None, None, self._say(image, asked), 1, "")
        looked = self._look(way, case, image, embedding)
        whole = (0, 0, image.width, image.height)
        crop = grown(looked.box, self._margin, image.width, image.height) if looked.box else whole
        try:
            pictures = [image, enlarged(image, crop)]
            tokens = self._backbone.look(pictures, asked, max_new_tokens=self._longest)
        except SecondPictureError as error:
            answer = self._talked(image, looked.phrase, asked) if self._benchmark.words == "asked" else ""
            return Thought(looked, crop, answer, 1, str(error))
        return Thought(looked, crop, self._backbone.decode(tokens), 2, "")

    def _look(self, way: Way, case: Case, image: Image.Image, embedding: torch.Tensor) -> Look:
        """The masks of what matters; an LMM that names nothing has empty ones."""
        phrase = (
            way.phrase(case.text) if way.grounds == "phrase" else self._say(image, which_object(case.text))
        )
        size = (image.height, image.width)
        if not phrase.strip():
            nothing = np.zeros(size, dtype=bool)
            return Look(phrase, dict.fromkeys((names.COARSE, names.REFINED), nothing), None)
        spoken = [Answer(case.question_id, (Piece(phrase, 0), SEPARATOR))]
        (seen,) = self._backbone.observe(image, spoken, GROUNDING_PROMPT)
        where = f"question {case.question_id} ({way.name})"
        (made,) = head_masks(names.TRAINED, self._head, [seen.head_input(size)], [embedding], [where])
        masks = {name: found[0] for name, found in made.items()}
        return Look(phrase, masks, box_around(masks[names.REFINED]))

    def _say(self, image: Image.Image, text: str) -> str:
        spoken = self._backbone.generate(image, text, max_new_tokens=self._longest, tap=False)
        return self._backbone.decode(spoken.tokens)

    def _talked(self, image: Image.Image, phrase: str, asked: str) -> str:
        """The answer of an LMM that reads one picture: it is told to look, says what it sees, and is asked then."""
        dialogue = self._backbone.converse(image)
        list(dialogue.say(look_for(phrase), max_new_tokens=self._longest))
        dialogue.keep()
        return self._backbone.decode(list(dialogue.say(asked, max_new_tokens=self._longest)))


def think(
    thinker: Thinker,
    cases: Sequence[Case],
    picture: Callable[[int], Image.Image],
    kept: Callable[[int, str, Thought], None],
    description: str,
) -> list[dict[str, Any]]:
    """Rows of the table of thoughts, way after way of each case.

    ``picture``: of the case with that number. ``kept`` is given the case's number, the way's name and its thought.
    """
    rows = []
    for number, case in enumerate(tracked(cases, description)):
        for way, thought in thinker.answers(case, picture(number)).items():
            kept(number, way, thought)
            rows.append(_row(case, way, thought))
    return rows


def _row(case: Case, way: str, thought: Thought) -> dict[str, Any]:
    looked = thought.looked
    return {
        "question_id": case.question_id,
        "dataset": case.dataset,
        "split": case.split,
        "protocol": way,
        "archive": case.archive,
        "image": case.image,
        "text": case.text,
        "label": case.label,
        "phrase": looked.phrase if looked else "",
        "box": list(looked.box) if looked and looked.box else [],
        "crop": list(thought.crop or ()),
        "pictures": thought.pictures,
        "answer": thought.answer,
        "problem": thought.problem,
        "grade": None,
    }


def thoughts_table(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows of ``think`` as a table with ``THOUGHT_SCHEMA``."""
    return pa.Table.from_pylist(rows, schema=THOUGHT_SCHEMA)


def facts(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How many answers each way gave, from how many pictures, and, where it had no second one, why."""
    found: dict[str, Any] = {}
    for way in dict.fromkeys(row["protocol"] for row in rows):
        mine = [row for row in rows if row["protocol"] == way]
        problems = [row["problem"] for row in mine if row["problem"]]
        found[way] = {
            "answers": len(mine),
            "with_two_pictures": sum(row["pictures"] == 2 for row in mine),
            "without_the_second": len(problems),
            "why": problems[0] if problems else None,
        }
    return found
