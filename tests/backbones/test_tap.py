"""The tap reads what eager attention would show, and changes nothing."""

import threading
from typing import Any

import pytest
import torch
import transformers
from PIL import Image

from flmm.backbones.lmm import Prompt, TransformersBackbone
from flmm.backbones.tap import Rows
from flmm.protocols import GROUNDING_PROMPT as PROMPT
from flmm.protocols import SEPARATOR, Answer, Piece

ANSWERS = [
    Answer("first", (Piece("the red circle", 0), SEPARATOR)),
    Answer("second", (Piece("a star", 1), SEPARATOR, Piece("the dog left of the star", 0), SEPARATOR)),
    Answer("third", (Piece("café", 2), SEPARATOR)),
]
Model = Any


def plain(backbone: TransformersBackbone, implementation: str) -> Model:
    """The same weights without the tap."""
    model = transformers.AutoModelForImageTextToText.from_pretrained(
        backbone.name, attn_implementation=implementation, dtype=torch.float32
    )
    return model.eval()


def whole(
    backbone: TransformersBackbone, encoded: Prompt, answer: Answer
) -> tuple[torch.Tensor, list[list[int]]]:
    """Prompt and answer as one sequence (1, S), and per phrase its tokens' places in it."""
    ids, places = encoded.inputs["input_ids"][0].tolist(), []
    for piece in answer.pieces:
        new = backbone.tokenizer.encode(piece.text, add_special_tokens=False)
        new = new[-1:] if piece is SEPARATOR else new
        if piece.target >= 0:
            places.append(list(range(len(ids), len(ids) + len(new))))
        ids += new
    return torch.tensor([ids]), places


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.answer_id)
def test_observed_attention_and_hidden_states_equal_eager_output_attentions(
    backbone: TransformersBackbone, image: Image.Image, answer: Answer
) -> None:
    """Covers shared prefix and packing too: all answers are observed together, eager sees one whole."""
    observed = backbone.observe(image, ANSWERS, PROMPT)[ANSWERS.index(answer)]
    encoded = backbone.encode(image, PROMPT)
    ids, places = whole(backbone, encoded, answer)
    with torch.no_grad():
        output = plain(backbone, "eager")(
            input_ids=ids,
            pixel_values=encoded.inputs["pixel_values"],
            output_attentions=True,
            output_hidden_states=True,
        )
    columns, grid = encoded.columns[0], encoded.grids[0]
    layers = torch.cat(output.attentions)  # (L, M, S, S)
    states = torch.cat(output.hidden_states[-len(output.attentions) :])  # (L, S, D)
    assert observed.targets == tuple(piece.target for piece in answer.pieces if piece.target >= 0)
    for phrase, tokens in enumerate(places):
        rows = layers[:, :, tokens][..., columns].mean(dim=2)  # (L, M, N)
        expected = rows.flatten(0, 1).reshape(-1, grid.rows, grid.columns)
        assert torch.allclose(observed.attention[0][phrase], expected, atol=1e-5, rtol=0)
        assert torch.allclose(observed.hidden[phrase], states[:, tokens], atol=1e-4, rtol=1e-5)


def test_rows_of_a_left_padded_batch_equal_eager(backbone: TransformersBackbone, image: Image.Image) -> None:
    encoded = backbone.encode(image, PROMPT)
    short, long = (whole(backbone, encoded, answer)[0][0] for answer in (ANSWERS[0], ANSWERS[1]))
    padding = len(long) - len(short)
    ids = torch.stack([torch.cat([torch.zeros(padding, dtype=torch.long), short]), long])
    mask = torch.ones_like(ids)
    mask[0, :padding] = 0
    inputs = {
        "input_ids": ids,
        "attention_mask": mask,
        "position_ids": (mask.cumsum(1) - 1).clamp(min=0),
        "pixel_values": encoded.inputs["pixel_values"].repeat(2, 1, 1, 1),
    }
    last, columns = torch.tensor([ids.shape[1] - 3, ids.shape[1] - 1]), encoded.columns[0]
    rows = [Rows(0, last, columns + padding, torch.eye(2)), Rows(1, last, columns, torch.eye(2))]
    with torch.no_grad(), backbone.tap.reading(rows) as recording:
        logits = backbone.model(**inputs).logits
    with torch.no_grad():
        eager = plain(backbone, "eager")(**inputs, output_attentions=True)
        sdpa = plain(backbone, "sdpa")(**inputs)
    layers = torch.stack(eager.attentions)  # (L, B, M, S, S)
    for sequence, places in enumerate((columns + padding, columns)):
        expected = layers[:, sequence][:, :, last][..., places].permute(2, 0, 1, 3).flatten(1, 2)  # (R, C, N)
        assert torch.allclose(recording.attention(sequence), expected, atol=1e-5, rtol=0)
    assert torch.equal(logits[mask.bool()], sdpa.logits[mask.bool()])


