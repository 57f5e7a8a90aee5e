"""Questions about one picture side by side, with every family: what each is answered and read of it alone."""

import pytest
import torch
from PIL import Image
from transformers import DynamicCache, Gemma3TextConfig

from flmm.backbones import load, questions
from flmm.backbones.base import Generation
from flmm.backbones.lmm import TransformersBackbone
from flmm.contract.check import ATTENTION_TOLERANCE, HIDDEN_TOLERANCE
from flmm.errors import InputError
from flmm.params import BackboneEntry
from flmm.shapes.world.scenes import make_scene
from flmm.shipped import MODELS, models

QUESTIONS = (
    "Is there a red circle?",
    "Is there a dog in the image?",
    " a star, or",
    "Is",
    "where is it?\nA. x",
)
SHORT = "Is there a {} in the image?\nAnswer the question using a single word or phrase."
THINGS = ("red star", "blue circle", "green square", "star", "large yellow triangle")
NEW = 4


def same_readings(found: Generation, expected: Generation) -> None:
    mine, theirs = found.observation, expected.observation
    assert (mine is None) == (theirs is None)
    if mine is None or theirs is None:
        return
    assert (mine.answer_id, mine.targets, mine.texts) == (theirs.answer_id, theirs.targets, theirs.texts)
    assert mine.grids == theirs.grids
    for a, b in zip(mine.attention, theirs.attention, strict=True):
        torch.testing.assert_close(a, b, atol=ATTENTION_TOLERANCE, rtol=0)
    for a, b in zip(mine.hidden, theirs.hidden, strict=True):
        torch.testing.assert_close(a, b, atol=HIDDEN_TOLERANCE, rtol=0)


def check(backbone: TransformersBackbone, image: Image.Image, asked: tuple[str, ...], most: int) -> None:
    """Plain answers are `generate`'s, attached ones the same, and what is read of them, too."""
    plain = list(backbone.answer(image, asked, max_new_tokens=most, tap=False))
    found = list(backbone.answer(image, asked, max_new_tokens=most, tap=True))
    assert [each.tokens for each in found] == [each.tokens for each in plain]
    for question, silent, read in zip(asked, plain, found, strict=True):
        expected = backbone.generate(image, question, max_new_tokens=most, tap=True)
        assert silent == Generation(expected.tokens, None)
        same_readings(read, expected)


def test_answers_and_what_is_read_of_them_are_those_of_each_question_alone(
    any_backbone: TransformersBackbone, image: Image.Image
) -> None:
    check(any_backbone, image, QUESTIONS, NEW)


@pytest.mark.parametrize("name", models())
def test_the_shipped_models_answer_side_by_side_as_alone(name: str) -> None:
    entry = BackboneEntry(
        suite="shapes",
        family=name.removeprefix("shapes-").replace("-", "_"),
        model=str(MODELS / name),
        revision=None,
        trust_remote_code=False,
    )
    backbone = load(entry, dtype="float32", device="cpu")
    assert isinstance(backbone, TransformersBackbone)
    check(backbone, Image.fromarray(make_scene(11).image), tuple(map(SHORT.format, THINGS)), 16)


