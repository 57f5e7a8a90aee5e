"""The tiny LMM's directory, tokenizer, prompts and packed training sequences."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

from flmm.shapes.corpus import IGNORE, Corpus, Encoder, collate, patch_labels
from flmm.shapes.drawing import SHAPES
from flmm.shapes.families import FAMILIES
from flmm.shapes.forward import language_loss, packed_hidden
from flmm.shapes.language import Turn, corpus_turns
from flmm.shapes.lmm import GRID, llava_pixels, normalise, padded_square, save_model
from flmm.shapes.scenes import COLOURS, TEXTURES, make_scene, scene_seed
from flmm.shapes.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def built() -> tuple[Any, Any]:
    model, processor = FAMILIES["llava"].build(0)
    return model.eval(), processor


def test_tokenizer_is_the_same_every_time() -> None:
    assert train_tokenizer(scenes=50).get_vocab() == train_tokenizer(scenes=50).get_vocab()


def test_words_of_the_grammar_are_single_tokens(built: tuple[Any, Any]) -> None:
    encode = built[1].tokenizer.encode
    for word in [
        *COLOURS,
        *SHAPES,
        *TEXTURES,
        "two",
        "squares",
        "crosses",
        "left",
        "above",
        "Yes",
        "No",
        "B",
    ]:
        assert len(encode(word, add_special_tokens=False)) == 1, word


@pytest.mark.parametrize("text", ["the red circle", "Grüße, 漢字 🙂!", "a\nb", "<image"])
def test_any_text_survives_the_tokenizer(built: tuple[Any, Any], text: str) -> None:
    tokenizer = built[1].tokenizer
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids).strip() == text
    assert tokenizer.encode(text) == [tokenizer.bos_token_id, *ids]


def test_a_phrase_alone_has_the_tokens_it_has_in_a_sentence(built: tuple[Any, Any]) -> None:
    encoder = Encoder(built[1])
    whole = encoder.piece("in this image i can see a red circle above the sky .")
    parts = ["in this image i can see", "a red circle", "above", "the sky", "."]
    assert whole == [i for part in parts for i in encoder.piece(part)]


def test_chat_template(built: tuple[Any, Any]) -> None:
    content = [{"type": "image"}, {"type": "text", "text": "Hello?"}]
    turns: list[dict[str, Any]] = [{"role": "user", "content": content}]
    template = built[1].apply_chat_template
    assert template(turns, add_generation_prompt=True) == "USER: <image>\nHello? ASSISTANT:"
    answered = [*turns, {"role": "assistant", "content": [{"type": "text", "text": "Yes"}]}]
    assert template(answered) == "USER: <image>\nHello? ASSISTANT: Yes</s>"


def test_saved_directory_loads_and_sees_the_same(built: tuple[Any, Any], tmp_path: Path) -> None:
    model, processor = built
    save_model(model, processor, tmp_path)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 8e6
    again = AutoProcessor.from_pretrained(tmp_path)
    loaded = LlavaForConditionalGeneration.from_pretrained(tmp_path)
    scene = make_scene(3)
    text = again.apply_chat_template(
        [
            {
                "role": "user",
                "content": [{"type": "image"}, {"type": "text", "text": "Is there a red circle?"}],
            }
        ],
        add_generation_prompt=True,
    )
    inputs = again(images=Image.fromarray(padded_square(scene.image)), text=text, return_tensors="pt")
    expected = normalise(torch.from_numpy(llava_pixels(scene.image).copy())[None])
    assert (inputs["pixel_values"] - expected).abs().max() < 0.02
    with torch.no_grad():
        assert torch.allclose(loaded(**inputs).logits, model(**inputs).logits, atol=1e-5)


def test_packed_conversations_do_not_see_each_other(built: tuple[Any, Any]) -> None:
    """Each packed conversation has the logits it has alone behind the image, through the real model."""
    model, processor = built
    scene = make_scene(11)
    encoder = Encoder(processor)
    turns = [
        *corpus_turns(scene, random.Random(0))[:3],
        Turn("Why?", ("because", "."), "describe", dotted=True),
    ]
    pixels = llava_pixels(scene.image)
    batch = collate([(pixels, patch_labels(scene), encoder.pack(turns))])
    image = normalise(batch.pixels)
    with torch.no_grad():
        _, features = FAMILIES["llava"].features(model, image)
        packed = model.lm_head(packed_hidden(model, features, batch))[0]
        for k, turn in enumerate(turns, start=1):
            question, answer = encoder.conversation(turn)
            ids = torch.tensor([encoder.prefix + question + answer])
            alone = model(input_ids=ids, pixel_values=image, attention_mask=torch.ones_like(ids)).logits[0]
            mine = (batch.segments[0] == k).nonzero()[:, 0]
            assert torch.allclose(packed[mine], alone[len(encoder.prefix) :], atol=1e-4)


def test_only_answers_are_learnt(built: tuple[Any, Any]) -> None:
    encoder = Encoder(built[1])
    turns = corpus_turns(make_scene(4), random.Random(0))
    packed = encoder.pack(turns)
    labelled = [i for i, label in enumerate(packed.labels) if label != IGNORE]
    assert [packed.ids[i] for i in labelled] == [packed.labels[i] for i in labelled]
    assert sum(packed.ids[i] == encoder.tokenizer.eos_token_id for i in labelled) == len(turns)
    assert all((packed.weights[i] > 0) == (i in set(labelled)) for i in range(len(packed.ids)))


def test_patch_labels_follow_the_padding() -> None:
    scene = make_scene(scene_seed("test", 0, 1))
    labels = patch_labels(scene).reshape(3, GRID, GRID)
    assert labels[0].any() and labels[1].any()
    pad_rows, pad_columns = (192 - scene.height) // 2 // 16, (192 - scene.width) // 2 // 16
    inside = np.zeros((GRID, GRID), dtype=bool)
    inside[pad_rows : GRID - pad_rows, pad_columns : GRID - pad_columns] = True
    assert not labels[:, ~inside].any()
    assert (labels[2][inside] > 0).mean() > 0.4


def test_corpus_items_depend_on_seed_and_index_only(built: tuple[Any, Any]) -> None:
    first, again, other = (Corpus("llava", built[1], seed, 5)[2] for seed in (0, 0, 1))
    assert np.array_equal(first[0], again[0]) and first[2] == again[2]
    assert first[2] != other[2]


def test_padding_changes_no_loss(built: tuple[Any, Any]) -> None:
    model, processor = built
    corpus = Corpus("llava", processor, 0, 4)
    items = [corpus[i] for i in range(2)]
    family = FAMILIES["llava"]
    with torch.no_grad():
        both, *_ = language_loss(model, family, collate(items))
        each = [language_loss(model, family, collate([item]))[0] for item in items]
    totals = [sum(item[2].weights) for item in items]
    mean = sum(float(loss) * total for loss, total in zip(each, totals, strict=True)) / sum(totals)
    assert float(both) == pytest.approx(mean, abs=1e-4)
