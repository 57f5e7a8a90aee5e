"""Answers as tokens: which of them belong to which phrase, and how several answers share one prompt.

Legend: P phrases, R phrase tokens of all answers together, T tokens of all answers together, S keys that they may see.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import torch

from flmm.backbones.words import as_words, special_marks
from flmm.errors import InputError
from flmm.protocols import SEPARATOR, Answer

SHARED = -1  # who says what all see


@dataclass(frozen=True)
class Spoken:
    """An answer's token ids, and per phrase its text, its target and its tokens ``[start, end)``.

    ``pieces``: per token the piece that it belongs to.
    """

    answer_id: str
    tokens: tuple[int, ...]
    texts: tuple[str, ...]
    targets: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    pieces: tuple[int, ...]


@dataclass(frozen=True)
class Packed:
    """Several answers after one prompt in one forward: each sees the prompt and itself alone.

    ``tokens`` and ``positions`` (1, T), ``places`` (S,) the positions of all keys, the prompt's first, ``mask``
    (1, 1, T, S) bool, ``queries`` (R,) and ``merge`` (P, R) as in ``tap.Rows``.
    """

    tokens: torch.Tensor
    positions: torch.Tensor
    places: torch.Tensor
    mask: torch.Tensor
    queries: torch.Tensor
    merge: torch.Tensor


def speak(answer: Answer, tokenizer: Any, marks: Sequence[str] | None = None) -> Spoken:
    """Tokenise an answer piece by piece, each alone and without special tokens (docs/families.md).

    So a phrase's tokens are exactly its own pieces, a LLaMA tokenizer's leading word mark included. ``marks`` of the
    model (None: the tokenizer's) are read as words.

    Raises:
        InputError: a phrase, or the whole answer, gives no token: there is no row to read (names the answer).
    """
    known = special_marks(tokenizer) if marks is None else marks
    tokens: list[int] = []
    pieces: list[int] = []
    texts, targets, spans = [], [], []
    for number, piece in enumerate(answer.pieces):
        words = as_words(piece.text, known, answer.answer_id)
        ids: list[int] = tokenizer.encode(words, add_special_tokens=False)
        # By identity: a narrative may say "." itself, and speaks it as it is.
        ids = ids[-1:] if piece is SEPARATOR else ids
        if piece.target >= 0:
            if not ids:
                raise InputError(
                    f"{answer.answer_id}: the phrase {piece.text!r} has no token; drop it when preparing"
                )
            texts.append(piece.text)
            targets.append(piece.target)
            spans.append((len(tokens), len(tokens) + len(ids)))
        tokens += ids
        pieces += [number] * len(ids)
    if not tokens:
        raise InputError(f"{answer.answer_id}: an answer without any text; drop it when preparing")
    return Spoken(answer.answer_id, tuple(tokens), tuple(texts), tuple(targets), tuple(spans), tuple(pieces))


def spell(spoken: Spoken, tokenizer: Any) -> tuple[str, tuple[int, ...]]:
    """The text of an answer's tokens, and where in it each of them ends.

    Pieces are decoded alone, as they were tokenised, with a space between two: tokenizers do not agree on theirs.
    """
    text, ends = "", list[int]()
    for _, group in groupby(zip(spoken.pieces, spoken.tokens, strict=True), key=itemgetter(0)):
        tokens = [token for _, token in group]
        start = len(text) + bool(text)
        piece: str = tokenizer.decode(tokens, skip_special_tokens=True).strip()
        text = f"{text} {piece}" if text else piece
        for count in range(1, len(tokens) + 1):
            begun: str = tokenizer.decode(tokens[:count], skip_special_tokens=True).lstrip()
            ends.append(start + min(len(begun), len(piece)))
    return text, tuple(ends)


def pack(spoken: Sequence[Spoken], prompt: int, device: torch.device) -> Packed:
    """Put answers one after another, following ``prompt`` tokens; positions restart for each."""
    tokens = torch.tensor([token for one in spoken for token in one.tokens])
    lengths = torch.tensor([len(one.tokens) for one in spoken])
    owner = torch.arange(len(spoken)).repeat_interleave(lengths)  # (T,) the answer of each token
    starts = lengths.cumsum(0) - lengths
    order = torch.arange(len(tokens))
    positions = prompt + order - starts[owner]
    places = torch.cat([torch.arange(prompt), positions])
    mask = apart(torch.cat([torch.full((prompt,), SHARED), owner]), places, len(tokens))
    spans = [
        (int(start) + first, int(start) + last)
        for one, start in zip(spoken, starts, strict=True)
        for first, last in one.spans
    ]
    sizes = torch.tensor([last - first for first, last in spans], dtype=torch.long)
    queries = torch.cat([torch.arange(first, last) for first, last in spans] or [order[:0]])
    phrase = torch.arange(len(spans)).repeat_interleave(sizes)  # (R,) the phrase of each row
    merge = (phrase[None, :] == torch.arange(len(spans))[:, None]) / sizes[:, None]  # (P, R), rows sum to 1
    return Packed(
        tokens[None].to(device),
        positions[None].to(device),
        places.to(device),
        mask[None, None].to(device),
        queries,
        merge.float(),
    )


def apart(owners: torch.Tensor, places: torch.Tensor, last: int) -> torch.Tensor:
    """What the ``last`` T of S tokens see, (T, S) bool: what is shared, and what is earlier of their own.

    ``owners`` (S,): which of several texts side by side says a token, or ``SHARED``. ``places`` (S,): its position.
    """
    owner, place = owners[-last:, None], places[-last:, None]
    return ((owners == SHARED) | (owners == owner)) & (places <= place)
