"""The later stages' corpora: what is asked at evaluation, and the stepping stones that lead a tiny model there.

"Is there a red star?" alone gives no slope to follow: neither the question nor the picture tells the answer, only
both together do. "Where is the red star?" with "none" for an answer does, as finding it was learnt before; "Is there a
red star? If so, where?" carries that over to the words of the verdict.
"""

from __future__ import annotations

import random
from dataclasses import replace

from flmm.protocols import GROUNDING_PROMPT
from flmm.shapes.world.drawing import SHAPES
from flmm.shapes.world.expressions import Expression, matching, referring_expressions
from flmm.shapes.world.questions import (
    CATEGORIES,
    SHORT_ANSWER,
    absent_category,
    existence_prompt,
    multiple_choice,
    near_misses,
    present_categories,
    short_question,
)
from flmm.shapes.world.scenes import COLOURS, Scene, Thing
from recipes.language import COLUMNS, ROWS, Turn, describe_turn

NONE = "none"


def question_turns(scene: Scene, rng: random.Random) -> list[Turn]:
    """Questions: what is there, and where; independent conversations about one scene."""
    first = rng.random() < 0.5
    return [
        replace(describe_turn(scene, rng), kind="kept up"),
        pair_turn(scene, rng, first),
        pair_turn(scene, rng, not first),
        attribute_turn(scene, rng),
        whereabouts_turn(scene, rng, first),
        whereabouts_turn(scene, rng, not first),
        finding_turn(scene, rng),
        choice_turn(scene, rng),
        choice_turn(scene, rng),
    ]


def shape_turns(scene: Scene, rng: random.Random) -> list[Turn]:
    """Shapes: questions as before, with what it takes to find things by their shape."""
    first = rng.random() < 0.5
    return [
        replace(describe_turn(scene, rng), kind="kept up"),
        colours_turn(scene, rng),
        pair_turn(scene, rng, first),
        pair_turn(scene, rng, not first),
        attribute_turn(scene, rng, shape_share=0.75),
        attribute_turn(scene, rng, shape_share=0.75),
        whereabouts_turn(scene, rng, first),
        finding_turn(scene, rng),
        choice_turn(scene, rng),
        choice_turn(scene, rng),
    ]


def reference_turns(scene: Scene, rng: random.Random) -> list[Turn]:
    """Reference: mostly expressions whose last word has to know the thing that they mean."""
    present = rng.random() < 0.5
    return [
        replace(describe_turn(scene, rng), kind="kept up"),
        *(referring_turn(scene, rng, hard=k > 1) for k in range(6)),
        colours_turn(scene, rng),
        pair_turn(scene, rng, present),
        pair_turn(scene, rng, not present),
        attribute_turn(scene, rng, shape_share=0.75),
        whereabouts_turn(scene, rng, present),
        finding_turn(scene, rng),
        choice_turn(scene, rng),
    ]


def location_turns(scene: Scene, rng: random.Random) -> list[Turn]:
    """Location: as for reference, but expressions are followed by where things are."""
    present = rng.random() < 0.5
    return [
        replace(describe_turn(scene, rng), kind="kept up"),
        *(locating_turn(scene, rng, hard=k > 1) for k in range(8)),
        colours_turn(scene, rng),
        *verdict_turns(scene, rng, present),
    ]


def verdict_turns(scene: Scene, rng: random.Random, present: bool) -> list[Turn]:
    """Short answers, which every later stage keeps up; ``present``: whether the first is about what is there."""
    return [
        pair_turn(scene, rng, present),
        pair_turn(scene, rng, not present),
        attribute_turn(scene, rng, shape_share=0.75),
        finding_turn(scene, rng),
        choice_turn(scene, rng),
    ]


def locating_turn(scene: Scene, rng: random.Random, hard: bool) -> Turn:
    """A referring expression followed by the location tokens of the thing that it means, and by what it is like.

    Column and row come in either order, so that the expression's last token has to know both.
    """
    expression = drawn_expression(scene, rng, hard)
    thing = scene.things[expression.thing]
    side = max(scene.width, scene.height)
    across = (thing.cx + (side - scene.width) / 2) / side
    down = (thing.cy + (side - scene.height) / 2) / side
    column, row = (line[min(9, max(0, int(10 * at)))] for line, at in ((COLUMNS, across), (ROWS, down)))
    location = [column, row] if rng.random() < 0.5 else [row, column]
    like = [thing.colour] if thing.colour not in expression.text.split()[:2] else []
    like += [scene.stuff[scene.ground[expression.thing]].name]
    told = [*location, *like] if rng.random() < 0.75 else [*like, *location]
    return _told(expression, told, rng)


def referring_turn(scene: Scene, rng: random.Random, hard: bool) -> Turn:
    """A referring expression and, right after it, what is true of the thing that it means.

    As in "star left of the blue square red, small, top left, sand": the next word cannot be told without finding the
    thing, so the phrase's own tokens have to look at it.
    """
    expression = drawn_expression(scene, rng, hard)
    thing = scene.things[expression.thing]
    told = [] if thing.colour in expression.text.split()[:2] else [thing.colour]
    told += [thing.size, place(scene, thing), scene.stuff[scene.ground[expression.thing]].name]
    return _told(expression, told, rng)


