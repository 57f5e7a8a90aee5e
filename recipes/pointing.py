"""Pointing: after a phrase, or a short answer, the model has to tell where all of what it means is."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from flmm.protocols import GROUNDING_PROMPT
from flmm.shapes.world.expressions import Expression
from flmm.shapes.world.narratives import Piece, narrative
from flmm.shapes.world.scenes import Scene
from recipes.answers import answer_turns
from recipes.curriculum import (
    colours_turn,
    drawn_expression,
    referring_turn,
    verdict_turns,
)
from recipes.language import Turn, describe_turn


def pointing_turns(scene: Scene, rng: random.Random) -> list[Turn]:
    """Pointing: after a phrase the model has to point at all of what it means."""
    present = rng.random() < 0.5
    return [
        replace(describe_turn(scene, rng), kind="kept up"),
        *(pointing_turn(scene, drawn_expressions(scene, rng), rng) for _ in range(4)),
        story_turn(scene, rng),
        referring_turn(scene, rng, hard=True),
        colours_turn(scene, rng),
        *verdict_turns(scene, rng, present),
    ]


def answering_turns(scene: Scene, rng: random.Random) -> list[Turn]:
    """Answering: short answers, too, have to know all of what they tell; pointing at phrases is kept up."""
    present = rng.random() < 0.5
    return [
        replace(describe_turn(scene, rng), kind="kept up"),
        *(pointing_turn(scene, drawn_expressions(scene, rng), rng) for _ in range(4)),
        story_turn(scene, rng),
        *answer_turns(scene, rng, pointing=4, ending=2),
        *verdict_turns(scene, rng, present),
    ]


def drawn_expressions(scene: Scene, rng: random.Random) -> list[Expression]:
    """One expression or several, more hard ones than data sets have."""
    count = 1 if rng.random() < 0.4 else rng.randint(2, 6)
    return [drawn_expression(scene, rng, hard=rng.random() < 0.6) for _ in range(count)]


def pointing_turn(scene: Scene, drawn: Sequence[Expression], rng: random.Random) -> Turn:
    """Referring expressions each followed by a full stop, as at evaluation; after each the model has to point."""
    texts = [f"the {e.text}" if rng.random() < 0.4 else e.text for e in drawn]
    regions = [region for e in drawn for region in (scene.things[e.thing].mask, None)]
    return Turn(
        GROUNDING_PROMPT,
        tuple(piece for text in texts for piece in (text, ".")),
        "point",
        dotted=True,
        learnt=(False,) * len(regions),
        regions=tuple(regions),
    )


def story_turn(scene: Scene, rng: random.Random) -> Turn:
    """A narrative; after each of its phrases the model has to point."""
    pieces = narrative(scene, rng)
    return Turn(
        GROUNDING_PROMPT,
        tuple(piece.text for piece in pieces),
        "point in a story",
        learnt=(False,) * len(pieces),
        regions=tuple(_shown(scene, piece) if piece.is_phrase else None for piece in pieces),
    )


def _shown(scene: Scene, piece: Piece) -> NDArray[np.bool_]:
    """The pixels (H, W) of everything that a phrase names."""
    masks = [scene.things[i].mask for i in piece.things] + [scene.stuff[i].mask for i in piece.stuff]
    shown: NDArray[np.bool_] = np.logical_or.reduce(masks)
    return shown