def test_the_picture_is_read_once_for_all_questions(
    any_backbone: TransformersBackbone, image: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def counted(image: Image.Image, text: str, encode=any_backbone.encode):  # type: ignore[no-untyped-def]
        read.append(text)
        return encode(image, text)

    monkeypatch.setattr(any_backbone, "encode", counted)
    monkeypatch.setattr(any_backbone, "generate", None)
    # A space at the beginning becomes another token where Gemma's processor puts two newlines before it.
    asked = [each for each in QUESTIONS if each == each.strip()]
    list(any_backbone.answer(image, asked, max_new_tokens=1, tap=True))
    assert read == asked[:1]


@torch.no_grad()
def test_logits_and_prompts_are_those_of_the_whole_prompt(
    any_backbone: TransformersBackbone, image: Image.Image
) -> None:
    outputs = []
    hook = any_backbone.model.register_forward_hook(lambda *call: outputs.append(call[2].logits[0]))
    shared = questions.begin(any_backbone, image, QUESTIONS, NEW)
    list(any_backbone.answer(image, QUESTIONS, max_new_tokens=1, tap=False))
    hook.remove()
    assert shared is not None
    for question, rest, logits in zip(QUESTIONS, shared.rests, outputs[-1], strict=True):
        inputs = any_backbone.encode(image, question).inputs
        ids = inputs["input_ids"][0].tolist()
        assert [*shared.prompt.inputs["input_ids"][0, : shared.length].tolist(), *rest] == ids
        torch.testing.assert_close(logits, any_backbone.model(**inputs).logits[0, -1], atol=1e-4, rtol=1e-4)


def test_more_questions_than_go_side_by_side_come_back_in_their_order(
    backbone: TransformersBackbone, image: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = list(backbone.answer(image, QUESTIONS, max_new_tokens=NEW, tap=True))
    monkeypatch.setattr(questions, "TOGETHER", 2)
    found = list(backbone.answer(image, QUESTIONS, max_new_tokens=NEW, tap=True))
    assert [each.tokens for each in found] == [each.tokens for each in expected]
    for mine, theirs in zip(found, expected, strict=True):
        same_readings(mine, theirs)


def shares(backbone: TransformersBackbone, image: Image.Image) -> bool:
    """Whether questions share a beginning; what they are answered is `generate`'s in any case."""
    check(backbone, image, QUESTIONS, NEW)
    return questions.begin(backbone, image, QUESTIONS, NEW) is not None


def test_a_picture_behind_the_question_is_asked_about_alone(
    backbone: TransformersBackbone, image: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shares(backbone, image)
    monkeypatch.setattr(
        backbone, "words", lambda text: f"USER: {text} {backbone.processor.image_token} ASSISTANT:"
    )
    assert not shares(backbone, image)


@pytest.mark.parametrize("words", [None, "USER: {} ASSISTANT: Well,"])
def test_prompts_whose_words_are_not_known_are_read_one_by_one(
    backbone: TransformersBackbone, image: Image.Image, words: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = backbone.encode
    real = backbone.words  # type: ignore[attr-defined]

    def by_itself(image: Image.Image, text: str):  # type: ignore[no-untyped-def]
        with monkeypatch.context() as inner:
            inner.setattr(backbone, "words", real)
            return encode(image, text)

    monkeypatch.setattr(backbone, "encode", by_itself)
    monkeypatch.setattr(backbone, "words", lambda text: words and words.format(text))
    assert shares(backbone, image)


def test_a_cache_that_forgets_keys_is_not_shared(
    backbone: TransformersBackbone, image: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = Gemma3TextConfig(num_hidden_layers=3, layer_types=["sliding_attention"] * 3, sliding_window=8)
    monkeypatch.setattr(questions, "DynamicCache", lambda: DynamicCache(config=text))
    assert not shares(backbone, image)


def test_a_question_that_does_not_fit_is_named(backbone: TransformersBackbone, image: Image.Image) -> None:
    with pytest.raises(InputError, match=r"'a dog': .* exceed the 512 positions"):
        list(backbone.answer(image, ["a dog", "a cat"], max_new_tokens=500, tap=False))


def test_one_question_and_none(backbone: TransformersBackbone, image: Image.Image) -> None:
    assert list(backbone.answer(image, [], max_new_tokens=NEW, tap=True)) == []
    (said,) = list(backbone.answer(image, QUESTIONS[:1], max_new_tokens=NEW, tap=True))
    assert said.tokens == backbone.generate(image, QUESTIONS[0], max_new_tokens=NEW, tap=True).tokens
    twice = list(backbone.answer(image, QUESTIONS[:1] * 2, max_new_tokens=NEW, tap=True))
    assert [each.tokens for each in twice] == [said.tokens] * 2
