"""What the page keeps of an answer: its words, and per phrase the mask, both probabilities and the attention."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from flmm.app.maps import Heads, blend_map, data_uri, heads_of
from flmm.colours import colour
from flmm.conversation import Turn
from flmm.predictor import Answered


@dataclass(frozen=True)
class Phrase:
    """A phrase of an answer, from character ``start`` to before ``end``.

    ``score``: the mean probability inside the mask, 0 of an empty one. ``mask`` (h, w) bool, refined. ``map``: coarse
    and refined probability as a small picture (``blend_map``).
    """

    start: int
    end: int
    text: str
    score: float
    mask: np.ndarray
    map: str
    heads: Heads
    colour: tuple[int, int, int]


@dataclass(frozen=True)
class Shown:
    """One question and its answer, as the page needs them."""

    question: str
    answered: Answered
    phrases: tuple[Phrase, ...]

    def stage(self) -> list[dict[str, Any]]:
        """The phrases as the browser draws them."""
        return [
            {
                "text": phrase.text,
                "rgb": list(phrase.colour),
                "score": f"{phrase.score:.2f}",
                "area": f"{phrase.mask.mean():.0%}",
                "map": phrase.map,
            }
            for phrase in self.phrases
        ]


def stage(picture: Image.Image | None, turns: list[Shown]) -> dict[str, Any]:
    """The value of the page's stage (``static/stage.js``)."""
    return {"picture": data_uri(picture) if picture else "", "turns": [turn.stage() for turn in turns]}


def shown(turn: Turn) -> Shown:
    """What the page keeps of a turn."""
    answered, phrases = turn.answered, []
    for number, (start, end) in enumerate(answered.spans):
        seen, mask = turn.seen[number], answered.grounded.masks[number]
        coarse, refined = (each[0].cpu().numpy() for each in turn.outputs[number].probabilities(mask.shape))
        phrases.append(
            Phrase(
                start,
                end,
                answered.text[start:end],
                float(answered.grounded.scores[number]),
                mask,
                data_uri(blend_map(coarse, refined)),
                heads_of(seen.attention, seen.grids, mask, layers=len(seen.hidden[0])),
                colour(number),
            )
        )
    return Shown(turn.question, answered, tuple(phrases))
