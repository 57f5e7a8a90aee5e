"""A grounded conversation: the plain LMM's words, streamed, with masks; what fails leaves it as it was."""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import DynamicCache

from flmm import Grounder
from flmm.backbones.dialogue import rest_of_template
from flmm.errors import InputError, StepError
from flmm.shapes.world.scenes import make_scene
from flmm.shipped import models

QUESTIONS = (
    "Please give me a description of the image.",
    "What is at the top of the image?\nAnswer the question using a single word or phrase.",
    "Is there a red star in the image?\nAnswer the question using a single word or phrase.",
)


@pytest.fixture(scope="module", params=models())
def grounder(request: pytest.FixtureRequest) -> Grounder:
    return Grounder.load(request.param, device="cpu")


@pytest.fixture(scope="module")
def llava() -> Grounder:
    return Grounder.load("shapes-llava", device="cpu")


@pytest.fixture
def picture() -> Image.Image:
    return Image.fromarray(make_scene(11).image)


def said(pieces: Iterator[str]) -> str:
    return "".join(pieces)


@torch.no_grad()
def plain(grounder: Grounder, picture: Image.Image, tokens: tuple[int, ...], count: int) -> list[int]:
    """What greedy generation alone says after a conversation's tokens."""
    backbone = grounder.backbone
    inputs = dict(backbone.read(picture, QUESTIONS[0]).inputs)
    inputs["input_ids"] = torch.tensor([tokens])
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    found = backbone.model.generate(**inputs, past_key_values=DynamicCache(), max_new_tokens=count)
    new = found[0, len(tokens) :].tolist()
    return new[:-1] if new[-1] in backbone.model.generation_config.eos_token_id else new


def test_every_turn_is_token_for_token_the_plain_models(grounder: Grounder, picture: Image.Image) -> None:
    conversation = grounder.converse(picture)
    dialogue = conversation._dialogue
    for question in QUESTIONS:
        text = said(conversation.ask(question, max_new_tokens=24))
        answer = dialogue.last.tokens
        before = dialogue.tokens[: len(dialogue.tokens) - len(answer)]
        assert list(answer) == plain(grounder, picture, before, 24)
        assert text == grounder.backbone.decode(answer) == conversation.turns[-1].answered.text
    # The whole conversation is what the model's tokenizer makes of it, but for the picture's repeated tokens.
    once = [token for token, _ in itertools.groupby(dialogue.tokens)]
    turns = grounder.backbone.tokenizer.decode(once)
    assert all(question in turns for question in QUESTIONS)


# What the authors' templates write, with "<image>" for the picture; the end of an answer is the model's own mark.
WRITTEN = {
    "shapes-llava": ("USER: <image>\n{} ASSISTANT:", "USER: {} ASSISTANT:"),
    "shapes-llava-next": ("USER: <image>\n{} ASSISTANT:", "USER: {} ASSISTANT:"),
    "shapes-deepseek-vl": ("User: <image>{}\n\nAssistant:", "User: {}\n\nAssistant:"),
}


def test_a_conversation_is_written_as_the_model_was_taught_it(
    grounder: Grounder, picture: Image.Image, request: pytest.FixtureRequest
) -> None:
    first, later = WRITTEN[request.node.callspec.params["grounder"]]
    conversation, backbone = grounder.converse(picture), grounder.backbone
    expected: list[int] = []
    for number, question in enumerate(QUESTIONS):
        words = (
            (later if number else first).format(question).replace("<image>", backbone.processor.image_token)
        )
        expected += backbone.tokenizer.encode(words, add_special_tokens=not number)
        said(conversation.ask(question, max_new_tokens=60))
        expected += [*conversation._dialogue.last.tokens, backbone.model.generation_config.eos_token_id[0]]
    image = backbone.tokenizer.convert_tokens_to_ids(backbone.processor.image_token)
    alone = [
        key
        for key, run in itertools.groupby(conversation._dialogue.tokens)
        for _ in ([0] if key == image else run)
    ]
    assert alone == expected[:-1]


class Bytes:
    """A backbone whose tokens are bytes, and its dialogue, which says some; nothing is grounded."""

    last = None

    def __init__(self, said: bytes) -> None:
        self.said = said

    def converse(self, picture: Image.Image) -> "Bytes":
        return self

    def say(self, question: str, *, max_new_tokens: int) -> Iterator[int]:
        yield from self.said

    def keep(self) -> None: ...

    def decode(self, tokens: Sequence[int]) -> str:
        return bytes(tokens).decode(errors="replace").strip()


@given(st.one_of(st.text().map(str.encode), st.binary()))
def test_the_pieces_of_an_answer_are_its_text(llava: Grounder, spoken: bytes) -> None:
    """Also where a character has several tokens, where spaces follow, and where the last character is cut off."""
    backbone = Bytes(spoken)
    conversation = Grounder(backbone, llava.head, llava.segmenter).converse(Image.new("RGB", (8, 8)))  # type: ignore[arg-type]
    pieces = list(conversation.ask("what?"))
    assert "".join(pieces) == backbone.decode(spoken) == conversation.turns[-1].answered.text
    assert all(pieces)


