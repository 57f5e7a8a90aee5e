"""Grounder: the pipeline's own numbers for anybody's picture, and sentences where something does not fit."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image
from safetensors.torch import save_file

import flmm
from flmm import shipped
from flmm.backbones import load
from flmm.backbones.base import Generation, Grid, HeadInput, Observation
from flmm.data.geometry import View
from flmm.errors import InputError, StepError
from flmm.evaluation.engine import to_masks
from flmm.heads.checkpoint import HeadConfig, save_head
from flmm.heads.model import HeadOutput, build_head
from flmm.heads.sam import SamSegmenter, build_sam
from flmm.keywords import FILE, KeywordConfig, KeywordSelector
from flmm.params import BackboneEntry, Head
from flmm.phrases import phrase_spans
from flmm.predictor import Grounder
from flmm.protocols import GROUNDING_PROMPT, SEPARATOR, Answer, Piece
from tests.heads.conftest import TINY_SAM
from tests.tiny_models import save_llava

HEIGHT, WIDTH = 40, 60


class Parts:
    """A random LLaVA, a random SAM and a random head, as directories."""

    def __init__(self, root: Path) -> None:
        self.root, self.model, self.sam, self.head = root, root / "llava", root / "sam", root / "train"
        self.entry: BackboneEntry = save_llava(self.model)
        torch.manual_seed(0)
        self.segmenter = SamSegmenter(build_sam(TINY_SAM))
        self.sam.mkdir()
        (self.sam / "config.json").write_text(json.dumps(TINY_SAM))
        save_file(self.segmenter.model.state_dict(), self.sam / "model.safetensors")
        self.write_head()

    def write_head(self, **sizes: Any) -> None:
        values = {"channels": 12, "layers": 3, "hidden_width": 32} | sizes
        head = build_head(Head(base_channels=4, upsample=16), segmenter=self.segmenter, seed=1, **values)
        config = HeadConfig(
            backbone="mine", segmenter="tiny", side=48, base_channels=4, upsample=16, **values
        )
        save_head(self.head / "head.safetensors", head, config)

    def load(self, **changes: Any) -> Grounder:
        given = {"model": self.model, "segmenter": self.sam, "device": "cpu"} | changes
        return Grounder.load(given.pop("head", self.head), **given)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    return Parts(tmp_path_factory.mktemp("grounder"))


@pytest.fixture(scope="module")
def grounder(parts: Parts) -> Grounder:
    return parts.load()


def picture(seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_the_package_imports_no_torch_before_the_grounder_is_asked_for() -> None:
    code = "import sys, flmm; assert 'torch' not in sys.modules; flmm.Grounder; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert flmm.Grounder is Grounder
    with pytest.raises(AttributeError, match="no attribute 'Segmentor'"):
        _ = flmm.Segmentor  # type: ignore[attr-defined]


def test_masks_boxes_and_scores_are_those_of_the_evaluation(grounder: Grounder, parts: Parts) -> None:
    phrases = ["the red circle", "a star"]
    found = grounder.ground(picture(), phrases)
    assert found.phrases == tuple(phrases) and len(found) == 2
    assert (found.masks.shape, found.masks.dtype) == ((2, HEIGHT, WIDTH), np.bool_)
    backbone = load(parts.entry, dtype="float32", device="cpu")
    embedding = parts.segmenter.embed(picture())
    for number, text in enumerate(phrases):
        seen = backbone.observe(picture(), [Answer("x", (Piece(text, 0), SEPARATOR))], GROUNDING_PROMPT)[0]
        with torch.inference_mode():
            output = grounder.head([seen.head_input((HEIGHT, WIDTH))], [embedding])[0]
        mask = to_masks(output.refined, (HEIGHT, WIDTH), "here")[0]
        assert np.array_equal(found.masks[number], mask)
        assert np.array_equal(found.coarse[number], to_masks(output.coarse, (HEIGHT, WIDTH), "here")[0])
        if mask.any():
            probability = output.refined[0].sigmoid().numpy()
            assert found.scores[number] == pytest.approx(probability[mask].mean(), abs=1e-6)
            left, top, right, bottom = found.boxes[number]
            assert mask[top:bottom, left:right].sum() == mask.sum()
            assert (
                mask[top].any()
                and mask[bottom - 1].any()
                and mask[:, left].any()
                and mask[:, right - 1].any()
            )
        else:
            assert found.scores[number] == 0 and not found.boxes[number].any()


def test_a_phrase_does_not_depend_on_its_neighbours(grounder: Grounder) -> None:
    together, alone = (
        grounder.ground(picture(), ["a star", "the sky"]),
        grounder.ground(picture(), ["the sky"]),
    )
    assert (together.masks[1] != alone.masks[0]).mean() < 0.001
    assert together.scores[1] == pytest.approx(alone.scores[0], abs=1e-4)


def test_a_path_and_other_colour_modes_are_pictures_too(grounder: Grounder, tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    expected = grounder.ground(picture(), ["a star"]).masks
    for image in (tmp_path / "a.png", str(tmp_path / "a.png"), picture().convert("RGBA")):
        assert np.array_equal(grounder.ground(image, ["a star"]).masks, expected)


def test_photographs_are_seen_as_people_see_them(grounder: Grounder, tmp_path: Path) -> None:
    """Turned upright by EXIF, 16 bits scaled to 8."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    picture().transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    expected = grounder.ground(picture(), ["a star"]).masks
    assert np.array_equal(grounder.ground(tmp_path / "turned.png", ["a star"]).masks, expected)
    grey = np.asarray(picture().convert("L"))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    expected = grounder.ground(Image.fromarray(grey), ["a star"]).masks
    assert np.array_equal(grounder.ground(deep, ["a star"]).masks, expected)


