"""Conversations of several people beside each other: apart, bounded, and going on after an error."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from flmm.app.models import Models
from flmm.app.sessions import ANSWER_TOKENS, LONGEST_QUESTION, PHRASES, SESSIONS, TURNS, Session, Sessions
from flmm.app.shown import shown
from flmm.app.uploads import SIDE
from flmm.backbones.base import Grid, HeadInput
from flmm.conversation import Turn
from flmm.data.geometry import View
from flmm.errors import InputError
from flmm.heads.model import HeadOutput
from flmm.predictor import Answered, Grounded

RED, BLUE = (Image.new("RGB", (30, 20), colour) for colour in ("red", "blue"))


def turn_of(question: str, text: str) -> Turn:
    """A turn without phrases."""
    masks = np.zeros((0, 20, 30), bool)
    nothing = Grounded((), masks, masks, np.zeros((0, 4), int), np.zeros(0))
    return Turn(question, Answered(text, (), nothing), (), ())


class Parrot:
    """A conversation that tells which picture it is about, and refuses a question beyond its context."""

    def __init__(self, picture: Image.Image) -> None:
        self.picture, self.count = picture, 0
        self.turns: list[Turn] = []

    def ask(self, question: str, *, max_new_tokens: int) -> Iterator[str]:
        if question == "too long":
            raise InputError("'too long': 3000 prompt and 96 answer tokens exceed the 2048 positions")
        colour = "red" if self.picture is RED else "blue"
        yield colour
        yield f" ({self.count + 1})"
        self.count += 1
        self.turns.append(turn_of(question, f"{colour} ({self.count})"))


@pytest.fixture
def models() -> Iterator[Models]:
    grounder: Any = SimpleNamespace(converse=Parrot)
    made = Models({"tiny": lambda: grounder, "other": lambda: grounder})
    yield made
    made.close()


def said(session: Session, question: str, models: Models) -> str:
    *_, last = session.ask(question, models)
    return last


def test_each_page_talks_about_its_own_picture(models: Models) -> None:
    everyone = Sessions("tiny", RED)
    one, other = everyone.of("one"), everyone.of("other")
    other.begin(BLUE)
    assert said(one, "what is it?", models) == "red (1)"
    assert said(other, "what is it?", models) == "blue (1)"
    assert said(one, "and again?", models) == "red (2)"
    assert everyone.of("one") is one
    assert [turn.answered.text for turn in one.turns] == ["red (1)", "red (2)"]
    assert [turn.answered.text for turn in other.turns] == ["blue (1)"]


def test_the_answer_grows_piece_by_piece(models: Models) -> None:
    assert list(Session("tiny", RED).ask("what is it?", models)) == ["red", "red (1)"]


@pytest.mark.parametrize(
    ("question", "says"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("x" * (LONGEST_QUESTION + 1), "characters"),
        ("too long", "2048 positions"),
    ],
)
def test_after_a_question_that_cannot_be_answered_the_conversation_goes_on(
    models: Models, question: str, says: str
) -> None:
    session = Session("tiny", RED)
    assert said(session, "what is it?", models) == "red (1)"
    with pytest.raises(InputError, match=says):
        said(session, question, models)
    assert said(session, "and now?", models) == "red (2)"


def test_a_new_picture_or_model_begins_a_new_conversation(models: Models) -> None:
    session = Session("tiny", RED)
    said(session, "what is it?", models)
    session.begin(BLUE)
    assert not session.turns
    assert said(session, "what is it?", models) == "blue (1)"
    session.begin(session.picture, "other")
    assert (session.model, said(session, "what is it?", models)) == ("other", "blue (1)")


def test_an_answer_about_a_picture_that_was_exchanged_meanwhile_is_not_kept(models: Models) -> None:
    session = Session("tiny", RED)
    answer = session.ask("what is it?", models)
    assert next(answer) == "red"
    session.begin(BLUE)
    list(answer)
    assert not session.turns
    assert said(session, "what is it?", models) == "blue (1)"


def test_only_the_latest_pages_are_kept_and_an_old_one_says_so(models: Models) -> None:
    everyone = Sessions("tiny", RED)
    everyone.of("first").begin(BLUE)
    for number in range(SESSIONS + 3):
        everyone.of(str(number))
    assert len(everyone) == SESSIONS
    forgotten = everyone.of("first")
    with pytest.raises(InputError, match="no longer here"):
        said(forgotten, "what is it?", models)
    forgotten.begin(BLUE)
    assert said(forgotten, "what is it?", models) == "blue (1)"


def test_a_closed_page_is_forgotten() -> None:
    everyone = Sessions("tiny", RED)
    session = everyone.of("one")
    everyone.drop("one")
    everyone.drop("one")
    assert len(everyone) == 0
    assert everyone.of("one") is not session


def test_a_conversation_that_is_too_long_asks_for_a_new_one(models: Models) -> None:
    session = Session("tiny", RED)
    for _ in range(TURNS):
        said(session, "again?", models)
    with pytest.raises(InputError, match="begin a new one"):
        said(session, "again?", models)


@pytest.mark.parametrize(("turn", "phrase"), [(0, 0), (-1, 0), (1, 0), (0, 7)])
def test_a_phrase_that_is_not_there_is_refused(models: Models, turn: int, phrase: int) -> None:
    session = Session("tiny", RED)
    said(session, "what is it?", models)
    with pytest.raises(InputError, match="no longer here"):
        session.phrase(turn, phrase)


def test_all_conversations_together_stay_under_two_gigabytes() -> None:
    """The worst case: a square picture of the largest size, a model with 1024 heads, every conversation full."""
    size, grid = (SIDE, SIDE), Grid("only", 24, 24, View(24, 24, 0, 0, 24, 24))
    noise = torch.rand(1, *size)
    seen = HeadInput((torch.rand(1, 1024, 24, 24),), (grid,), (torch.zeros(32, 3, 4096),), size)
    masks = (noise > 0.5).numpy()
    grounded = Grounded(("star",), masks, masks, np.zeros((1, 4), int), np.ones(1))
    answered = Answered("the star", ((4, 8),), grounded)
    turn = shown(Turn("what?", answered, (seen,), (HeadOutput(noise, noise),)))
    phrase = turn.phrases[0]
    kept = [phrase.mask, turn.answered.grounded.coarse, phrase.heads.maps, phrase.heads.shares]
    each = sum(array.nbytes for array in kept) + len(phrase.map)
    most = (
        PHRASES + ANSWER_TOKENS // 2
    )  # the last answer may go beyond the limit: a phrase and a word between
    assert SESSIONS * most * each < 2e9
