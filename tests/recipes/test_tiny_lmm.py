"""The tiny LMM's directory, tokenizer, prompts and packed training sequences."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

from flmm import backbones
from flmm.backbones.lmm import TransformersBackbone
from flmm.params import BackboneEntry
from flmm.shapes.world.drawing import SHAPES
from flmm.shapes.world.scenes import COLOURS, TEXTURES, Scene, make_scene, scene_seed
from recipes.corpus import Corpus, collate
from recipes.families import FAMILIES
from recipes.forward import language_loss, packed_hidden, picture_features
from recipes.language import Turn, corpus_turns
from recipes.lmm import Family, normalise, padded_square, save_model, take_over
from recipes.packing import IGNORE, Encoder
from recipes.tokenizer import train_tokenizer

FAMILY = FAMILIES["llava_base"]
GRID = 12


def size_of(scene: Scene) -> tuple[int, int]:
    return scene.height, scene.width


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
    encoder = Encoder(built[1], FAMILY)
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
    expected = normalise(torch.from_numpy(FAMILY.pixels(scene.image).copy())[None])
    assert (inputs["pixel_values"] - expected).abs().max() < 0.02
    with torch.no_grad():
        assert torch.allclose(loaded(**inputs).logits, model(**inputs).logits, atol=1e-5)


@pytest.mark.parametrize("seed", [3, 11, 12, 13, 14])
def test_training_and_the_processor_make_the_same_of_a_picture(
    any_built: tuple[Family, Any, Any], seed: int
) -> None:
    """Pixels, count of image tokens and the model's own packing, for pictures of several shapes."""
    family, model, processor = any_built
    scene = make_scene(seed)
    tiled = "Next" in type(processor).__name__  # the others see a padded square
    image = Image.fromarray(scene.image if tiled else padded_square(scene.image))
    inputs = processor(
        images=image, text=processor.tokenizer.decode([processor.image_token_id]), return_tensors="pt"
    )
    pixels = normalise(torch.from_numpy(family.pixels(scene.image).copy())[None])
    assert inputs["pixel_values"].shape == pixels.shape
    assert (inputs["pixel_values"] - pixels).abs().mean() < 0.01
    wanted = int((inputs["input_ids"] == processor.image_token_id).sum())
    assert family.image_tokens(*size_of(scene)) == wanted
    with torch.no_grad():
        packed = family.features(model, inputs["pixel_values"], torch.tensor([size_of(scene)])).packed
        rest = {k: v for k, v in inputs.items() if k in ("pixel_values", "image_sizes")}
        own = model.model.get_image_features(**rest).pooler_output
    assert torch.allclose(packed, torch.cat([each.reshape(-1, packed.shape[1]) for each in own]), atol=1e-5)


def test_the_model_learns_the_prompt_that_its_family_asks_with(
    any_built: tuple[Family, Any, Any], tmp_path: Path
) -> None:
    """The recipe's prompt is the chat template's; the backbone's is the authors': they must be the same tokens."""
    family, model, processor = any_built
    save_model(model, processor, tmp_path)
    entry = BackboneEntry(
        suite="shapes",
        family=model.config.model_type,
        model=str(tmp_path),
        revision=None,
        trust_remote_code=False,
    )
    scene, question = make_scene(12), "Is there a red star?\nA. Yes"
    backbone = backbones.load(entry, dtype="float32", device="cpu")
    assert isinstance(backbone, TransformersBackbone)
    asked = backbone.encode(Image.fromarray(scene.image), question).inputs["input_ids"][0].tolist()
    encoder = Encoder(processor, family)
    learnt, _ = encoder.conversation(Turn(question, ("Yes",), "existence"))
    assert asked == [*encoder.prefix([size_of(scene)]), *learnt]


def test_labels_belong_to_the_patches_that_show_them(any_built: tuple[Family, Any, Any]) -> None:
    """One label of each kind for every patch, and none of a shape that is not in the scene."""
    family, model, _ = any_built
    for seed in range(5):
        scene = make_scene(scene_seed("test-labels", 0, seed))
        labels = family.labels(scene)
        pixels = normalise(torch.from_numpy(family.pixels(scene.image).copy())[None])
        with torch.no_grad():
            features = family.features(model, pixels, torch.tensor([size_of(scene)]))
        assert labels.shape == (4, features.patches.shape[1]) == (4, features.tokens.shape[1])
        assert set(labels[1][labels[1] > 0]) <= {1 + SHAPES.index(thing.shape) for thing in scene.things}
        assert (labels[0] > 0).sum() == (labels[1] > 0).sum() > 0


