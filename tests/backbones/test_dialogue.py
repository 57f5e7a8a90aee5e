"""Several turns with every family: what plain greedy generation says, whatever else the model does in between."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import DynamicCache

from flmm.backbones.dialogue import Dialogue
from flmm.backbones.lmm import TransformersBackbone
from flmm.errors import InputError
from flmm.protocols import Answer, Piece

QUESTIONS = ("the red circle is", "a dog", "where is it?")
NEW = 6


@torch.no_grad()
def plain(backbone: TransformersBackbone, image: Image.Image, tokens: tuple[int, ...]) -> list[int]:
    """What the model alone says after a conversation's tokens, all of them read anew in one forward."""
    inputs = dict(backbone.read(image, QUESTIONS[0]).inputs)
    new = torch.tensor([tokens])
    for name in ("token_type_ids", "mm_token_type_ids"):  # 0: a word
        if name in inputs:
            words = new.shape[1] - inputs[name].shape[1]
            inputs[name] = torch.nn.functional.pad(inputs[name], (0, words))
    inputs |= {"input_ids": new, "attention_mask": torch.ones_like(new)}
    found = backbone.model.generate(**inputs, past_key_values=DynamicCache(), max_new_tokens=NEW)
    said = found[0, len(tokens) :].tolist()
    return said[:-1] if said[-1] in backbone.model.generation_config.eos_token_id else said


def answered(dialogue: Dialogue, question: str) -> tuple[tuple[int, ...], list[int]]:
    """The conversation's tokens before an answer, and the answer's."""
    said = list(dialogue.say(question, max_new_tokens=NEW))
    dialogue.keep()
    return dialogue.tokens[: len(dialogue.tokens) - len(said)], said


def maps(dialogue: Dialogue) -> list[float]:
    """What the tap read of the latest answer; nothing of one that ended at once."""
    said = dialogue.last
    assert said is not None
    return said.observation.attention[-1].flatten().tolist() if said.observation else []


def test_every_turn_is_the_plain_models(any_backbone: TransformersBackbone, image: Image.Image) -> None:
    dialogue = any_backbone.converse(image)
    for question in QUESTIONS:
        before, said = answered(dialogue, question)
        assert said == plain(any_backbone, image, before)


def test_conversations_do_not_disturb_each_other(
    any_backbone: TransformersBackbone, image: Image.Image
) -> None:
    """The model keeps what it read last; a picture of another size in between must not move anybody's positions."""
    other = Image.fromarray(np.random.default_rng(1).integers(0, 255, (90, 30, 3), dtype=np.uint8))
    alone = any_backbone.converse(image)
    expected = [(answered(alone, question), maps(alone)) for question in QUESTIONS]
    dialogue, second = any_backbone.converse(image), any_backbone.converse(other)
    found = []
    for question in QUESTIONS:
        found.append((answered(dialogue, question), maps(dialogue)))
        answered(second, question)
        any_backbone.observe(other, [Answer("x", (Piece("a dog", 0),))], "x")
    assert found == expected
    assert found[0][1]  # something was read


def test_other_work_between_two_tokens_changes_nothing(
    any_backbone: TransformersBackbone, image: Image.Image
) -> None:
    other = Image.fromarray(np.random.default_rng(1).integers(0, 255, (90, 30, 3), dtype=np.uint8))
    expected = answered(any_backbone.converse(image), QUESTIONS[0])[1]
    first, second = any_backbone.converse(image), any_backbone.converse(other)
    pieces: list[Iterator[int]] = [each.say(QUESTIONS[0], max_new_tokens=NEW) for each in (first, second)]
    assert [mine for mine, _ in itertools.zip_longest(*pieces) if mine is not None] == expected


def test_an_abandoned_answer_never_undoes_a_later_one(
    any_backbone: TransformersBackbone, image: Image.Image
) -> None:
    """Its generator may live on, in a traceback or in a web server's queue."""
    dialogue, undisturbed = any_backbone.converse(image), any_backbone.converse(image)
    abandoned = dialogue.say("never mind", max_new_tokens=NEW)
    next(abandoned)
    expected = [answered(undisturbed, question) for question in QUESTIONS]
    found = [answered(dialogue, QUESTIONS[0])]
    with pytest.raises(InputError, match="'never mind': another question was asked before the answer's end"):
        next(abandoned)
    abandoned.close()
    found += [answered(dialogue, question) for question in QUESTIONS[1:]]
    assert found == expected


@pytest.mark.parametrize("turns", [0, 1])
def test_a_forward_that_was_broken_off_between_two_layers_leaves_no_trace(
    backbone: TransformersBackbone, image: Image.Image, turns: int
) -> None:
    """Ctrl-C comes anywhere: the first layers have read a token then, and the others have not."""
    dialogue, undisturbed = backbone.converse(image), backbone.converse(image)
    expected = [answered(undisturbed, question) for question in QUESTIONS]
    found = [answered(dialogue, question) for question in QUESTIONS[:turns]]
    pieces = dialogue.say("never mind", max_new_tokens=NEW)
    next(pieces)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    hook = backbone.model.get_decoder().layers[1].register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        next(pieces)
    hook.remove()
    found += [answered(dialogue, question) for question in QUESTIONS[turns:]]
    assert found == expected


def test_a_turn_that_was_not_kept_is_forgotten(backbone: TransformersBackbone, image: Image.Image) -> None:
    dialogue = backbone.converse(image)
    assert list(dialogue.say("never mind", max_new_tokens=NEW))
    assert answered(dialogue, QUESTIONS[0]) == answered(backbone.converse(image), QUESTIONS[0])
