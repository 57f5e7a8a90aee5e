"""Questions about one picture side by side, with every family: what each is answered and read of it alone."""

import pytest
import torch
from PIL import Image
from transformers import DynamicCache

from flmm.backbones import questions
from flmm.backbones.base import Generation
from flmm.backbones.lmm import TransformersBackbone

QUESTIONS = ("Is there a red circle?", "Is there a dog in the image?", " a star, or", "Is", "where is it?\nA. x")
NEW = 6


def alone(backbone: TransformersBackbone, image: Image.Image, tap: bool) -> list[Generation]:
    return [backbone.generate(image, each, max_new_tokens=NEW, tap=tap) for each in QUESTIONS]


def test_answers_and_what_is_read_of_them_are_those_of_each_question_alone(
    any_backbone: TransformersBackbone, image: Image.Image
) -> None:
    expected = alone(any_backbone, image, tap=True)
    plain = any_backbone.answer(image, QUESTIONS, max_new_tokens=NEW, tap=False)
    found = any_backbone.answer(image, QUESTIONS, max_new_tokens=NEW, tap=True)
    assert [each.tokens for each in found] == [each.tokens for each in plain]
    assert [each.tokens for each in found] == [each.tokens for each in expected]
    assert all(each.observation is None for each in plain)
    for each, other in zip(found, expected, strict=True):
        print(each.tokens)
        mine, theirs = each.observation, other.observation
        assert (mine is None) == (theirs is None)
        if mine is None or theirs is None:
            continue
        assert (mine.answer_id, mine.targets, mine.texts) == (theirs.answer_id, theirs.targets, theirs.texts)
        assert mine.grids == theirs.grids
        for a, b in zip(mine.attention, theirs.attention, strict=True):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=0)
        for a, b in zip(mine.hidden, theirs.hidden, strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-5)
