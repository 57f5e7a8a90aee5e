"""A phrase's tokens are exactly its own words, wherever it stands."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from flmm.backbones.lmm import TransformersBackbone
from flmm.backbones.spans import pack, speak
from flmm.errors import InputError
from flmm.protocols import SEPARATOR, Answer, Piece
from tests.tiny_models import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
NARRATIVE = Answer(
    "narrative",
    (
        Piece("The dog", 0),
        Piece("barks.", -1),
        Piece("a café", 1),
        Piece(",", -1),
        Piece("the dog", 0),
        Piece("and", -1),
        Piece("a naïve 犬", 2),
        Piece(".", -1),
    ),
)


def test_tokens_of_a_phrase_decode_to_the_phrase() -> None:
    """At the start, after punctuation, repeated, with non-ASCII letters."""
    spoken = speak(NARRATIVE, TOKENIZER)
    assert spoken.texts == ("The dog", "a café", "the dog", "a naïve 犬")
    assert spoken.targets == (0, 1, 0, 2)
    for text, (start, end) in zip(spoken.texts, spoken.spans, strict=True):
        assert TOKENIZER.decode(spoken.tokens[start:end]).strip() == text


@given(st.lists(st.text(min_size=1, max_size=12).filter(str.strip), min_size=1, max_size=5))
def test_any_text_round_trips(phrases: list[str]) -> None:
    answer = Answer(
        "any", tuple(piece for n, text in enumerate(phrases) for piece in (Piece(text, n), SEPARATOR))
    )
    spoken = speak(answer, TOKENIZER)
    for text, (start, end) in zip(phrases, spoken.spans, strict=True):
        alone = TOKENIZER.encode(text, add_special_tokens=False)
        assert list(spoken.tokens[start:end]) == alone
        assert spoken.tokens[end] == TOKENIZER.encode(".")[-1]


def test_a_separator_is_one_token_of_no_phrase_and_a_narratives_full_stop_is_spoken_as_it_is() -> None:
    class TwoTokenStop:
        """A tokenizer that, as LLaMA's may, puts a word mark before a lone full stop."""

        def encode(self, text: str, add_special_tokens: bool) -> list[int]:
            assert not add_special_tokens
            return [7, 8] if text == "." else [5]

    assert speak(Answer("a", (Piece("x", 0), SEPARATOR)), TwoTokenStop()).tokens == (5, 8)
    assert speak(Answer("a", (Piece("x", 0), Piece(".", -1))), TwoTokenStop()).tokens == (5, 7, 8)


def test_empty_plain_pieces_add_nothing_and_empty_phrases_are_refused() -> None:
    assert speak(Answer("a", (Piece("", -1), Piece("dog", 0))), TOKENIZER).spans[0][0] == 0
    with pytest.raises(InputError, match=r"sample-7/paper: the phrase '' has no token"):
        speak(Answer("sample-7/paper", (Piece("", 0), SEPARATOR)), TOKENIZER)
    with pytest.raises(InputError, match="sample-8: an answer without any text"):
        speak(Answer("sample-8", ()), TOKENIZER)


def test_packed_answers_see_the_prompt_and_themselves_only() -> None:
    spoken = [speak(NARRATIVE, TOKENIZER), speak(Answer("b", (Piece("a star", 0), SEPARATOR)), TOKENIZER)]
    packed = pack(spoken, 3, torch.device("cpu"))
    first, second = (len(one.tokens) for one in spoken)
    mask = packed.mask[0, 0]
    assert mask[:, :3].all()
    assert torch.equal(mask[:first, 3 : 3 + first], torch.ones(first, first).tril().bool())
    assert torch.equal(mask[first:, 3 + first :], torch.ones(second, second).tril().bool())
    assert not mask[:first, 3 + first :].any() and not mask[first:, 3 : 3 + first].any()
    assert packed.positions[0].tolist() == [*range(3, 3 + first), *range(3, 3 + second)]
    assert torch.allclose(packed.merge.sum(1), torch.ones(5))


def test_answers_observed_together_equal_each_alone(
    backbone: TransformersBackbone, image: Image.Image
) -> None:
    answers = [NARRATIVE, Answer("b", (Piece("a star", 0), SEPARATOR)), Answer("none", (Piece("words", -1),))]
    together = backbone.observe(image, answers, "Please")
    assert [one.answer_id for one in together] == ["narrative", "b", "none"]
    assert together[2].attention[0].shape == (0, 12, 6, 6) and together[2].hidden == ()
    for answer, observed in zip(answers, together, strict=True):
        alone = backbone.observe(image, [answer], "Please")[0]
        assert torch.allclose(observed.attention[0], alone.attention[0], atol=1e-5, rtol=0)
        for a, b in zip(observed.hidden, alone.hidden, strict=True):
            assert torch.allclose(a, b, atol=1e-4, rtol=1e-5)


def test_prompt_text_and_image_positions_are_as_recorded(
    backbone: TransformersBackbone, image: Image.Image
) -> None:
    """docs/families.md, LLaVA-1.5: vicuna template, BOS, no system message, the image first."""
    encoded = backbone.encode(image, "Please give me a description of the image.")
    ids = encoded.inputs["input_ids"][0]
    text = backbone.tokenizer.decode(ids.tolist())
    assert text == f"<s> USER: {'<image>' * 36} \nPlease give me a description of the image. ASSISTANT:"
    start = int(encoded.columns[0][0])
    assert start == len(backbone.tokenizer.encode("USER: "))
    assert encoded.columns[0].tolist() == list(range(start, start + 36))


def test_an_answer_longer_than_the_context_is_refused(
    backbone: TransformersBackbone, image: Image.Image
) -> None:
    with pytest.raises(
        InputError, match=r"long-one: \d+ prompt and \d+ answer tokens exceed the 512 positions of"
    ):
        backbone.observe(image, [Answer("long-one", (Piece("star " * 600, 0),))], "Please")
    with pytest.raises(InputError, match="exceed the 512 positions"):
        backbone.generate(image, "Please", max_new_tokens=500, tap=False)
