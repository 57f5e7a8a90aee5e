"""What is said about a scene is true, and what should single out one thing does: checked by other code."""

import random
import re

import pytest

from flmm.shapes.world.drawing import SHAPES
from flmm.shapes.world.expressions import sample_expressions
from flmm.shapes.world.narratives import PLURALS, Piece, narrative
from flmm.shapes.world.questions import (
    CATEGORIES,
    absent_category,
    existence_question,
    multiple_choice,
    near_misses,
    present_categories,
    short_question,
)
from flmm.shapes.world.scenes import COLOURS, Scene, Thing, make_scene, scene_seed

_COLOUR = "|".join(COLOURS)
_SHAPE = "|".join(SHAPES)
_EXPRESSION = re.compile(
    rf"(?:the )?(?:(left|right|top|bottom|small|large) )?(?:({_COLOUR}) )?({_SHAPE})"
    rf"(?: (left of|right of|above|below) the (?:({_COLOUR}) )?({_SHAPE}))?"
)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [make_scene(scene_seed("test-language", 0, i)) for i in range(150)]


def _fitting(scene: Scene, text: str) -> list[int]:
    """Indices of the things that a reader would take the expression for."""
    match = _EXPRESSION.fullmatch(text)
    assert match, text
    which, colour, shape, relation, mark_colour, mark_shape = match.groups()
    things = scene.things
    fits = [i for i, t in enumerate(things) if t.shape == shape and colour in (None, t.colour)]
    if relation:
        marks = [t for t in things if t.shape == mark_shape and mark_colour in (None, t.colour)]
        assert len(marks) == 1, text
        mark = marks[0]
        return [i for i in fits if things[i] is not mark and _holds(relation, things[i], mark)]
    if which:
        key = {
            "left": lambda t: t.cx,
            "right": lambda t: -t.cx,
            "top": lambda t: t.cy,
            "bottom": lambda t: -t.cy,
            "small": lambda t: t.radius,
            "large": lambda t: -t.radius,
        }[which]
        assert len(fits) > 1, text
        return [min(fits, key=lambda i: key(things[i]))]
    return fits


def _holds(relation: str, a: Thing, b: Thing) -> bool:
    return {
        "left of": a.cx < b.cx - 5,
        "right of": a.cx > b.cx + 5,
        "above": a.cy < b.cy - 5,
        "below": a.cy > b.cy + 5,
    }[relation]


def test_expressions_fit_their_thing_and_no_other(scenes: list[Scene]) -> None:
    kinds: list[str] = []
    for number, scene in enumerate(scenes):
        for index in range(len(scene.things)):
            for expression in sample_expressions(scene, index, random.Random(number)):
                assert _fitting(scene, expression.text) == [index], expression
                kinds.append(expression.kind)
    plain = kinds.count("plain") / len(kinds)
    assert 0.6 < plain < 0.8
    assert kinds.count("relation") > 50 and kinds.count("position") > 50


def test_nearly_every_thing_can_be_referred_to(scenes: list[Scene]) -> None:
    answered = [
        bool(sample_expressions(scene, i, random.Random(1)))
        for scene in scenes
        for i in range(len(scene.things))
    ]
    assert sum(answered) / len(answered) > 0.97


def test_narratives_name_what_they_point_at(scenes: list[Scene]) -> None:
    singular = {plural: shape for shape, plural in PLURALS.items()}
    plurals = 0
    for number, scene in enumerate(scenes):
        pieces = narrative(scene, random.Random(number))
        assert all(piece.text == piece.text.strip().lower() and piece.text for piece in pieces)
        for piece in pieces:
            if piece.stuff:
                assert [f"the {scene.stuff[i].name}" for i in piece.stuff] == [piece.text]
            elif len(piece.things) > 1:
                plurals += 1
                count, *colour, noun = piece.text.split()
                assert count == {2: "two", 3: "three", 4: "four", 5: "five"}[len(piece.things)]
                named = {i for i, t in enumerate(scene.things) if t.shape == singular[noun]}
                if colour:
                    named = {i for i in named if scene.things[i].colour == colour[0]}
                assert named == set(piece.things)
            elif piece.things:
                bare = re.sub(r"^an? ", "", piece.text)
                assert _fitting(scene, bare) == list(piece.things)
    assert plurals > 20