def drawn_expression(scene: Scene, rng: random.Random, hard: bool) -> Expression:
    """An expression, each kind as likely as another; `hard`: one that needs more than its noun, if there is one."""
    pool = [e for i in range(len(scene.things)) for e in referring_expressions(scene, i)]
    if hard:
        pool = [
            e for e in pool if e.kind != "plain" and len(matching(scene.things, _noun(e.text))) > 1
        ] or pool
    kinds = sorted({e.kind for e in pool})
    kind = rng.choice(kinds)
    return rng.choice([e for e in pool if e.kind == kind])


def _told(expression: Expression, told: list[str], rng: random.Random) -> Turn:
    text = f"the {expression.text}" if rng.random() < 0.4 else expression.text
    learnt = (False, *(True for _ in told))
    return Turn(GROUNDING_PROMPT, (text, *told), f"refer {expression.kind}", learnt=learnt)


def _noun(text: str) -> str:
    """The noun of an expression without its article: "red star" of "left red star", "star" of "star above the ..."."""
    words = text.split()
    shape = next(i for i, word in enumerate(words) if word in SHAPES)
    return " ".join(words[shape - 1 : shape + 1]) if shape and words[shape - 1] in COLOURS else words[shape]


def colours_turn(scene: Scene, rng: random.Random) -> Turn:
    """The colour of each shape, told after the shape: descriptions only ever tell the shape of a colour."""
    things = rng.sample(scene.things, len(scene.things))
    pieces = [word for thing in things for word in (thing.shape, thing.colour, ",")]
    learnt = [False, True, False] * len(things)
    return Turn("Tell the color of each shape in the image.", tuple(pieces), "colours", learnt=tuple(learnt))


def whereabouts_turn(scene: Scene, rng: random.Random, present: bool) -> Turn:
    """An existence question that asks for the place as well: finding, in the words of the verdict."""
    if rng.random() < 0.6:
        things = [rng.choice(scene.things)]
        name = things[0].name if present else _absent(scene, rng)
    else:
        shapes = sorted({thing.shape for thing in scene.things})
        name = rng.choice(shapes if present else [shape for shape in SHAPES if shape not in shapes])
        things = [thing for thing in scene.things if thing.shape == name]
    answer = place(scene, rng.choice(things)) if present else "No"
    prompt = existence_prompt(name).replace("?", "? If so, where?", 1)
    return Turn(prompt, (answer,), "whereabouts")


def place(scene: Scene, thing: Thing) -> str:
    """The quarter of the picture in which a thing's centre lies."""
    down = "top" if thing.cy < scene.height / 2 else "bottom"
    return f"{down} {'left' if thing.cx < scene.width / 2 else 'right'}"


def pair_turn(scene: Scene, rng: random.Random, present: bool) -> Turn:
    """A POPE-style question; a quarter of the absent pairs have nothing in common with the picture."""
    name = rng.choice(present_categories(scene)) if present else _absent(scene, rng)
    return Turn(existence_prompt(name), ("Yes" if present else "No",), "existence")


def _absent(scene: Scene, rng: random.Random) -> str:
    near = {*near_misses(scene), *present_categories(scene)}
    far = [name for name in CATEGORIES if name not in near]
    return rng.choice(far) if far and rng.random() < 0.25 else absent_category(scene, rng)


def attribute_turn(scene: Scene, rng: random.Random, shape_share: float | None = None) -> Turn:
    """Half of an existence question: is there this shape, or this colour, at all?"""
    index = rng.randrange(2) if shape_share is None else int(rng.random() < shape_share)
    here = {name.split()[index] for name in present_categories(scene)}
    values = (tuple(COLOURS), SHAPES)[index]
    pool = [v for v in values if v in here] if rng.random() < 0.5 else [v for v in values if v not in here]
    value = rng.choice(pool)
    noun = f"{value} shape" if index == 0 else value
    return Turn(existence_prompt(noun), ("Yes" if value in here else "No",), "attribute")


def finding_turn(scene: Scene, rng: random.Random) -> Turn:
    """An open question, or one about what is not there, whose answer is "none"."""
    if rng.random() < 0.6:
        prompt, answer = short_question(scene, rng)
        return Turn(prompt, (answer,), "short")
    draw = rng.random()
    if draw < 0.5:
        question = f"Where is the {_absent(scene, rng)}?"
    elif draw < 0.75:
        absent = [shape for shape in SHAPES if all(t.shape != shape for t in scene.things)]
        question = f"What color is the {rng.choice(absent)}?"
    else:
        absent = [colour for colour in COLOURS if all(t.colour != colour for t in scene.things)]
        question = f"Which shape is {rng.choice(absent)}?"
    return Turn(f"{question}\n{SHORT_ANSWER}", (NONE,), "absent")


def choice_turn(scene: Scene, rng: random.Random) -> Turn:
    """An MMBench-style question, answered with the option's text (as a letter would, it tells the option)."""
    choice = multiple_choice(scene, rng)
    return Turn(choice.prompt, (choice.options[choice.answer],), "choice")
