"""Accuracies of a tiny LMM on held-out scenes: existence, multiple choice (alone and in all rotations), pointing."""

from __future__ import annotations

import random
from typing import Any

import torch

from flmm.shapes.world.questions import multiple_choice
from flmm.shapes.world.scenes import Scene
from recipes.corpus import Batch, Corpus, collate
from recipes.families import FAMILIES
from recipes.forward import packed_hidden, picture_features
from recipes.language import CELLS, Turn, existence_turn
from recipes.lmm import Family
from recipes.packing import IGNORE
from recipes.pointing import drawn_expressions, pointing_turn


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
def point(model: Any, family: str, processor: Any, scenes: int) -> dict[str, float]:
    """The pointing game per kind of expression: how often the likeliest cell after it shows some of its thing.

    On scenes of a stream of their own, four expressions each, told alone.
    """
    kinds: list[str] = []

    def turns(scene: Scene, rng: random.Random) -> list[Turn]:
        drawn = [expression for _ in range(4) for expression in drawn_expressions(scene, rng)[:1]]
        kinds.extend(expression.kind for expression in drawn)
        return [pointing_turn(scene, [expression], rng) for expression in drawn]

    corpus = Corpus(family, processor, 0, scenes, "held-out-pointing", turns)
    items = [corpus[i] for i in range(scenes)]
    hits: list[bool] = []
    for begin in range(0, scenes, 40):
        batch = collate(items[begin : begin + 40])
        images = picture_features(model, FAMILIES[family], batch).packed
        after = packed_hidden(model, images, batch)[:, :-1][batch.labels[:, 1:] != IGNORE]
        guess = model.lm_head(after)[:, -len(CELLS) :].argmax(dim=1)
        hits += (batch.shares[range(len(guess)), guess] > 0).tolist()
    return {
        kind: _share([hit for k, hit in zip(kinds, hits, strict=True) if k == kind])
        for kind in sorted(set(kinds))
    }


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
