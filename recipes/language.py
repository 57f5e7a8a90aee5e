"""The grammar of the shapes suite: what may be said and asked about a scene, and the corpus made of it.

One grammar serves both the pre-training corpus and the mirror's benchmarks; only the scenes differ.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flmm.protocols import GROUNDING_PROMPT
from flmm.shapes.world.expressions import sample_expressions
from flmm.shapes.world.narratives import narrative
from flmm.shapes.world.questions import (
    absent_category,
    existence_prompt,
    multiple_choice,
    present_categories,
    short_question,
)
from flmm.shapes.world.scenes import Scene, make_scene, scene_seed

# Location tokens: tenths of the padded square's width from the left, and of its height from the top.
COLUMNS, ROWS = "0123456789", "abcdefghij"
LOCATIONS = frozenset(COLUMNS + ROWS)
# Tokens of the cells of a grid over the padded square, row by row; a coarser grid uses the first ones.
CELLS = tuple(f"<c{i}>" for i in range(16 * 16))


@dataclass(frozen=True)
class Turn:
    """One user turn after the image and its answer as pieces.

    `pieces` are tokenised one by one and their ids concatenated, as at evaluation; a piece "." stands for
    the last id of `encode(".")` when `dotted` (a list of referring expressions), one of `LOCATIONS` for its own
    token. `kind` is describe or a question's name; `learnt` tells the pieces that the model has to say (empty: all).
    `regions` are what the pieces mean, (H, W) bool or None (empty: none): after such a piece the model has to point,
    as if a cell of the region came next; then the answer goes on. `earlier` are the turns before it in its
    conversation, the first of which comes after the image.
    """

    prompt: str
    pieces: tuple[str, ...]
    kind: str
    dotted: bool = False
    learnt: tuple[bool, ...] = ()
    regions: tuple[NDArray[np.bool_] | None, ...] = ()
    earlier: tuple[Turn, ...] = ()


def describe_turn(scene: Scene, rng: random.Random) -> Turn:
    """A narrative, or referring expressions each followed by a full stop."""
    if rng.random() < 0.5:
        return Turn(GROUNDING_PROMPT, tuple(piece.text for piece in narrative(scene, rng)), "describe")
    order = list(range(len(scene.things)))
    rng.shuffle(order)
    if rng.random() < 0.4:
        order = order[:1]
    texts = [e.text for i in order for e in sample_expressions(scene, i, rng, 1)]
    if not texts:
        return Turn(GROUNDING_PROMPT, tuple(piece.text for piece in narrative(scene, rng)), "describe")
    return Turn(
        GROUNDING_PROMPT, tuple(text for name in texts for text in (name, ".")), "describe", dotted=True
    )


def existence_turn(scene: Scene, rng: random.Random, present: bool) -> Turn:
    """A POPE-style question."""
    name = rng.choice(present_categories(scene)) if present else absent_category(scene, rng)
    return Turn(existence_prompt(name), ("Yes" if present else "No",), "question")


def choice_turn(scene: Scene, rng: random.Random) -> Turn:
    """An MMBench-style question."""
    choice = multiple_choice(scene, rng)
    return Turn(choice.prompt, (choice.letter,), "question")


def short_turn(scene: Scene, rng: random.Random) -> Turn:
    """An open question with a short answer."""
    prompt, answer = short_question(scene, rng)
    return Turn(prompt, (answer,), "question")


def corpus_turns(scene: Scene, rng: random.Random) -> list[Turn]:
    """The independent conversations that the pre-training holds about one scene."""
    first = rng.random() < 0.5
    return [
        describe_turn(scene, rng),
        existence_turn(scene, rng, first),
        existence_turn(scene, rng, not first),
        existence_turn(scene, rng, rng.random() < 0.5),
        choice_turn(scene, rng),
        choice_turn(scene, rng),
        short_turn(scene, rng),
    ]


def corpus_text(scenes: int, seed: int = 0) -> Iterator[str]:
    """Prompts and answer pieces of some scenes: what the tokenizer learns its merges from."""
    for index in range(scenes):
        scene = make_scene(scene_seed("tokenizer", seed, index))
        rng = random.Random(scene_seed("tokenizer-words", seed, index))
        for turn in corpus_turns(scene, rng):
            yield turn.prompt
            yield from turn.pieces
