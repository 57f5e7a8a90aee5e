"""Conversations and second looks: what is taught is true, in the very tokens that the product feeds."""

import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from flmm import Grounder
from flmm.backbones.lmm import TransformersBackbone
from flmm.shapes.mirror.viscot import marked
from flmm.shapes.world.scenes import Scene, make_scene, scene_seed
from recipes.corpus import Corpus, collate
from recipes.families import FAMILIES
from recipes.forward import language_loss
from recipes.language import Turn
from recipes.looks import crop, matter_turns, second_look
from recipes.packing import IGNORE, Encoder
from recipes.talk import DESCRIBE, WHAT_COLOUR, WHERE_IS_IT, conversation, talking_turns

SHIPPED = {"llava": "shapes-llava", "llava_next": "shapes-llava-next", "deepseek_vl": "shapes-deepseek-vl"}
MODELS = Path(__file__).parents[2] / "flmm/shapes/models"


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [make_scene(scene_seed("test-talking", 0, i)) for i in range(60)]


@pytest.fixture(scope="module", params=list(SHIPPED))
def lmm(request: pytest.FixtureRequest) -> tuple[TransformersBackbone, Encoder]:
    backbone = Grounder.load(SHIPPED[request.param]).backbone
    assert isinstance(backbone, TransformersBackbone)
    return backbone, Encoder(backbone.processor, FAMILIES[request.param])


def _turns(scenes: list[Scene]) -> Iterator[tuple[Scene, Turn]]:
    for number, scene in enumerate(scenes):
        last = conversation(scene, random.Random(number))
        yield from ((scene, turn) for turn in (*last.earlier, last))


def test_sentences_tell_the_truth_of_what_they_point_at(scenes: list[Scene]) -> None:
    pointed = 0
    for scene, turn in _turns(scenes):
        if turn.kind != "talk and point" or turn.prompt in DESCRIBE:
            continue
        things = [t for t in scene.things if any(region is t.mask for region in turn.regions)]
        stuff = [r for r in scene.stuff if any(region is r.mask for region in turn.regions)]
        assert len(things) + len(stuff) == 1
        pointed += 1
        words = " ".join(turn.pieces)
        if stuff:
            assert words == f"the {stuff[0].name}" and stuff[0].place in turn.prompt
            continue
        (thing,) = things
        assert thing.shape in words
        assert thing.colour in words
        if " is at the " in words:
            down = "top" if thing.cy < scene.height / 2 else "bottom"
            across = "left" if thing.cx < scene.width / 2 else "right"
            assert words.endswith(f"{down} {across}")
    assert pointed > 30


def test_a_question_that_leans_on_the_one_before_is_about_the_same_thing(scenes: list[Scene]) -> None:
    leaning = 0
    for number, scene in enumerate(scenes):
        last = conversation(scene, random.Random(number))
        said = [*last.earlier, last]
        for before, turn in pairwise(said):
            if turn.prompt not in (WHERE_IS_IT, WHAT_COLOUR):
                continue
            leaning += 1
            told, now = " ".join(before.pieces).split(), " ".join(turn.pieces).split()
            shapes = {thing.shape for thing in scene.things}
            assert shapes & set(told) & set(now)
    assert leaning > 10


def test_answers_in_a_conversation_are_either_said_or_given(scenes: list[Scene]) -> None:
    for _, turn in _turns(scenes):
        pointing = any(region is not None for region in turn.regions)
        assert pointing == (turn.kind == "talk and point")
        assert (not any(turn.learnt)) if pointing else (not turn.learnt or any(turn.learnt))


def test_a_later_question_has_the_tokens_that_a_conversation_feeds(
    lmm: tuple[TransformersBackbone, Encoder],
) -> None:
    backbone, encoder = lmm
    scene = make_scene(5)
    dialogue = backbone.converse(Image.fromarray(scene.image))
    first = Turn("What do you see?", (), "talk")
    answer = list(dialogue.say(first.prompt, max_new_tokens=4))
    dialogue.keep()
    before = list(dialogue.tokens)
    question, _ = encoder.conversation(first)
    assert before == [*encoder.prefix([(scene.height, scene.width)]), *question, *answer]
    answer = list(dialogue.say(WHERE_IS_IT, max_new_tokens=1))
    end = backbone.tokenizer.eos_token_id
    assert list(dialogue.tokens[len(before) :]) == [end, *encoder.later(WHERE_IS_IT), *answer]