def test_masks_that_are_not_finite_are_an_error(parts: Parts) -> None:
    broken = Listener(firmness=float("nan"))
    grounder = Grounder(parts.load().backbone, broken, parts.segmenter)
    with pytest.raises(StepError, match="the masks are not finite"):
        grounder.ground(picture(), ["a star"])


def test_a_picture_that_was_changed_is_another_picture(grounder: Grounder) -> None:
    """Its embedding is kept for the next question, by content and not by object."""
    image = picture()
    grounder.ground(image, ["a star"])
    image.paste(picture(1))
    assert np.array_equal(
        grounder.ground(image, ["a star"]).masks, grounder.ground(picture(1), ["a star"]).masks
    )


def test_an_answer_is_the_models_own_and_its_phrases_have_masks(grounder: Grounder) -> None:
    said = grounder.answer(picture(), "what is it", max_new_tokens=8)
    plain = grounder.backbone.generate(picture(), "what is it", max_new_tokens=8, tap=False)
    assert said.text == grounder.backbone.decode(plain.tokens)
    assert said.grounded.phrases == tuple(said.text[start:end] for start, end in said.spans)
    assert said.grounded.masks.shape == (len(said.spans), HEIGHT, WIDTH)
    assert set(said.spans) <= set(phrase_spans(said.text))


class Speaker:
    """Says "The red  star, a moon" in these tokens; the last one's row was not read."""

    tokens = ("The", " re", "d ", " star", ",", " a", " moon")

    def generate(self, image: Image.Image, question: str, **settings: Any) -> Generation:
        read = len(self.tokens) - 1
        maps = torch.arange(read).float()[:, None, None, None].expand(read, 12, 6, 6)
        hidden = tuple(torch.full((3, 1, 32), float(token)) for token in range(read))
        grid = Grid("image", 6, 6, View(48, 48, 0, 0, 48, 48))
        seen = Observation(question, tuple(range(read)), self.tokens[:read], (maps,), hidden, (grid,))
        return Generation(tuple(range(len(self.tokens))), seen)

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(self.tokens[token] for token in tokens).strip()


class Listener:
    """Remembers what it is given."""

    def __init__(self, firmness: float = 1.0) -> None:
        self.seen: list[HeadInput] = []
        self.firmness = firmness

    def __call__(self, inputs: Sequence[HeadInput], embeddings: Sequence[torch.Tensor]) -> list[HeadOutput]:
        self.seen += inputs
        return [
            HeadOutput(torch.ones(1, 4, 4), torch.full((1, *each.image_size), self.firmness))
            for each in inputs
        ]


