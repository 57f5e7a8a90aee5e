"""One picture, questions about it, and per phrase of an answer what the head makes of its attention.

Every question is answered by itself: the model does not see the earlier turns.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from flmm.backbones.base import HeadInput
from flmm.errors import StepError
from flmm.phrases import tokens_of
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
        self.grounder, self.picture = grounder, picture
        self.last: Reply | None = None

    def ask(self, question: str, *, max_new_tokens: int) -> Iterator[str]:
        """The answer in pieces; its phrases are grounded when all of them were taken.

        Raises:
            InputError: the question does not fit the model's context.
            StepError: the masks are not finite.
        """
        backbone, size = self.grounder.backbone, (self.picture.height, self.picture.width)
        said = backbone.generate(self.picture, question, max_new_tokens=max_new_tokens, tap=True)
        text = backbone.decode(said.tokens)
        yield text
        ends = [len(backbone.decode(said.tokens[: count + 1])) for count in range(len(said.tokens))]
        read = len(said.observation.texts) if said.observation else 0
        spans, inputs = [], []
        for start, end in self.grounder.phrases(text, ends, said.observation):
            tokens = tokens_of((start, end), ends)
            if said.observation is not None and tokens and tokens[-1] < read:
                spans.append((start, end))
                inputs.append(said.observation.joined(tokens).head_input(size))
        outputs = self.grounder.masks(self.picture, inputs)
        self.last = Reply(
            text, tuple(map(_said, spans, inputs, (each.probabilities(size) for each in outputs)))
        )


def _said(span: tuple[int, int], seen: HeadInput, probabilities: tuple) -> Said:
    coarse, refined = (each[0].cpu().numpy() for each in probabilities)
    if not np.isfinite(refined).all():
        raise StepError("the masks are not finite; a head or model in float16 may overflow")
    return Said(*span, seen, coarse, refined)