def test_two_pictures_have_the_tokens_and_the_pixels_of_a_second_look(
    lmm: tuple[TransformersBackbone, Encoder], scenes: list[Scene]
) -> None:
    backbone, encoder = lmm
    family = FAMILIES[backbone.model.config.model_type]
    pairs = 0
    for number, scene in enumerate(scenes):
        shown, turns = second_look(scene, random.Random(number)) or ([], [])
        if len(shown) < 2:
            continue
        pairs += 1
        inputs = backbone.several([Image.fromarray(each.image) for each in shown], turns[0].prompt)
        sizes = [(each.height, each.width) for each in shown]
        question, _ = encoder.conversation(turns[0])
        assert inputs["input_ids"][0].tolist() == [*encoder.prefix(sizes), *question]
        pixels = np.stack([family.pixels(each.image) for each in shown])
        seen = inputs["pixel_values"].reshape(-1, *inputs["pixel_values"].shape[-3:])
        mine = torch.from_numpy(pixels.reshape(-1, *pixels.shape[-3:]).copy()).permute(0, 3, 1, 2)
        # The border of a part whose sides are odd may lie a pixel off.
        assert ((seen * 0.5 + 0.5) * 255 - mine).abs().mean() < 4
    assert pairs > 10


def test_the_part_shows_the_mark_where_its_label_says(scenes: list[Scene]) -> None:
    found = 0
    for number, scene in enumerate(scenes):
        mark = marked(scene, random.Random(number))
        if mark is None:
            continue
        found += 1
        rows, columns = np.nonzero(mark.thing.mask)
        box = (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)
        part = crop(mark, box)
        on = part.things[-1]
        assert on.shape == mark.shape and on.colour == mark.colour
        around = next(t for t in part.things if t.name == mark.thing.name)
        overlap = np.count_nonzero(on.mask & around.mask)  # bicubic edges
        assert on.mask.any() and overlap < 0.1 * np.count_nonzero(on.mask)
        assert max(part.image.shape[:2]) == max(scene.image.shape[:2])
        # The mark has another colour than what it is on.
        inside, outside = part.image[on.mask].mean(axis=0), part.image[around.mask].mean(axis=0)
        assert np.abs(inside - outside).max() > 25
    assert found > 30


def test_what_matters_to_a_question_is_named(scenes: list[Scene]) -> None:
    for number, scene in enumerate(scenes):
        (turn,) = matter_turns(scene, random.Random(number))
        names = [thing.name for thing in scene.things] + [f"the {region.name}" for region in scene.stuff]
        assert turn.pieces[0] in names


def test_pictures_of_a_batch_are_read_in_the_order_of_its_conversations() -> None:
    """The loss of items together is that of each alone, weighed: no item reads another's pictures."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(MODELS / "shapes-llava").eval()
    processor = AutoProcessor.from_pretrained(MODELS / "shapes-llava")
    corpus = Corpus("llava", processor, 0, 8, "test-looks", talking_turns, second_look)
    items = [corpus[i] for i in range(8)]
    assert {len(pixels) for pixels, _, _ in items} == {1, 2}
    losses, weights = [], []
    with torch.no_grad():
        together, _ = language_loss(model, FAMILIES["llava"], collate(items))
        for item in items:
            batch = collate([item])
            losses.append(language_loss(model, FAMILIES["llava"], batch)[0])
            weights.append(batch.weights[:, 1:][batch.labels[:, 1:] != IGNORE].sum())
    alone = sum(loss * weight for loss, weight in zip(losses, weights, strict=True)) / sum(weights)
    assert torch.allclose(together, torch.as_tensor(alone), rtol=1e-4)