def test_a_phrase_of_an_answer_is_the_mean_of_its_tokens(parts: Parts) -> None:
    listener, speaker = Listener(), Speaker()
    said = Grounder(speaker, listener, parts.segmenter).answer(picture(), "what?")  # type: ignore[arg-type]
    # "moon" was the token whose attention nobody read.
    assert (said.text, said.grounded.phrases) == ("The red  star, a moon", ("red  star",))
    assert said.spans == ((4, 13),)
    assert [float(each.attention[0].mean()) for each in listener.seen] == [2.0]  # tokens 1, 2 and 3
    assert listener.seen[0].hidden[0][0, :, 0].tolist() == [1.0, 2.0, 3.0]
    assert said.grounded.scores[0] == pytest.approx(torch.ones(1).sigmoid().item())
    assert said.grounded.boxes.tolist() == [[0, 0, WIDTH, HEIGHT]]


def selector(**changes: Any) -> KeywordSelector:
    """Chooses the tokens whose first hidden value is above 2.5."""
    values = {"backbone": "mine", "hidden_width": 32, "threshold": 0.5, "key": "k"} | changes
    weight = torch.zeros(values["hidden_width"])
    weight[0] = 1.0
    return KeywordSelector(weight, torch.tensor(-2.5), KeywordConfig(**values))


def test_the_keyword_selector_says_which_words_are_grounded(parts: Parts) -> None:
    grounder = Grounder(Speaker(), Listener(), parts.segmenter, selector())  # type: ignore[arg-type]
    said = grounder.answer(picture(), "what?")
    assert said.grounded.phrases == ("star", "a")  # tokens 3 and 5; "red" is 1 and 2, "moon" was not read


@pytest.mark.parametrize("place", [f"head/{FILE}", f"keywords/{FILE}"])
def test_the_keyword_selector_lies_beside_its_head(parts: Parts, tmp_path: Path, place: str) -> None:
    shutil.copytree(parts.head, tmp_path / "head")
    head = tmp_path / "head" / "head.safetensors"
    assert parts.load(head=head).keywords is None
    selector().save(tmp_path / place)
    assert parts.load(head=tmp_path / "head").keywords is not None
    selector(hidden_width=16).save(tmp_path / place)
    with pytest.raises(
        InputError, match="was fitted for mine of hidden width 16, but the head is for mine of 32"
    ):
        parts.load(head=head)
    selector(backbone="other").save(tmp_path / place)
    with pytest.raises(InputError, match="was fitted for other of hidden width 32"):
        parts.load(head=head)


def test_an_empty_answer_has_no_masks(grounder: Grounder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(grounder.backbone), "generate", lambda *_, **__: Generation((), None))
    said = grounder.answer(picture(), "what is it")
    assert (said.text, said.spans, said.grounded.masks.shape) == ("", (), (0, HEIGHT, WIDTH))
    assert said.grounded.boxes.shape == (0, 4) and said.grounded.scores.shape == (0,)