def test_narratives_tell_true_relations(scenes: list[Scene]) -> None:
    spoken = {"to the left of": "left of", "to the right of": "right of", "above": "above", "below": "below"}
    found = 0
    for number, scene in enumerate(scenes):
        pieces: list[Piece] = narrative(scene, random.Random(number))
        for before, link, after in zip(pieces, pieces[1:], pieces[2:], strict=False):
            if link.text in spoken:
                found += 1
                a, b = scene.things[before.things[0]], scene.things[after.things[0]]
                assert _holds(spoken[link.text], a, b)
    assert found > 50


def test_every_texture_is_told_at_least_when_the_background_is(scenes: list[Scene]) -> None:
    told = {i for s in scenes for piece in narrative(s, random.Random(0)) for i in piece.stuff}
    assert told == {0, 1, 2}


def test_absent_categories_are_absent(scenes: list[Scene]) -> None:
    hard = 0
    for number, scene in enumerate(scenes):
        absent = absent_category(scene, random.Random(number))
        assert absent in CATEGORIES and absent not in present_categories(scene)
        hard += absent in near_misses(scene)
    assert hard > len(scenes) / 2


def test_existence_wording() -> None:
    assert existence_question("red circle") == "Is there a red circle in the image?"
    assert existence_question("orange ring") == "Is there an orange ring in the image?"


def test_multiple_choice_has_one_true_option(scenes: list[Scene]) -> None:
    categories = set()
    for number, scene in enumerate(scenes * 3):
        choice = multiple_choice(scene, random.Random(number))
        true = [i for i, option in enumerate(choice.options) if _is_true(scene, choice.question, option)]
        assert true == [choice.answer], choice
        assert 3 <= len(choice.options) == len(set(choice.options)) <= 4
        categories.add(choice.category)
    assert len(categories) == 5


def _is_true(scene: Scene, question: str, option: str) -> bool:
    if question.startswith("What color"):
        shape = question.removesuffix("?").split()[-1]
        return [t.colour for t in scene.things if t.shape == shape] == [option]
    if question.startswith("Which shape"):
        colour = question.removesuffix("?").split()[-1]
        return [t.shape for t in scene.things if t.colour == colour] == [option]
    if question.startswith("Which object"):
        return option in present_categories(scene)
    if question.startswith("What is at the"):
        place = question.split()[4]
        row = 0 if place == "top" else -1
        edge = {r.name: r.mask[row].sum() for r in scene.stuff}
        return max(edge, key=lambda name: edge[name]) == option and edge[option] > 0
    name = re.sub(r"Where is the (.*)\?", r"\1", question)
    (thing,) = [t for t in scene.things if t.name == name]
    vertical, horizontal = option.split()
    return (vertical == "top") == (thing.cy < scene.height / 2) and (horizontal == "left") == (
        thing.cx < scene.width / 2
    )


def test_rotation_moves_options_on() -> None:
    choice = multiple_choice(make_scene(5), random.Random(0))
    n = len(choice.options)
    for by in range(n):
        rotated = choice.rotated(by)
        assert rotated.options[by:] + rotated.options[:by] == choice.options
        assert rotated.options[rotated.answer] == choice.options[choice.answer]
    assert {choice.rotated(by).letter for by in range(n)} == set("ABCD"[:n])


def test_short_questions_have_short_answers(scenes: list[Scene]) -> None:
    for number, scene in enumerate(scenes[:50]):
        prompt, answer = short_question(scene, random.Random(number))
        assert prompt.endswith("Answer the question using a single word or phrase.")
        assert len(answer.split()) <= 2
