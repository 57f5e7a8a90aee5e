"""Turns to tokens: conversations about the same pictures, packed behind them (see `recipes.corpus`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flmm.backbones.dialogue import rest_of_template
from recipes.labels import cell_shares
from recipes.language import CELLS, LOCATIONS, Turn
from recipes.lmm import Family

IGNORE = -100


@dataclass
class Packed:
    """The tokens of images of `sizes` (height, width): `segments` is 0 in the prefix and k in conversation k;
    `weights` are the losses' weights. Where a label is a cell, it stands for the next of `shares`: how much of a region
    lies in each of `CELLS`.
    """

    sizes: list[tuple[int, int]]
    ids: list[int]
    labels: list[int]
    weights: list[float]
    segments: list[int]
    positions: list[int]
    kinds: list[int]
    shares: list[NDArray[np.float32]] = field(default_factory=list)


# Kind of turn: weight of an answer's tokens and of its end. A question has one decisive token among trivial
# ones; in the last stage, describing is learnt already and only kept up.
WEIGHTS: dict[str, tuple[float, float]] = {
    "describe": (1.0, 1.0),
    "kept up": (0.2, 0.2),
    "existence": (3.0, 0.2),
    "attribute": (3.0, 0.2),
    "short": (2.0, 0.2),
    "absent": (2.0, 0.2),
    "choice": (3.0, 0.2),
    "whereabouts": (2.0, 0.2),
    "colours": (2.0, 0.0),
    "refer plain": (2.0, 0.0),
    "refer position": (2.0, 0.0),
    "refer size": (2.0, 0.0),
    "refer relation": (2.0, 0.0),
    "point": (2.0, 0.0),
    "point in a story": (2.0, 0.0),
    # Weighed against each other (`recipes.answers`): over four answers that point and two that end, 8 to 12.
    "answer and point": (2.0, 0.0),
    "answer and end": (2.0, 6.0),
    "talk": (2.0, 2.0),
    "talk and point": (2.0, 0.0),
    "matters": (2.0, 1.0),
    "second look": (3.0, 1.0),
}


class Encoder:
    """Turns to ids with the model's own processor, exactly as at evaluation."""

    def __init__(self, processor: Any, family: Family) -> None:
        self.processor, self.image_tokens, self.grid = processor, family.image_tokens, family.grid
        self.tokenizer = processor.tokenizer
        self._pieces: dict[str, list[int]] = {}
        self._asked: dict[tuple[str, bool], list[int]] = {}

    @cached_property
    def image_id(self) -> int:
        """Id of the image placeholder."""
        return int(self.processor.image_token_id)

    @cached_property
    def cells(self) -> list[int]:
        """Ids of `CELLS`."""
        return [int(i) for i in self.tokenizer.convert_tokens_to_ids(list(CELLS))]

    @cached_property
    def full_stop(self) -> int:
        """What follows each expression of a list: the last id of `encode(".")`."""
        return self.piece(".")[-1]

    def piece(self, text: str) -> list[int]:
        """Ids of a piece tokenised alone, without special tokens."""
        if text not in self._pieces:
            self._pieces[text] = list(self.tokenizer.encode(text, add_special_tokens=False))
        return self._pieces[text]

    def prompt(self, question: str, pictures: int = 1) -> list[int]:
        """Ids of the prompt with one image token for each picture (the processor repeats them)."""
        return list(self.tokenizer.encode(self._text(question, pictures)))

    def _text(self, question: str, pictures: int = 1, before: Sequence[tuple[str, str]] = ()) -> str:
        shown = [{"type": "image"}] * pictures
        messages: list[dict[str, Any]] = []
        for asked, answer in before:
            messages.append({"role": "user", "content": [*shown, {"type": "text", "text": asked}]})
            messages.append({"role": "assistant", "content": answer})
            shown = []
        messages.append({"role": "user", "content": [*shown, {"type": "text", "text": question}]})
        return str(self.processor.apply_chat_template(messages, add_generation_prompt=True))

    def prefix(self, sizes: Sequence[tuple[int, int]]) -> list[int]:
        """Ids up to the last token of the last of images of `sizes` (height, width)."""
        ids: list[int] = []
        left = list(sizes)
        for token in self.prompt("", len(sizes)):
            ids += [token] if token != self.image_id else [token] * self.image_tokens(*left.pop(0))
            if not left:
                return ids
        raise AssertionError("the chat template shows every image")

    def conversation(self, turn: Turn) -> tuple[list[int], list[int]]:
        """Ids of a turn after the image: the rest of the prompt, and the answer with its end."""
        return self._question(turn.prompt), [*self._answer(turn), int(self.tokenizer.eos_token_id)]

    def _answer(self, turn: Turn) -> list[int]:
        return [i for k in range(len(turn.pieces)) for i in self._answer_piece(turn, k)]

    def _question(self, question: str, *, first: bool = True) -> list[int]:
        """A first question, from the image on; or a later one."""
        if (question, first) not in self._asked:
            ids = self.prompt(question) if first else self.later(question)
            self._asked[question, first] = ids[ids.index(self.image_id) + 1 :] if first else ids
        return self._asked[question, first]

    def later(self, question: str) -> list[int]:
        """A later question, from the end of the answer before it on (`flmm.backbones.dialogue` feeds the same)."""
        asked, answer = "a", "b"  # what was said before does not matter
        rest = rest_of_template(
            self._text(asked), answer, self._text(question, before=[(asked, answer)]), "the tiny LMM"
        )
        words = rest.removeprefix(self.tokenizer.eos_token)
        return list(self.tokenizer.encode(words, add_special_tokens=False))

    def _answer_piece(self, turn: Turn, k: int) -> list[int]:
        if turn.dotted and k % 2:
            return [self.full_stop]
        text = turn.pieces[k]
        # A location is one token, without the space that begins a word.
        return [self.tokenizer.convert_tokens_to_ids(text)] if text in LOCATIONS else self.piece(text)

    def pack(self, turns: Sequence[Turn], sizes: Sequence[tuple[int, int]]) -> Packed:
        """The prefix of images of `sizes` (height, width) and the conversations after it."""
        prefix = self.prefix(sizes)
        n = len(prefix)
        packed = Packed(list(sizes), list(prefix), [IGNORE] * n, [0.0] * n, [0] * n, list(range(n)), [-1] * n)
        for k, last in enumerate(turns, start=1):
            began = len(packed.ids)
            for number, turn in enumerate((*last.earlier, last)):
                self._say(packed, turn, self._question(turn.prompt, first=number == 0))
            length = len(packed.ids) - began
            packed.segments += [k] * length
            packed.positions += range(n, n + length)
        return packed

    def _say(self, packed: Packed, turn: Turn, question: list[int]) -> None:
        """Append one turn of a conversation."""
        began = len(packed.ids)
        self._append(packed, question, 0.0)
        answer = len(packed.ids)
        weight, end = WEIGHTS.get(turn.kind, (3.0, 3.0))
        for place in range(len(turn.pieces)):
            learnt = not turn.learnt or turn.learnt[place]
            self._append(packed, self._answer_piece(turn, place), weight if learnt else 0.0)
        self._append(packed, [int(self.tokenizer.eos_token_id)], end)
        self._point(packed, turn, answer, weight)
        kind = list(WEIGHTS).index(turn.kind) if turn.kind in WEIGHTS else -1
        packed.kinds += [kind] * (len(packed.ids) - began)

    def _point(self, packed: Packed, turn: Turn, at: int, weight: float) -> None:
        """After each piece that means a region, its cells are what has to be told; the answer begins `at`."""
        for place, region in enumerate(turn.regions):
            at += len(self._answer_piece(turn, place))
            if region is None:
                continue
            shares = np.zeros(len(CELLS), dtype=np.float32)
            shares[: self.grid**2] = cell_shares(region, self.grid)
            packed.labels[at], packed.weights[at] = self.cells[int(shares.argmax())], weight
            packed.shares.append(shares)

    @staticmethod
    def _append(packed: Packed, ids: list[int], weight: float) -> None:
        packed.ids += ids
        packed.labels += ids if weight else [IGNORE] * len(ids)
        packed.weights += [weight] * len(ids)