@pytest.mark.parametrize(
    ("image", "phrases", "message"),
    [
        ("none.png", ["a"], "none.png: cannot be read as a picture"),
        (np.zeros((4, 4, 3)), ["a"], "image: expected a PIL image or a path, got ndarray"),
        (None, [], "phrases: the list is empty"),
        (None, "a star", r"phrases: expected a list of texts, got one text; write \['a star'\]"),
        (None, ["a", "  "], "phrases: number 2 is '  '"),
        (None, ["a", 3], "phrases: number 2 is 3"),
    ],
)
def test_what_cannot_be_grounded_is_said(grounder: Grounder, image: Any, phrases: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        grounder.ground(picture() if image is None else image, phrases)


def test_a_file_that_is_no_picture_is_named(grounder: Grounder, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("text")
    with pytest.raises(InputError, match=r"a\.png: not a readable picture"):
        grounder.ground(tmp_path / "a.png", ["a"])
    picture().save(tmp_path / "b.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:200])
    with pytest.raises(InputError, match="image: not a readable picture"):
        grounder.ground(Image.open(tmp_path / "b.png"), ["a"])
    with pytest.raises(InputError, match="question: expected a text"):
        grounder.answer(picture(), " ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": "nowhere"}, "nowhere: no such file or folder, and not a model that ships .*shapes-llava"),
        ({"model": None}, "trained for mine, which does not ship with the package; say where it is: model="),
        ({"segmenter": None}, "trained with segmenter tiny, which does not ship .*segmenter="),
        ({"model": "owner/hub-name"}, "owner/hub-name: .*say it: family=<one of .*llava"),
        ({"family": "nofamily"}, "unknown backbone family 'nofamily'"),
        ({"segmenter": "nosam"}, "segmenter tiny: neither nosam nor nosam exists"),
    ],
)
def test_what_cannot_be_loaded_is_said(parts: Parts, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        parts.load(**changes)


def test_a_head_of_another_backbone_is_refused_before_the_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Parts(tmp_path)
    other.write_head(channels=24, hidden_width=16)
    monkeypatch.setattr("flmm.backbones.load", lambda *_, **__: pytest.fail("loaded"))
    with pytest.raises(InputError, match="channels 24 instead of 12, hidden_width 16 instead of 32"):
        other.load()


@pytest.fixture
def untrained_shapes_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package's folder of heads, with one of the right sizes for shapes-llava."""
    monkeypatch.setattr(shipped, "HEADS", tmp_path / "heads")
    segmenter = SamSegmenter.load(shipped.MODELS / "shapes-sam")
    values = {"channels": 16, "layers": 4, "hidden_width": 128}
    head = build_head(Head(base_channels=4, upsample=16), segmenter=segmenter, seed=1, **values)
    config = HeadConfig(
        backbone="shapes-llava", segmenter="shapes-sam", side=192, base_channels=4, upsample=16, **values
    )
    save_head(tmp_path / "heads" / "shapes-llava" / "head.safetensors", head, config)
    return tmp_path / "heads"


def test_a_shipped_model_needs_nothing_but_its_name(
    untrained_shapes_head: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does the quickstart: its own lines, in a folder with a picture."""
    page = (Path(__file__).parents[1] / "docs" / "quickstart.md").read_text()
    lines = re.search(r"```python\n(from flmm import Grounder\n.*?)```", page, re.DOTALL)
    assert lines
    picture().save(tmp_path / "picture.png")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(lines[1], names)
    assert names["found"].masks.shape == (2, HEIGHT, WIDTH)
    assert names["said"].text


def test_a_head_that_did_not_come_with_the_package_is_missed_in_a_sentence(
    untrained_shapes_head: Path,
) -> None:
    with pytest.raises(
        InputError, match=r"the head of shapes-deepseek-vl does not come .*shapes-deepseek-vl/train"
    ):
        Grounder.load("shapes-deepseek-vl")


def test_the_family_of_every_shipped_model_is_told_by_its_directory() -> None:
    sizes = {"side": 192, "channels": 1, "layers": 1, "hidden_width": 1, "base_channels": 1, "upsample": 1}
    found = {}
    for name in shipped.models():
        config = HeadConfig(backbone=name, segmenter="shapes-sam", **sizes)
        found[name] = shipped.model_entry(Path("h"), config, None, None, None, False).family
    assert found == {
        "shapes-deepseek-vl": "deepseek_vl",
        "shapes-llava": "llava",
        "shapes-llava-next": "llava_next",
    }


@pytest.mark.parametrize("name", shipped.models())
def test_shipped_heads_find_what_is_named(name: str) -> None:
    if not (shipped.HEADS / name / shipped.HEAD_FILE).is_file():
        pytest.skip(f"the head of {name} is not in this checkout")
    image = Image.new("RGB", (96, 96), (200, 220, 255))
    image.paste((220, 30, 30), (10, 50, 40, 80))
    found = Grounder.load(name, device="cpu").ground(image, ["the red square"])
    left, top, right, bottom = found.boxes[0]
    assert left < 40 and right > 10 and top < 80 and bottom > 50


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("The red circle is left of a star.", ["red circle", "left", "star"]),
        ("Yes.", ["Yes"]),
        ("a large blue square, two trees", ["large blue square", "two trees"]),
        ("It is the man's T-shirt", ["man's T-shirt"]),
        ("B", ["B"]),
        ("ein roter Kreis", ["ein roter Kreis"]),
        ("…", []),
        ("", []),
    ],
)
def test_phrases_of_an_answer(text: str, phrases: list[str]) -> None:
    assert [text[start:end] for start, end in phrase_spans(text)] == phrases


@given(st.text(max_size=60))
def test_phrases_of_any_text_follow_each_other_and_hold_words(text: str) -> None:
    spans = phrase_spans(text)
    assert all(start < end and text[start:end] == text[start:end].strip() for start, end in spans)
    assert all(first[1] <= second[0] for first, second in pairwise(spans))
    assert bool(spans) == any(character.isalnum() for character in text)
