"""Talking: questions as people ask them in a conversation, each with all that was said before in view.

A question without "a single word or phrase" is answered by a sentence, whose phrases the model can point at. A later
question may lean on the one before: "And the circle?", "Where is it?".
"""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from flmm.protocols import GROUNDING_PROMPT
from flmm.shapes.world.drawing import SHAPES
from flmm.shapes.world.expressions import article
from flmm.shapes.world.questions import (
    absent_category,
    colour_question,
    existence_question,
    shape_question,
    texture_question,
)
from flmm.shapes.world.scenes import Scene, Thing
from recipes.answers import answer_turns
from recipes.curriculum import attribute_turn, choice_turn, finding_turn, pair_turn, place, verdict_turns
from recipes.language import Turn, describe_turn
from recipes.looks import matter_turns
from recipes.pointing import drawn_expressions, pointing_turn, story_turn

KIND = "talk"
DESCRIBE = (
    GROUNDING_PROMPT,
    GROUNDING_PROMPT,
    "Describe the image.",
    "What do you see?",
    "What is in the image?",
)
WHERE_IS_IT, WHAT_COLOUR = "Where is it?", "What color is it?"
LEANING = (WHERE_IS_IT, WHAT_COLOUR, *(f"And the {shape}?" for shape in SHAPES))

# What was asked and answered, and the thing that "it" means from now on.
_Said = tuple[Turn, Thing | None]


def talking_turns(scene: Scene, rng: random.Random) -> list[Turn]:
    """Talking: conversations and what matters to a question; pointing, short answers and verdicts are kept up."""
    present = rng.random() < 0.5
    return [
        replace(describe_turn(scene, rng), kind="kept up"),
        *(pointing_turn(scene, drawn_expressions(scene, rng), rng) for _ in range(3)),
        story_turn(scene, rng),
        *answer_turns(scene, rng, pointing=3, ending=2),
        *matter_turns(scene, rng),
        *(conversation(scene, rng) for _ in range(4)),
        *verdict_turns(scene, rng, present),
    ]


def conversation(scene: Scene, rng: random.Random) -> Turn:
    """Two to four turns; the returned one is the last. In some answers the model has to point, others it has to say."""
    said: list[Turn] = []
    about: Thing | None = None
    for _ in range(rng.randint(2, 4)):
        turn, about = _next(scene, rng, said, about)
        said.append(_pointing(turn) if rng.random() < 0.4 else replace(turn, regions=()))
    return replace(said[-1], earlier=tuple(said[:-1]))


def _pointing(turn: Turn) -> Turn:
    """The same answer, given: after its phrases the model has to point. One without phrases stays as it is."""
    if all(region is None for region in turn.regions):
        return replace(turn, regions=())
    return replace(turn, kind="talk and point", learnt=(False,) * len(turn.pieces))


def _next(scene: Scene, rng: random.Random, said: list[Turn], about: Thing | None) -> _Said:
    draw = rng.random()
    if about is not None and draw < 0.35:
        return _leaning(scene, rng, said[-1], about)
    if draw < 0.75:
        return _sentence(scene, rng)
    if draw < 0.85:
        story = story_turn(scene, rng)
        return replace(story, prompt=rng.choice(DESCRIBE), kind=KIND, learnt=()), None
    short = rng.choice((_pair, attribute_turn, finding_turn, choice_turn))
    return short(scene, rng), None


def _pair(scene: Scene, rng: random.Random) -> Turn:
    return pair_turn(scene, rng, rng.random() < 0.5)


def _sentence(scene: Scene, rng: random.Random) -> _Said:
    """A question of its own, answered by a sentence."""
    kinds = [_colour, _shape, _where, _existence, _texture]
    while True:
        found = rng.choice(kinds)(scene, rng)
        if found is not None:
            return found


def _leaning(scene: Scene, rng: random.Random, before: Turn, about: Thing) -> _Said:
    """A question that only what was said before explains."""
    others = [t for t in _lonely(scene, "shape") if t is not about]
    if before.prompt == colour_question(about.shape) and others and rng.random() < 0.6:
        thing = rng.choice(others)
        return _told(f"And the {thing.shape}?", thing, f"the {thing.shape}", "is", thing.colour), thing
    if "color" in before.prompt or rng.random() < 0.5:
        return _placed(scene, WHERE_IS_IT, about), about
    return _told(WHAT_COLOUR, about, f"the {about.shape}", "is", about.colour), about


def _colour(scene: Scene, rng: random.Random) -> _Said | None:
    things = _lonely(scene, "shape")
    if not things:
        return None
    thing = rng.choice(things)
    return _told(colour_question(thing.shape), thing, f"the {thing.shape}", "is", thing.colour), thing


def _shape(scene: Scene, rng: random.Random) -> _Said | None:
    things = _lonely(scene, "colour")
    if not things:
        return None
    thing = rng.choice(things)
    return _told(shape_question(thing.colour), thing, f"the {thing.shape}", "is", thing.colour), thing


def _where(scene: Scene, rng: random.Random) -> _Said | None:
    things = [t for t in scene.things if sum(o.name == t.name for o in scene.things) == 1]
    if not things:
        return None
    thing = rng.choice(things)
    return _placed(scene, f"Where is the {thing.name}?", thing), thing


def _existence(scene: Scene, rng: random.Random) -> _Said | None:
    if rng.random() < 0.5:
        return Turn(existence_question(absent_category(scene, rng)), ("No",), KIND, regions=(None,)), None
    things = [t for t in scene.things if sum(o.name == t.name for o in scene.things) == 1]
    if not things:
        return None
    thing = rng.choice(things)
    pieces = ("Yes", ", there is", article(thing.name))
    return Turn(existence_question(thing.name), pieces, KIND, regions=(None, None, thing.mask)), thing


def _texture(scene: Scene, rng: random.Random) -> _Said | None:
    regions = [r for r in scene.stuff if r.place in ("top", "bottom") and r.mask.any()]
    if not regions:
        return None
    region = rng.choice(regions)
    return Turn(texture_question(region.place), (f"the {region.name}",), KIND, regions=(region.mask,)), None


def _told(question: str, thing: Thing, phrase: str, verb: str, told: str) -> Turn:
    regions: tuple[NDArray[np.bool_] | None, ...] = (thing.mask, None, thing.mask)
    return Turn(question, (phrase, verb, told), KIND, regions=regions)


def _placed(scene: Scene, question: str, thing: Thing) -> Turn:
    pieces = (f"the {thing.name}", "is at the", place(scene, thing))
    return Turn(question, pieces, KIND, regions=(thing.mask, None, None))


def _lonely(scene: Scene, attribute: str) -> list[Thing]:
    """The things that no other shares an attribute with."""
    values = [getattr(thing, attribute) for thing in scene.things]
    return [t for t, value in zip(scene.things, values, strict=True) if values.count(value) == 1]
