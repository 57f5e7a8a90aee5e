"""What the page keeps of an answer: its words, and per phrase the mask, both probabilities and the attention."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from flmm.app.maps import Heads, blend_map, data_uri, heads_of
from flmm.app.talk import Reply

# Apart in hue and in brightness, readable under dark text when faint.
COLOURS = (
    (230, 85, 30),
    (40, 120, 230),
    (30, 160, 90),
    (190, 60, 190),
    (225, 165, 0),
    (0, 165, 180),
    (215, 45, 95),
    (115, 90, 220),
)


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
    text: str
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


def shown(question: str, reply: Reply) -> Shown:
    """What the page keeps of an answer."""
    phrases = []
    for number, said in enumerate(reply.phrases):
        mask = said.refined > 0.5
        phrases.append(
            Phrase(
                said.start,
                said.end,
                reply.text[said.start : said.end],
                float(said.refined[mask].mean()) if mask.any() else 0.0,
                mask,
                data_uri(blend_map(said.coarse, said.refined)),
                heads_of(said.seen.attention, said.seen.grids, mask, layers=len(said.seen.hidden[0])),
                COLOURS[number % len(COLOURS)],
            )
        )
    return Shown(question, reply.text, tuple(phrases))