@pytest.mark.parametrize("name", ["llava", "llava_next"])
def test_a_tower_is_taken_over_with_its_positions_on_another_grid(tmp_path: Path, name: str) -> None:
    donor, processor = FAMILY.build(1)
    places = donor.model.vision_tower.embeddings.position_embedding.weight
    with torch.no_grad():  # a ramp from left to right: the same ramp on any grid
        across = torch.arange(GRID).repeat(GRID) + 0.5
        places[1:] = (across / GRID)[:, None].expand(-1, places.shape[1])
    save_model(donor, processor, tmp_path)
    model, _ = FAMILIES[name].build(2)
    assert take_over(model, tmp_path)
    taken = model.model.vision_tower.embeddings.position_embedding.weight[1:, 0]
    side = round(len(taken) ** 0.5)
    ramp = taken.reshape(side, side)[0]
    assert torch.allclose(ramp, (torch.arange(side) + 0.5) / side, atol=0.02)
    assert torch.equal(model.model.language_model.norm.weight, donor.model.language_model.norm.weight)
    first = "encoder.layers.0.mlp.fc1.weight"
    taken_tower, tower = (each.model.vision_tower.state_dict() for each in (model, donor))
    name_of = next(key for key in tower if key.endswith(first))
    assert torch.equal(taken_tower[name_of], tower[name_of])


def test_packed_conversations_do_not_see_each_other(built: tuple[Any, Any]) -> None:
    """Each packed conversation has the logits it has alone after the image, through the real model."""
    model, processor = built
    scene = make_scene(11)
    encoder = Encoder(processor, FAMILY)
    turns = [
        *corpus_turns(scene, random.Random(0))[:3],
        Turn("Why?", ("because", "."), "describe", dotted=True),
    ]
    pixels = FAMILY.pixels(scene.image)
    batch = collate([(pixels[None], FAMILY.labels(scene)[None], encoder.pack(turns, [size_of(scene)]))])
    image = normalise(batch.pixels)
    prefix = encoder.prefix([size_of(scene)])
    with torch.no_grad():
        images = picture_features(model, FAMILY, batch).packed
        packed = model.lm_head(packed_hidden(model, images, batch))[0]
        for k, turn in enumerate(turns, start=1):
            question, answer = encoder.conversation(turn)
            ids = torch.tensor([prefix + question + answer])
            alone = model(input_ids=ids, pixel_values=image, attention_mask=torch.ones_like(ids)).logits[0]
            mine = (batch.segments[0] == k).nonzero()[:, 0]
            assert torch.allclose(packed[mine], alone[len(prefix) :], atol=1e-4)


def test_only_answers_are_learnt(built: tuple[Any, Any]) -> None:
    encoder = Encoder(built[1], FAMILY)
    scene = make_scene(4)
    turns = corpus_turns(scene, random.Random(0))
    packed = encoder.pack(turns, [size_of(scene)])
    labelled = [i for i, label in enumerate(packed.labels) if label != IGNORE]
    assert [packed.ids[i] for i in labelled] == [packed.labels[i] for i in labelled]
    assert sum(packed.ids[i] == encoder.tokenizer.eos_token_id for i in labelled) == len(turns)
    assert all((packed.weights[i] > 0) == (i in set(labelled)) for i in range(len(packed.ids)))


def test_patch_labels_follow_the_padding() -> None:
    scene = make_scene(scene_seed("test", 0, 1))
    labels = FAMILY.labels(scene)[:3].reshape(3, GRID, GRID)
    assert labels[0].any() and labels[1].any()
    pad_rows, pad_columns = (192 - scene.height) // 2 // 16, (192 - scene.width) // 2 // 16
    inside = np.zeros((GRID, GRID), dtype=bool)
    inside[pad_rows : GRID - pad_rows, pad_columns : GRID - pad_columns] = True
    assert not labels[:, ~inside].any()
    assert (labels[2][inside] > 0).mean() > 0.4


def test_corpus_items_depend_on_seed_and_index_only(built: tuple[Any, Any]) -> None:
    first, again, other = (Corpus("llava_base", built[1], seed, 5)[2] for seed in (0, 0, 1))
    assert np.array_equal(first[0], again[0]) and first[2] == again[2]
    assert first[2] != other[2]


def test_padding_changes_no_loss(built: tuple[Any, Any]) -> None:
    model, processor = built
    corpus = Corpus("llava_base", processor, 0, 4)
    items = [corpus[i] for i in range(2)]
    family = FAMILY
    with torch.no_grad():
        both, *_ = language_loss(model, family, collate(items))
        each = [language_loss(model, family, collate([item]))[0] for item in items]
    totals = [sum(item[2].weights) for item in items]
    mean = sum(float(loss) * total for loss, total in zip(each, totals, strict=True)) / sum(totals)
    assert float(both) == pytest.approx(mean, abs=1e-4)