@pytest.mark.parametrize("armed", [False, True])
def test_outputs_are_bit_equal_to_plain_sdpa(
    backbone: TransformersBackbone, image: Image.Image, armed: bool
) -> None:
    inputs = backbone.encode(image, PROMPT).inputs
    rows = [Rows(0, torch.tensor([5, 9]), torch.arange(4), torch.eye(2))]
    with torch.no_grad():
        expected = plain(backbone, "sdpa")(**inputs, output_hidden_states=True)
        with backbone.tap.reading(rows if armed else []):
            found = backbone.model(**inputs, output_hidden_states=True)
    assert torch.equal(found.logits, expected.logits)
    assert all(map(torch.equal, found.hidden_states, expected.hidden_states))


def test_only_the_language_model_attends_through_the_tap(backbone: TransformersBackbone) -> None:
    assert backbone.model.config.text_config._attn_implementation == "flmm_tap"
    assert backbone.model.config.vision_config._attn_implementation == "sdpa"


def test_generated_tokens_attention_equals_eager(backbone: TransformersBackbone, image: Image.Image) -> None:
    answer = backbone.generate(image, PROMPT, max_new_tokens=6, tap=True)
    assert answer.observation is not None
    fed = len(answer.observation.targets)
    assert fed == 5 and answer.observation.targets == tuple(range(fed))
    encoded = backbone.encode(image, PROMPT)
    start = encoded.length
    ids = torch.cat([encoded.inputs["input_ids"][0], torch.tensor(answer.tokens)])[None]
    with torch.no_grad():
        output = plain(backbone, "eager")(
            input_ids=ids,
            pixel_values=encoded.inputs["pixel_values"],
            output_attentions=True,
            output_hidden_states=True,
        )
    layers = torch.cat(output.attentions)[:, :, start : start + fed][
        ..., encoded.columns[0]
    ]  # (L, M, fed, N)
    expected = layers.permute(2, 0, 1, 3).flatten(1, 2)
    assert torch.allclose(answer.observation.attention[0].flatten(2), expected, atol=1e-5, rtol=0)
    states = torch.cat(output.hidden_states[-backbone.layers :])
    for step, hidden in enumerate(answer.observation.hidden):
        assert torch.allclose(hidden[:, 0], states[:, start + step], atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("question", ["is there a dog?", "the star", PROMPT])
def test_answers_with_and_without_the_tap_equal_the_plain_models_token_for_token(
    backbone: TransformersBackbone, image: Image.Image, question: str
) -> None:
    tapped = backbone.generate(image, question, max_new_tokens=12, tap=True)
    silent = backbone.generate(image, question, max_new_tokens=12, tap=False)
    inputs = backbone.encode(image, question).inputs
    model = plain(backbone, "sdpa")
    expected = model.generate(**inputs, max_new_tokens=12, do_sample=False)[
        0, inputs["input_ids"].shape[1] :
    ].tolist()
    expected = expected[:-1] if expected[-1] == backbone.tokenizer.eos_token_id else expected
    assert tapped.tokens == silent.tokens == tuple(expected)
    assert silent.observation is None


def test_another_thread_and_another_model_are_not_read(
    backbone: TransformersBackbone, image: Image.Image
) -> None:
    inputs = backbone.encode(image, PROMPT).inputs
    other = plain(backbone, "sdpa")
    other.set_attn_implementation({"text_config": "flmm_tap"})
    rows = [Rows(0, torch.tensor([0]), torch.arange(4), torch.eye(1))]
    with torch.no_grad(), backbone.tap.reading(rows) as recording:
        other(**inputs)
        thread = threading.Thread(target=lambda: backbone.model(**inputs))
        thread.start()
        thread.join()
        assert recording.empty
        backbone.model(**inputs)
        assert not recording.empty
    assert recording.attention().shape == (1, 12, 4)


def test_a_failed_forward_disarms_the_tap(backbone: TransformersBackbone, image: Image.Image) -> None:
    rows = [Rows(0, torch.tensor([0]), torch.arange(4), torch.eye(1))]
    with pytest.raises(RuntimeError), backbone.tap.reading(rows) as recording:
        raise RuntimeError
    with torch.no_grad():
        backbone.model(**backbone.encode(image, PROMPT).inputs)
    assert recording.empty


def test_no_weight_requires_grad_and_reading_leaves_every_weight_unchanged(
    backbone: TransformersBackbone, image: Image.Image
) -> None:
    before = backbone.weights_hash()
    observed = backbone.observe(image, ANSWERS, PROMPT)[0]
    backbone.generate(image, PROMPT, max_new_tokens=3, tap=True)
    assert not any(parameter.requires_grad for parameter in backbone.model.parameters())
    assert not backbone.model.training
    # A training step on what was read reaches the head alone.
    scale = torch.ones(1, requires_grad=True)
    (observed.attention[0] * scale).sum().backward()
    torch.optim.SGD([scale], lr=1.0).step()
    assert scale.item() != 1 and backbone.weights_hash() == before


def test_the_weights_hash_sees_one_changed_value(backbone: TransformersBackbone) -> None:
    before = backbone.weights_hash()
    bias = backbone.model.model.multi_modal_projector.linear_1.bias
    with torch.no_grad():
        bias[0] += 1
        assert backbone.weights_hash() != before
        bias[0] -= 1
    assert backbone.weights_hash() == before
