"""One picture, questions about it, and per phrase of an answer what the head makes of its attention."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from flmm.backbones.base import HeadInput
from flmm.conversation import Turn
from flmm.predictor import Grounder


@dataclass(frozen=True)
class Said:
    """A phrase of an answer, from character ``start`` to before ``end``; probabilities (h, w) from 0 to 1."""

    start: int
    end: int
    seen: HeadInput
    coarse: np.ndarray
    refined: np.ndarray


@dataclass(frozen=True)
class Reply:
    """A whole answer."""

    text: str
    phrases: tuple[Said, ...]


class Talk:
    """A model that talks about one picture; ``last`` is its latest whole answer."""

    def __init__(self, grounder: Grounder, picture: Image.Image) -> None:
        self.picture = picture
        self.last: Reply | None = None
        self._conversation = grounder.converse(picture)

    def ask(self, question: str, *, max_new_tokens: int) -> Iterator[str]:
        """The answer in pieces; its phrases are grounded when all of them were taken.

        Raises:
            InputError: the question does not fit the model's context.
            StepError: the masks are not finite.
        """
        yield from self._conversation.ask(question, max_new_tokens=max_new_tokens)
        turn = self._conversation.turns.pop()  # what is kept of it is the page's own, smaller record
        self.last = Reply(turn.answered.text, tuple(self._said(turn)))

    def _said(self, turn: Turn) -> Iterator[Said]:
        size = (self.picture.height, self.picture.width)
        for span, seen, output in zip(turn.answered.spans, turn.seen, turn.outputs, strict=True):
            coarse, refined = (each[0].cpu().numpy() for each in output.probabilities(size))
            yield Said(*span, seen, coarse, refined)