def test_a_character_of_several_tokens_comes_whole(llava: Grounder) -> None:
    backbone = Bytes("é 🟥 x".encode())
    conversation = Grounder(backbone, llava.head, llava.segmenter).converse(Image.new("RGB", (8, 8)))  # type: ignore[arg-type]
    assert list(conversation.ask("what?")) == ["é", " 🟥", " x"]


def test_masks_that_fail_leave_the_conversation_as_it_was(
    llava: Grounder, picture: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StepError("no")

    conversation, undisturbed = llava.converse(picture), llava.converse(picture)
    for each in (conversation, undisturbed):
        said(each.ask(QUESTIONS[1], max_new_tokens=8))
    with monkeypatch.context() as broken:
        broken.setattr(llava, "masks", fail)
        with pytest.raises(StepError, match="no"):
            said(conversation.ask(QUESTIONS[0], max_new_tokens=8))
    for each in (conversation, undisturbed):
        said(each.ask(QUESTIONS[2], max_new_tokens=8))
    assert conversation._dialogue.tokens == undisturbed._dialogue.tokens
    assert [turn.answered.text for turn in conversation.turns] == [
        turn.answered.text for turn in undisturbed.turns
    ]


def test_the_first_turn_is_that_of_answer(grounder: Grounder, picture: Image.Image) -> None:
    conversation = grounder.converse(picture)
    said(conversation.ask(QUESTIONS[0], max_new_tokens=40))
    (turn,), once = conversation.turns, grounder.answer(picture, QUESTIONS[0], max_new_tokens=40)
    assert (turn.answered.text, turn.answered.spans) == (once.text, once.spans)
    assert len(turn.seen) == len(turn.outputs) == len(once.spans)
    different = turn.answered.grounded.masks != once.grounded.masks
    assert different.sum() <= different.size / 1000  # sums in another order


def test_an_answer_that_was_cut_off_goes_into_the_next_turn(llava: Grounder, picture: Image.Image) -> None:
    conversation = llava.converse(picture)
    said(conversation.ask(QUESTIONS[0], max_new_tokens=3))
    assert len(conversation._dialogue.last.tokens) == 3
    said(conversation.ask(QUESTIONS[1], max_new_tokens=8))
    dialogue = conversation._dialogue
    before = dialogue.tokens[: len(dialogue.tokens) - len(dialogue.last.tokens)]
    assert list(dialogue.last.tokens) == plain(llava, picture, before, 8)


@pytest.mark.parametrize("turns", [0, 1])
def test_a_turn_that_breaks_off_leaves_the_conversation_as_it_was(
    llava: Grounder, picture: Image.Image, turns: int
) -> None:
    conversation, undisturbed = llava.converse(picture), llava.converse(picture)
    for each in (conversation, undisturbed):
        for question in QUESTIONS[:turns]:
            said(each.ask(question, max_new_tokens=12))
    pieces = conversation.ask(QUESTIONS[0], max_new_tokens=12)
    next(pieces)
    pieces.close()
    with pytest.raises(InputError, match="expected a text that asks"):
        next(conversation.ask("  "))
    with pytest.raises(InputError, match="exceed the 2048 positions"):
        next(conversation.ask("why " * 3000))
    assert len(conversation.turns) == turns
    assert conversation._dialogue.tokens == undisturbed._dialogue.tokens
    for each in (conversation, undisturbed):
        said(each.ask(QUESTIONS[1], max_new_tokens=12))
    assert conversation.turns[-1].answered.text == undisturbed.turns[-1].answered.text
    for first, second in zip(conversation.turns[-1].outputs, undisturbed.turns[-1].outputs, strict=True):
        torch.testing.assert_close(first.refined, second.refined, rtol=1e-3, atol=1e-3)


def test_a_mark_of_the_model_in_a_question_is_words(llava: Grounder, picture: Image.Image) -> None:
    conversation = llava.converse(picture)
    for question in ("What is <image>?", "And </s> or <image>?"):
        said(conversation.ask(question, max_new_tokens=4))
    image = llava.backbone.processor.image_token_id
    assert conversation._dialogue.tokens.count(image) == 16 * 16


def test_a_slider_can_blend_from_coarse_to_refined(llava: Grounder, picture: Image.Image) -> None:
    conversation = llava.converse(picture)
    said(conversation.ask(QUESTIONS[0], max_new_tokens=40))
    (turn,), size = conversation.turns, (picture.height, picture.width)
    for number, output in enumerate(turn.outputs):
        coarse, refined = (each[0].numpy() > 0.5 for each in output.probabilities(size))
        assert np.array_equal(coarse, turn.answered.grounded.coarse[number])
        assert np.array_equal(refined, turn.answered.grounded.masks[number])


def test_the_rest_of_a_template_is_what_comes_after_the_answer() -> None:
    assert rest_of_template("Q: a A:", "yes", "Q: a A: yes</s>Q: b A:", "m") == "</s>Q: b A:"
    for after in ("Q: a A: no</s>", "History: Q: a A: yes", "Q: a A: thinking, yes"):
        with pytest.raises(InputError, match="one question at a time"):
            rest_of_template("Q: a A:", "yes", after, "m")
