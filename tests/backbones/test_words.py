"""Marks in questions and phrases are words to every family, and a refusal names what is to blame."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from flmm.backbones.lmm import TransformersBackbone
from flmm.backbones.words import as_words, read_by, special_marks
from flmm.errors import InputError
from flmm.protocols import SEPARATOR, Answer, Piece


def marked(image: Image.Image, name: str) -> Image.Image:
    """The photograph with the name that a store gives it."""
    image.info["photograph"] = name
    return image


def narrow(height: int, width: int) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return marked(Image.fromarray(noise), "ReasonSeg_val/val/7.jpg")


def test_every_mark_in_a_question_and_in_a_phrase_is_read_as_words(
    any_backbone: TransformersBackbone, image: Image.Image
) -> None:
    tokenizer = any_backbone.tokenizer
    ids = {tokenizer.convert_tokens_to_ids(mark) for mark in any_backbone.marks}
    assert any_backbone.processor.image_token in any_backbone.marks and ids
    plain = any_backbone.encode(image, "Is there a sign?")
    for mark in any_backbone.marks:
        question = f"Is there a {mark} sign, {mark}{mark}?"
        generation = any_backbone.generate(image, question, max_new_tokens=2, tap=True)
        assert generation.tokens or generation.observation is None
        read = any_backbone.read(image, question)
        added = torch.tensor(sorted(ids))
        assert (
            torch.isin(read.inputs["input_ids"], added).sum()
            == torch.isin(plain.inputs["input_ids"], added).sum()
        )
        assert [grid.rows for grid in read.grids] == [grid.rows for grid in plain.grids]
        answer = Answer("a", (Piece(f"the {mark} sign", 0), SEPARATOR))
        (observed,) = any_backbone.observe(image, [answer], "Please give me")
        assert observed.texts == (f"the {mark} sign",)
        words = tokenizer.encode(f"the {mark[0]} {mark[1:]} sign", add_special_tokens=False)
        assert observed.hidden[0].shape[1] == len(words) and not ids & set(words)
        assert all(maps.isfinite().all() for maps in observed.attention)


SIZES = [(1, 1), (1, 2), (2, 2), (3, 900), (900, 3), (1, 400), (5000, 1)]


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_narrow_or_tiny_photograph_is_read_or_named(
    any_backbone: TransformersBackbone, size: tuple[int, int]
) -> None:
    photograph = narrow(*size)
    name = f"ReasonSeg_val/val/7.jpg: photograph of {size[1]} x {size[0]} pixels: "
    answer = Answer("a", (Piece("the star", 0), SEPARATOR))
    for call in (
        lambda: any_backbone.observe(photograph, [answer], "Please give me"),
        lambda: any_backbone.generate(photograph, "What is it?", max_new_tokens=1, tap=True),
    ):
        try:
            call()
        except InputError as error:
            assert str(error).startswith(name) and "prepare.exclude" in str(error)


MARKS = ("<image>", "</s>", "<s>", "[IMG]", "<|im_end|>", "<<")


@given(parts=st.lists(st.sampled_from([*MARKS, "<", ">", "image", "s", " ", "/", "a"]), max_size=12))
def test_a_broken_text_holds_no_mark_and_only_spaces_more(parts: list[str]) -> None:
    text = "".join(parts)
    broken = as_words(text, MARKS, "here")
    assert not any(mark in broken for mark in MARKS)
    assert broken.replace(" ", "") == text.replace(" ", "")
    assert broken == text or any(mark in text for mark in MARKS)


@pytest.mark.parametrize("mark", ["#", " sign"])
def test_a_mark_that_a_space_does_not_break_is_named(mark: str) -> None:
    with pytest.raises(InputError, match=r"here: 'see the # *sign' holds '.*', which is no word but a mark"):
        as_words("see the # sign", ("<image>", mark), "here")


def test_added_words_that_are_no_marks_stay() -> None:
    class Token:
        def __init__(self, content: str, special: bool) -> None:
            self.content, self.special = content, special

    added = {3: Token("<image>", True), 4: Token("\n\n", False), 5: Token("<b>", False)}
    tokenizer = SimpleNamespace(added_tokens_decoder=added, all_special_tokens=("</s>",))
    processor = SimpleNamespace(tokenizer=tokenizer, video_token="<video>", boi_token=None)
    assert set(special_marks(processor)) == {"<image>", "</s>", "<video>"}


def reader(image: Image.Image, text: str) -> Any:
    """Refuses photographs that are one pixel high, texts with an x, and after ``broken`` everything."""
    if image.height == 1:
        raise ZeroDivisionError("division by zero")
    if "q" in text:
        raise InputError("model: no q")
    return text


def test_what_is_to_blame_is_named() -> None:
    good, bad = Image.new("RGB", (5, 5)), marked(Image.new("RGB", (5, 1)), "cot/a.jpg")
    assert read_by(reader, good, "a", "model") == "a"
    with pytest.raises(
        InputError, match=r"^cot/a\.jpg: photograph of 5 x 1 pixels: model cannot read it \(division"
    ):
        read_by(reader, bad, "a", "model")
    with pytest.raises(InputError, match=r"^the text 'is q\?': model: no q$"):
        read_by(reader, good, "is q?", "model")

    def broken(image: Image.Image, text: str) -> None:
        raise TypeError("no patch")

    with pytest.raises(InputError, match=r"^model: its processor fails \(no patch\)$"):
        read_by(broken, bad, "is q?", "model")
