"""A fine-tuned LLaVA answers side by side what it answers alone, and its masks are those of its `[SEG]`."""

import random
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file

from flmm.errors import InputError
from flmm.heads.sam import SamSegmenter
from flmm.rivals.predict import SegModel, _agreed
from flmm.rivals.seg import FILE, question, reply
from flmm.shapes.world.expressions import sample_expressions
from flmm.shapes.world.scenes import make_scene, scene_seed

MODELS = Path(__file__).parents[2] / "flmm/shapes/models"
RIVAL = Path(__file__).parents[2] / "flmm/shapes/rivals/shapes-llava-seg"
END = 9


@pytest.fixture(scope="module")
def segmenter() -> SamSegmenter:
    return SamSegmenter.load(MODELS / "shapes-sam")


@pytest.fixture(scope="module")
def model(segmenter: SamSegmenter) -> SegModel:
    return SegModel.load(RIVAL, segmenter, dtype="float32", device="cpu")


def test_questions_side_by_side_are_answered_as_alone(model: SegModel) -> None:
    scene = make_scene(scene_seed("test-rival", 0, 1))
    image = Image.fromarray(scene.image)
    texts = ["the red star", "a circle on the left"]
    asked = [*map(question, texts), "Is there a red star in the image?", "What color is the star?\nB or C?"]
    alone = [model.backbone.generate(image, text, max_new_tokens=6, tap=False).tokens for text in asked]
    assert [said.tokens for said in model.answer(image, asked, 6)] == alone
    guesses = [reply(texts[0]), reply("nonsense"), ("Yes",), ()]
    said = model.answer(image, asked, 6, guesses)
    assert [each.tokens for each in said] == alone
    assert [len(each.states) for each in said] == [len(each.tokens) for each in said]


def test_the_shipped_rival_finds_what_it_is_asked_for(model: SegModel) -> None:
    overlap = union = 0
    for index in range(3):
        scene = make_scene(scene_seed("test-rival", 1, index))
        rng = random.Random(index)
        found = [each for i in range(len(scene.things)) for each in sample_expressions(scene, i, rng, 1)]
        masks = model.masks(Image.fromarray(scene.image), [each.text for each in found], 16)
        for each, mask in zip(found, masks, strict=True):
            truth = scene.things[each.thing].mask
            overlap += 0 if mask is None else int((mask & truth).sum())
            union += int(truth.sum()) if mask is None else int((mask | truth).sum())
    assert overlap / union > 0.5


def test_an_answer_without_the_token_has_no_mask(model: SegModel, monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.fromarray(make_scene(scene_seed("test-rival", 2, 0)).image)
    monkeypatch.setattr(model, "seg", -1)  # a token that is never said
    assert model.masks(image, ["the red star"], 4) == [None]


@given(
    st.lists(st.integers(0, END - 1), max_size=8),
    st.lists(st.integers(0, END), max_size=8),
    st.integers(0, 8),
)
def test_a_guess_changes_no_answer(answer: list[int], guess: list[int], said: int) -> None:
    """Of a model that says ``answer`` token by token, whatever it is told: ``said`` of them are said already."""
    told = [*answer[:said], *guess]
    greedy = [(answer + [END] * 20)[place] for place in range(len(told) + 1)]
    found, ended = _agreed(told, greedy, {END})
    assert found == answer[: len(found)]
    assert ended == (found == answer) or len(found) > len(answer[:said])  # it always gets on
    assert not ended or found == answer


def test_another_models_decoder_is_refused_with_its_file(segmenter: SamSegmenter, tmp_path: Path) -> None:
    for file in RIVAL.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / FILE)
    save_file({**weights, "projector.0.weight": torch.zeros(3, 3)}, tmp_path / FILE)
    with pytest.raises(InputError, match=FILE):
        SegModel.load(tmp_path, segmenter, dtype="float32", device="cpu")


def test_a_frozen_model_is_no_rival(segmenter: SamSegmenter) -> None:
    with pytest.raises(InputError, match=r"shapes-llava: no LLaVA with a token \[SEG\]"):
        SegModel.load(MODELS / "shapes-llava", segmenter, dtype="float32", device="cpu")
