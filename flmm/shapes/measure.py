"""Accuracies of a tiny LMM on held-out scenes: existence, multiple choice (alone and in all rotations), locations."""

from __future__ import annotations

import random
from typing import Any

import torch

from flmm.shapes.corpus import IGNORE, WEIGHTS, Batch, Corpus, collate
from flmm.shapes.curriculum import locating_turn
from flmm.shapes.families import FAMILIES
from flmm.shapes.forward import packed_hidden, picture_features
from flmm.shapes.language import COLUMNS, ROWS, Turn, existence_turn
from flmm.shapes.lmm import Family
from flmm.shapes.questions import multiple_choice
from flmm.shapes.scenes import Scene


def examination(scene: Scene, rng: random.Random) -> list[Turn]:
    """One existence question of each answer, then every rotation of one multiple-choice question."""
    turns = [existence_turn(scene, rng, True), existence_turn(scene, rng, False)]
    choice = multiple_choice(scene, rng)
    for by in range(len(choice.options)):
        rotated = choice.rotated(by)
        turns.append(Turn(rotated.prompt, (rotated.options[rotated.answer],), choice.category))
    return turns


class HeldOut:
    """A fixed set of examined scenes of a stream of their own."""

    def __init__(self, family: str, processor: Any, scenes: int) -> None:
        self.kinds: list[list[str]] = []

        def turns(scene: Scene, rng: random.Random) -> list[Turn]:
            made = examination(scene, rng)
            self.kinds.append([turn.kind for turn in made])
            return made

        corpus = Corpus(family, processor, 0, scenes, "held-out", turns)
        items = [corpus[i] for i in range(scenes)]
        self.batches = [collate(items[i : i + 40]) for i in range(0, scenes, 40)]


@torch.no_grad()
def measure(model: Any, family: Family, held: HeldOut) -> dict[str, Any]:
    """Shares of right answers by the most likely next token."""
    model.eval()
    rows: list[list[bool]] = []
    for batch in held.batches:
        images = picture_features(model, family, batch).packed
        rows += _right(model, packed_hidden(model, images, batch), batch)
    model.train()
    yes, no = [r[0] for r in rows], [r[1] for r in rows]
    plain = [ok for r in rows for ok in r[2:]]
    categories: dict[str, list[bool]] = {}
    for kinds, right in zip(held.kinds, rows, strict=True):
        categories.setdefault(kinds[2], []).append(all(right[2:]))
    return {
        "existence": _share(yes + no),
        "yes": _share(yes),
        "no": _share(no),
        "choice": _share(plain),
        "circular": _share([all(r[2:]) for r in rows]),
        "categories": {name: _share(oks) for name, oks in sorted(categories.items())},
    }


@torch.no_grad()
def locate(model: Any, family: str, processor: Any, scenes: int) -> dict[str, float]:
    """Per kind of expression, the share of things whose column and row are each told to within one tenth.

    On scenes of a stream of their own, four expressions each; told by the likelier of the axis's ten tokens.
    """
    corpus = Corpus(family, processor, 0, scenes, "held-out-locations", _expressions)
    items = [corpus[i] for i in range(scenes)]
    axes = [torch.tensor(processor.tokenizer.convert_tokens_to_ids(list(axis))) for axis in (COLUMNS, ROWS)]
    found: dict[str, list[bool]] = {}
    for begin in range(0, scenes, 40):
        batch = collate(items[begin : begin + 40])
        images = picture_features(model, FAMILIES[family], batch).packed
        logits = model.lm_head(packed_hidden(model, images, batch))
        for i in range(len(batch.ids)):
            for k in range(1, int(batch.segments[i].max()) + 1):
                at = ((batch.labels[i] != IGNORE) & (batch.segments[i] == k)).nonzero()[:, 0]
                near = [_off(logits[i, a - 1, axis], axis == batch.ids[i, a]) for a in at for axis in axes]
                kind = list(WEIGHTS)[int(batch.kinds[i, at[0]])].removeprefix("refer ")
                found.setdefault(kind, []).append(max(off for off in near if off is not None) <= 1)
    return {kind: _share(oks) for kind, oks in sorted(found.items())}


def _expressions(scene: Scene, rng: random.Random) -> list[Turn]:
    return [locating_turn(scene, rng, hard=k > 0) for k in range(4)]


def _off(logits: torch.Tensor, truth: torch.Tensor) -> int | None:
    """How many tenths the likeliest token of an axis is from the true one; None: it is no token of this axis."""
    return abs(int(logits.argmax()) - int(truth.nonzero()[0, 0])) if truth.any() else None


def _right(model: Any, hidden: torch.Tensor, batch: Batch) -> list[list[bool]]:
    """Per image and conversation, whether every token of the answer and its end is the most likely one."""
    found = []
    for i in range(len(batch.ids)):
        at = (batch.labels[i] != IGNORE).nonzero()[:, 0]
        guess = model.lm_head(hidden[i, at - 1]).argmax(-1) == batch.labels[i, at]
        found.append([bool(guess[batch.segments[i, at] == k].all()) for k in batch.segments[i, at].unique()])
    return found


def _share(oks: list[bool]) -> float:
    return round(sum(oks) / max(1, len(oks)), 4)
