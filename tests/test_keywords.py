"""The keyword selector: whole words, learned from what is there, and sentences where a file does not fit."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file

from flmm.backbones import load
from flmm.backbones.base import Told
from flmm.data.sample import Piece, Sample, Target, encode_rle, write_samples
from flmm.errors import InputError
from flmm.evaluation.chunks import noun_chunks
from flmm.evaluation.keywords import Narrative, fit, keywords, score
from flmm.keywords import FILE, METADATA_KEY, KeywordConfig, KeywordSelector
from flmm.params import Params, parse_params
from flmm.phrases import words
from flmm.protocols import GROUNDING_PROMPT, answers
from tests.tiny_models import save_llava

PARAMS = Path(__file__).parent.parent / "params.yaml"
CONFIG = KeywordConfig(backbone="mine", hidden_width=1, threshold=0.3, key="0" * 12)
# Logit = state: probabilities are chosen by `certain`.
SELECTOR = KeywordSelector(torch.ones(1), torch.zeros(()), CONFIG)


def certain(*probabilities: float) -> torch.Tensor:
    """States (T, 1) of which ``SELECTOR`` makes these probabilities."""
    return torch.tensor(probabilities, dtype=torch.float64).logit().float()[:, None]


@given(st.text("ab'é9_ .,-", max_size=30), st.data())
def test_words_are_never_split(text: str, data: st.DataObject) -> None:
    ends = data.draw(st.lists(st.integers(0, len(text)), max_size=12).map(sorted))
    logits = data.draw(st.lists(st.floats(-9, 9), max_size=len(ends), min_size=0))
    spans = SELECTOR.spans(text, ends, torch.tensor(logits).reshape(-1, 1))
    starts, stops = {start for start, _ in words(text)}, {end for _, end in words(text)}
    assert all(start in starts and end in stops for start, end in spans)
    borders = [place for span in spans for place in span]
    assert borders == sorted(set(borders))


def test_a_word_is_chosen_by_the_mean_of_its_tokens_and_neighbours_are_one_phrase() -> None:
    text, ends = "The red  star, moon", [3, 6, 7, 13, 14, 19]  # The| re|d|  star|,| moon
    assert SELECTOR.spans(text, ends, certain(0.1, 0.5, 0.2, 0.9, 0.9, 0.1)) == [(4, 13)]
    assert SELECTOR.spans(text, ends, certain(0.1, 0.5, 0.05, 0.9, 0.9, 0.1)) == [(9, 13)]  # red: 0.275
    assert SELECTOR.spans(text, ends, certain(0.9, 0.9, 0.9, 0.9, 0.1, 0.9)) == [(0, 13), (15, 19)]
    assert SELECTOR.spans(text, ends, certain(*[0.1] * 6)) == []


def test_a_word_that_is_not_read_whole_is_not_chosen_yet() -> None:
    text, ends = "red star", [2, 3, 8]  # re|d| star
    assert SELECTOR.spans(text, ends, certain(0.9)) == []
    assert SELECTOR.spans(text, ends, certain(0.9, 0.9)) == [(0, 3)]
    assert SELECTOR.spans(text, ends, certain(0.9, 0.9, 0.9)) == [(0, 8)]


def test_it_learns_what_can_be_told_apart_and_gives_the_same_bits_again() -> None:
    generator = torch.Generator().manual_seed(0)
    nouns = torch.rand(400, generator=generator) < 0.3
    states = torch.randn(400, 8, generator=generator) * torch.logspace(-2, 2, 8)
    states[:, 3] += 50 + 10 * nouns  # far from zero, and another scale than its neighbours
    weight, bias = fit(states, nouns, steps=50, weight_decay=1e-3)
    assert torch.equal((states @ weight + bias) > 0, nouns)
    again = fit(states, nouns, steps=50, weight_decay=1e-3)
    assert torch.equal(weight, again[0]) and torch.equal(bias, again[1])
    none = fit(torch.randn(400, 8, generator=generator), nouns, steps=50, weight_decay=1e-3)
    share = (torch.randn(400, 8, generator=generator) @ none[0] + none[1]).sigmoid().mean()
    assert share == pytest.approx(0.3, abs=0.1)  # classes as they fall


@pytest.mark.parametrize("nouns", [torch.zeros(3), torch.ones(3)])
def test_nothing_to_tell_apart_is_said(nouns: torch.Tensor) -> None:
    with pytest.raises(InputError, match="need words of grounded noun phrases and others"):
        fit(torch.randn(3, 2), nouns.bool(), steps=5, weight_decay=0.0)


def test_words_are_counted_over_all_narratives() -> None:
    # Found, of five words: red and moon. To be found: red and star. A comma is no word.
    told = Told("a red star, moon up", (1, 5, 10, 11, 16, 19), (0, 1, 1, 2, 2, 2), torch.zeros(6, 1))
    one = Narrative(told, torch.tensor([False, True, True, True, False, False]))
    found = score([one], lambda _: [(2, 5), (12, 16)])
    assert found == {"precision": 50.0, "recall": 50.0, "f1": 50.0}
    assert score([one], lambda _: [(0, 19)]) == {"precision": 40.0, "recall": 100.0, "f1": 400 / 7}
    assert score([one], lambda _: []) == {"precision": 0.0, "recall": 0.0, "f1": 0.0}


def test_noun_chunks_are_left_out_in_words_or_spacys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "spacy", None)
    assert noun_chunks() == "spaCy is not installed (pip install 'flmm[spacy]')"

    def absent(model: str) -> Any:
        raise OSError(f"[E050] Can't find model '{model}'.")

    monkeypatch.setitem(sys.modules, "spacy", SimpleNamespace(load=absent))
    why = noun_chunks()
    assert isinstance(why, str) and "python -m spacy download en_core_web_sm" in why
    chunk = SimpleNamespace(start_char=2, end_char=5)
    parsed = SimpleNamespace(noun_chunks=[chunk])
    monkeypatch.setitem(sys.modules, "spacy", SimpleNamespace(load=lambda _: lambda _: parsed))
    chunks = noun_chunks()
    assert not isinstance(chunks, str) and chunks("a cat") == [(2, 5)]


class TestFile:
    def test_what_is_written_is_read(self, tmp_path: Path) -> None:
        SELECTOR.save(tmp_path / FILE)
        found = KeywordSelector.load(tmp_path / FILE)
        assert found.config == CONFIG
        assert torch.equal(found.weight, SELECTOR.weight) and torch.equal(found.bias, SELECTOR.bias)
        SELECTOR.save(tmp_path / "again.safetensors")
        assert (tmp_path / FILE).read_bytes() == (tmp_path / "again.safetensors").read_bytes()

    @pytest.mark.parametrize(
        ("tensors", "metadata", "message"),
        [
            ({}, None, "no keyword selector"),
            ({}, "{", "metadata not JSON"),
            ({}, json.dumps(CONFIG.model_dump() | {"threshold": 2.0}), "metadata threshold"),
            ({"weight": torch.ones(2)}, None, "no keyword selector"),
            ({"weight": torch.ones(2), "bias": torch.zeros(())}, CONFIG.model_dump_json(), r"expected weight \(1,\)"),
            ({"weight": torch.ones(1)}, CONFIG.model_dump_json(), r"expected weight \(1,\)"),
            ({"weight": torch.ones(1) / 0, "bias": torch.zeros(())}, CONFIG.model_dump_json(), "not finite"),
        ],
    )  # fmt: skip
    def test_a_bad_file_is_a_sentence(
        self, tmp_path: Path, tensors: dict[str, torch.Tensor], metadata: str | None, message: str
    ) -> None:
        path = tmp_path / FILE
        save_file(tensors, path, metadata=None if metadata is None else {METADATA_KEY: metadata})
        with pytest.raises(InputError, match=message):
            KeywordSelector.load(path)

    def test_no_file_and_no_safetensors_are_sentences(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no such file; run keywords first"):
            KeywordSelector.load(tmp_path / FILE)
        (tmp_path / FILE).write_bytes(b"\x80\x04}.")
        with pytest.raises(InputError, match="not a readable safetensors file"):
            KeywordSelector.load(tmp_path / FILE)

    @pytest.mark.parametrize("changes", [{"hidden_width": 2}, {"backbone": "other"}])
    def test_one_of_another_backbone_is_refused(self, changes: dict[str, Any]) -> None:
        selector = KeywordSelector(torch.ones(1), torch.zeros(()), CONFIG.model_copy(update=changes))
        with pytest.raises(InputError, match="but the head is for mine of 1"):
            selector.check_fits(Path("x"), "mine", 1)


NARRATIVE = (
    Piece("There is", -1), Piece("a café", 0), Piece("near", -1), Piece("the red circle", 1), Piece(",", -1),
    Piece("it", 2), Piece(" shines.", -1),
)  # fmt: skip


def narrated(number: int) -> Sample:
    """Noise with a narrative; its last target is tied to "it", which is no noun."""
    mask = np.zeros((30, 40), dtype=bool)
    mask[3:9, 3:9] = True
    noun = Target("t", ("x",), encode_rle(mask), "dog", True, False)
    targets = (noun, noun, replace(noun, is_noun=False))
    name = f"{number:012d}.png"
    return Sample(f"s{number}", "png", "any", number, "train2014", name, 30, 40, targets, NARRATIVE)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> tuple[Params, Path]:
    """Params with a tiny random LLaVA; photographs of noise and samples in a folder."""
    folder = tmp_path_factory.mktemp("keywords")
    raw = yaml.safe_load(PARAMS.read_text())
    raw["catalogue"]["shapes-llava"]["model"] = save_llava(folder / "model").model
    raw["extract"]["device"] = "cpu"
    raw["suites"]["shapes"]["keywords"] = {"narratives": 3, "evaluation_narratives": 2}
    generator = np.random.default_rng(0)
    (folder / "train2014").mkdir()
    for number in range(5):
        pixels = generator.integers(0, 255, (30, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "train2014" / f"{number:012d}.png")
    write_samples(folder / "train.parquet", [narrated(number) for number in range(3)])
    write_samples(folder / "val.parquet", [narrated(number) for number in range(2, 5)])
    return parse_params(raw), folder


def test_a_narrative_is_told_token_by_token(project: tuple[Params, Path]) -> None:
    params, folder = project
    backbone = load(params.catalogue["shapes-llava"], dtype="float32", device="cpu")
    image = Image.open(folder / "train2014" / f"{0:012d}.png").convert("RGB")
    (answer,) = answers(narrated(0), "paper")
    told = backbone.tell(image, answer, GROUNDING_PROMPT)
    assert told.text == "There is a café near the red circle , it shines."
    assert len(told.ends) == len(told.pieces) == len(told.states)
    assert list(told.ends) == sorted(told.ends) and told.ends[-1] == len(told.text)
    last = dict(zip(told.pieces, told.ends, strict=True))
    assert [told.text[: last[piece]].endswith(NARRATIVE[piece].text.strip()) for piece in last] == [True] * 7
    # The same states as those that go with the attention.
    (seen,) = backbone.observe(image, [answer], GROUNDING_PROMPT)
    for piece, hidden in zip((1, 3, 5), seen.hidden, strict=True):
        own = told.states[[token for token, owner in enumerate(told.pieces) if owner == piece]]
        assert torch.equal(own, hidden[-1])


def test_the_step_writes_a_selector_and_its_scores_the_same_again(project: tuple[Params, Path]) -> None:
    params, folder = project
    train, val = [folder / "train.parquet"], [folder / "val.parquet"]
    for out in ("one", "two"):
        keywords(params, "shapes-llava", train, val, folder, folder / out, "k" * 12)
    found = json.loads((folder / "one" / "scores.json").read_text())
    assert (found["training_narratives"], found["evaluation_narratives"]) == (3, 2)
    # The rule: café, red, circle and shines, of the nouns "a café" and "the red circle".
    assert found["scores"]["rule"] == {"precision": 75.0, "recall": 60.0, "f1": pytest.approx(200 / 3)}
    assert {"linear", "spacy"} == found["scores"].keys() - {"rule"} | found["left_out"].keys()
    assert found["scores"]["linear"]["f1"] > 70  # of a random model, on three narratives
    for name in (FILE, "scores.json"):
        assert (folder / "one" / name).read_bytes() == (folder / "two" / name).read_bytes()
    selector = KeywordSelector.load(folder / "one" / FILE)
    assert selector.config == KeywordConfig(
        backbone="shapes-llava", hidden_width=32, threshold=0.3, key="k" * 12
    )


def test_no_narrative_is_said(project: tuple[Params, Path], tmp_path: Path) -> None:
    params, folder = project
    write_samples(tmp_path / "none.parquet", [])
    with pytest.raises(InputError, match=r"no narrative in .*none\.parquet"):
        keywords(params, "shapes-llava", [tmp_path / "none.parquet"], [], folder, tmp_path, "k")
