"""The stages' turns tell the truth, and ask with the very prompts of the evaluation."""

import random
import re

import pytest

from flmm.benchmarks import mmbench
from flmm.shapes.world.questions import SHORT_ANSWER, present_categories
from flmm.shapes.world.scenes import Scene, make_scene, scene_seed
from recipes.curriculum import (
    NONE,
    attribute_turn,
    choice_turn,
    finding_turn,
    pair_turn,
    question_turns,
    whereabouts_turn,
)
from recipes.language import corpus_turns


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [make_scene(scene_seed("test-curriculum", 0, i)) for i in range(80)]


def _asked(prompt: str) -> str:
    match = re.match(r"Is there an? (.*?)(?: shape)? in the image\?", prompt)
    assert match, prompt
    return match[1]


def test_existence_questions_tell_the_truth(scenes: list[Scene]) -> None:
    for number, scene in enumerate(scenes):
        rng = random.Random(number)
        for present in (True, False):
            turn = pair_turn(scene, rng, present)
            assert (_asked(turn.prompt) in present_categories(scene)) == present
            assert turn.pieces == ("Yes" if present else "No",)
        turn = attribute_turn(scene, rng)
        words = {word for name in present_categories(scene) for word in name.split()}
        assert turn.pieces == ("Yes" if _asked(turn.prompt) in words else "No",)


def test_whereabouts_tell_a_place_of_what_is_there(scenes: list[Scene]) -> None:
    for number, scene in enumerate(scenes):
        for present in (True, False):
            turn = whereabouts_turn(scene, random.Random(number), present)
            fitting = [t for t in scene.things if _asked(turn.prompt) in (t.name, t.shape)]
            places = {
                f"{'top' if t.cy < scene.height / 2 else 'bottom'} {'left' if t.cx < scene.width / 2 else 'right'}"
                for t in fitting
            }
            assert turn.pieces[0] in (places or {"No"}) and bool(fitting) == present


def test_what_is_not_there_is_not_found(scenes: list[Scene]) -> None:
    absent = 0
    for number, scene in enumerate(scenes):
        turn = finding_turn(scene, random.Random(number))
        assert turn.prompt.endswith(SHORT_ANSWER)
        words = turn.prompt.split("?")[0].split()
        if turn.pieces == (NONE,):
            absent += 1
            here = {word for name in present_categories(scene) for word in (name, *name.split())}
            assert words[-1] not in here or " ".join(words[-2:]) not in here
    assert absent > 10


def test_choices_are_answered_with_the_option_that_the_evaluation_reads(scenes: list[Scene]) -> None:
    for number, scene in enumerate(scenes):
        turn = choice_turn(scene, random.Random(number))
        _, *lines = turn.prompt.split("\n")
        options = [line[3:] for line in lines[:-1]]
        letter = mmbench.option_letter(turn.pieces[0], options)
        assert letter is not None and options["ABCD".index(letter)] == turn.pieces[0]


def test_every_kind_of_turn_is_in_the_mixture(scenes: list[Scene]) -> None:
    kinds = {turn.kind for i, scene in enumerate(scenes) for turn in question_turns(scene, random.Random(i))}
    assert {"kept up", "existence", "attribute", "short", "absent", "choice", "whereabouts"} == kinds


def test_corpus_holds_every_kind_of_turn(scenes: list[Scene]) -> None:
    prompts = [turn.prompt for scene in scenes[:20] for turn in corpus_turns(scene, random.Random(0))]
    assert "Please give me a description of the image." in prompts
    assert any(p.startswith("Is there a") for p in prompts)
    assert any("\nA. " in p and "\nB. " in p for p in prompts)
