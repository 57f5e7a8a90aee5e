"""Looking twice: the whole picture, then an enlarged part of it, and questions about that part.

The part shows what is too small for the tokens of the whole: the color of a mark on a thing. In the whole picture the
model only has to say which thing matters to such a question (`flmm.evaluation.asking.which_object`).
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flmm.evaluation.asking import which_object
from flmm.evaluation.crops import Box, box_around, enlarged, grown
from flmm.shapes.mirror.viscot import MARK_RADIUS, Marked, marked
from flmm.shapes.world.drawing import draw_shape
from flmm.shapes.world.questions import SHORT_ANSWER, absent_category, colour_question, existence_prompt
from flmm.shapes.world.scenes import Region, Scene, Thing
from recipes.answers import answered
from recipes.corpus import Shown
from recipes.curriculum import pair_turn
from recipes.language import Turn

KIND = "second look"


def matter_turns(scene: Scene, rng: random.Random) -> list[Turn]:
    """Which thing or region matters to a question about the scene: a short question, and any about a thing."""
    asked = answered(scene, rng)
    name = next((thing.name for thing in scene.things if thing.mask is asked.region), "")
    name = name or next(f"the {region.name}" for region in scene.stuff if region.mask is asked.region)
    return [Turn(which_object(asked.question), (name,), "matters")]


def second_look(scene: Scene, rng: random.Random) -> Shown | None:
    """A scene with a mark and the part around its thing; or, a third of the time, which thing the mark is on."""
    mark = marked(scene, rng)
    if mark is None:
        return None
    question = colour_question(mark.shape)
    if rng.random() < 1 / 3:
        matters = Turn(which_object(question), (mark.thing.name,), "matters")
        plain = [pair_turn(scene, rng, rng.random() < 0.5) for _ in range(3)]
        return [mark.scene], [matters, *matter_turns(scene, rng), *plain]
    part = crop(mark, box_of(mark.thing, rng))
    turns = [
        Turn(f"{question}\n{SHORT_ANSWER}", (mark.colour,), KIND),
        Turn(f"{colour_question(mark.thing.shape)}\n{SHORT_ANSWER}", (mark.thing.colour,), KIND),
        Turn(existence_prompt(mark.thing.name), ("Yes",), KIND),
        Turn(existence_prompt(absent_category(scene, rng)), ("No",), KIND),
        pair_turn(scene, rng, rng.random() < 0.5),
    ]
    if sum(thing.shape == mark.thing.shape for thing in scene.things) > 1:
        del turns[1]
    return [mark.scene, part], turns


def box_of(thing: Thing, rng: random.Random) -> Box:
    """A box about as a grounding head would find it."""
    found = box_around(thing.mask)
    assert found is not None
    height, width = thing.mask.shape
    return grown(found, rng.uniform(0.0, 0.5), width, height)


def crop(mark: Marked, box: Box) -> Scene:
    """The enlarged part of a marked scene, the mark a thing of its own."""
    scene = mark.scene
    height, width = scene.height, scene.width
    window, alpha = draw_shape(mark.shape, mark.thing.cx, mark.thing.cy, MARK_RADIUS, 0.0, height, width)
    dot = np.zeros((height, width), dtype=bool)
    dot[window] = alpha >= 0.5

    def part(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        # As a grey picture, so that masks are enlarged as the picture is.
        grey = Image.fromarray((mask & ~dot).astype(np.uint8) * 255)
        return np.asarray(enlarged(grey, box)) > 127

    seen = enlarged(Image.fromarray(scene.image), box)
    things = [replace(thing, mask=part(thing.mask)) for thing in scene.things]
    on = np.asarray(enlarged(Image.fromarray(dot.astype(np.uint8) * 255), box)) > 127
    things.append(replace(mark.thing, shape=mark.shape, colour=mark.colour, radius=MARK_RADIUS, mask=on))
    shown: dict[str, Any] = {
        "image": np.asarray(seen),
        "things": tuple(things),
        "stuff": tuple(Region(r.name, r.place, part(r.mask)) for r in scene.stuff),
        "ground": (*scene.ground, 0),
    }
    return replace(scene, **shown)
