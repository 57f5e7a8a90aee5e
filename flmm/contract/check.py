"""The contract that every backbone keeps, as measurements: for the tests and for `flmm backbones check`.

Each check takes a loaded backbone and a photograph and returns findings; none changes the model. Legend: L layers,
M heads, C = L x M channels, S tokens of a sequence, N image columns.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from PIL import Image

from flmm.backbones.lmm import Prompt, TransformersBackbone
from flmm.backbones.spans import speak
from flmm.backbones.tap import IMPLEMENTATION, Rows
from flmm.contract.findings import Finding, noise
from flmm.contract.geometry import geometry
from flmm.protocols import GROUNDING_PROMPT, SEPARATOR, Answer, Piece

ANSWERS = (
    Answer("first", (Piece("the red circle", 0), SEPARATOR)),
    Answer("second", (Piece("a star", 1), SEPARATOR, Piece("the dog left of the star", 0), SEPARATOR)),
    Answer("third", (Piece("café", 2), SEPARATOR)),
)
NARRATIVE = Answer(
    "narrative",
    (
        Piece("The dog", 0),
        Piece("barks.", -1),
        Piece("a café", 1),
        Piece(",", -1),
        Piece("the dog", 0),
        Piece("and", -1),
        Piece("a naïve fox", 2),
        Piece(".", -1),
    ),
)
PHOTOGRAPHS = ((96, 192), (192, 96), (120, 120), (97, 61))  # (height, width)
ATTENTION_TOLERANCE = 1e-5
HIDDEN_TOLERANCE = 1e-4


def check(backbone: TransformersBackbone) -> Iterator[Finding]:
    """Every property of the contract, one after the other; a model in float32 is compared to 1e-5."""
    before = backbone.weights_hash()
    image = noise(40, 60)
    backbone.read(image, GROUNDING_PROMPT)  # a processor that fails says so in one sentence
    yield observed_attention(backbone, image)
    yield padded_attention(backbone, image)
    yield generated_attention(backbone, image)
    yield outputs(backbone, image)
    for height, width in PHOTOGRAPHS:
        yield geometry(backbone, height, width)
    yield phrases(backbone)
    yield answers(backbone, image)
    yield frozen(backbone, before)


@contextlib.contextmanager
def attending(backbone: TransformersBackbone, implementation: str) -> Iterator[Any]:
    """The same model with another attention in its language model, such as eager, inside the block."""
    backbone.model.set_attn_implementation({"text_config": implementation})
    try:
        yield backbone.model
    finally:
        backbone.model.set_attn_implementation({"text_config": IMPLEMENTATION})


def whole(encoded: Prompt, tokens: Sequence[int]) -> dict[str, torch.Tensor]:
    """The prompt's inputs followed by ``tokens``, as one sequence (1, S)."""
    shape = encoded.inputs["input_ids"].shape
    inputs = {}
    for name, value in encoded.inputs.items():
        if value.shape == shape:  # a value per token: ids, mask, or the type of each token
            fill = {"input_ids": list(tokens), "attention_mask": [1] * len(tokens)}.get(
                name, [0] * len(tokens)
            )
            value = torch.cat([value, torch.tensor([fill], dtype=value.dtype, device=value.device)], dim=1)
        inputs[name] = value
    return inputs


@torch.no_grad()
def _eager(
    backbone: TransformersBackbone, inputs: dict[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention (L, B, M, S, S) and hidden states (L, B, S, D) of a whole sequence under eager attention."""
    with attending(backbone, "eager") as model:
        output = model(**inputs, output_attentions=True, output_hidden_states=True)
    return torch.stack(output.attentions), torch.stack(output.hidden_states[-backbone.layers :])


def observed_attention(backbone: TransformersBackbone, image: Image.Image) -> Finding:
    """All answers observed together after one prompt equal each whole under eager ``output_attentions=True``."""
    encoded = backbone.encode(image, GROUNDING_PROMPT)
    columns = torch.cat(encoded.columns)
    maps = states = 0.0
    for answer, observed in zip(ANSWERS, backbone.observe(image, ANSWERS, GROUNDING_PROMPT), strict=True):
        spoken = speak(answer, backbone.tokenizer)
        layers, hidden = _eager(backbone, whole(encoded, spoken.tokens))
        for phrase, (first, last) in enumerate(spoken.spans):
            rows = slice(encoded.length + first, encoded.length + last)
            expected = layers[:, 0, :, rows][..., columns].mean(dim=2).flatten(0, 1)  # (C, N)
            found = torch.cat([grid[phrase].flatten(1) for grid in observed.attention], dim=1)
            maps = max(maps, _apart(found, expected))
            states = max(states, _apart(observed.hidden[phrase], hidden[:, 0, rows]))
    return _equal("attention behind a shared prompt", maps, states)


@torch.no_grad()
def padded_attention(backbone: TransformersBackbone, image: Image.Image) -> Finding:
    """Rows read in a left-padded batch of two equal eager's."""
    encoded = backbone.encode(image, GROUNDING_PROMPT)
    sequences = [whole(encoded, speak(answer, backbone.tokenizer).tokens) for answer in ANSWERS[:2]]
    inputs, padding = _left_padded(sequences, encoded, backbone.tokenizer.pad_token_id or 0)
    length = inputs["input_ids"].shape[1]
    last, columns = torch.tensor([length - 3, length - 1]), torch.cat(encoded.columns)
    rows = [Rows(i, last, columns + pad, torch.eye(2)) for i, pad in enumerate(padding)]
    with backbone.tap.reading(rows) as recording:
        backbone.model(**inputs)
    layers, _ = _eager(backbone, inputs)
    apart = 0.0
    for i, pad in enumerate(padding):
        expected = layers[:, i][:, :, last][..., columns + pad].permute(2, 0, 1, 3).flatten(1, 2)  # (R, C, N)
        apart = max(apart, _apart(recording.attention(i), expected))
    return _equal("attention in a left-padded batch", apart)


def _left_padded(
    sequences: Sequence[dict[str, torch.Tensor]], encoded: Prompt, pad_token: int
) -> tuple[dict[str, torch.Tensor], list[int]]:
    """A batch of sequences padded on the left, and how far each is."""
    length = max(sequence["input_ids"].shape[1] for sequence in sequences)
    padding = [length - sequence["input_ids"].shape[1] for sequence in sequences]
    inputs = {}
    for name, value in encoded.inputs.items():
        parts = [sequence[name] for sequence in sequences]
        if value.shape == encoded.inputs["input_ids"].shape:
            fill = pad_token if name == "input_ids" else 0
            parts = [
                torch.nn.functional.pad(part, (pad, 0), value=fill)
                for part, pad in zip(parts, padding, strict=True)
            ]
        inputs[name] = torch.cat(parts)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    for i, pad in enumerate(padding):
        inputs["attention_mask"][i, :pad] = 0
    return inputs, padding


def generated_attention(backbone: TransformersBackbone, image: Image.Image) -> Finding:
    """The maps of generated tokens equal eager's over prompt and answer as one sequence."""
    answer = backbone.generate(image, GROUNDING_PROMPT, max_new_tokens=6, tap=True)
    name = "attention while generating"
    if answer.observation is None:
        return Finding(name, False, "the model ended its answer at once: nothing to compare")
    encoded = backbone.encode(image, GROUNDING_PROMPT)
    fed = len(answer.observation.targets)
    layers, hidden = _eager(backbone, whole(encoded, answer.tokens))
    rows = slice(encoded.length, encoded.length + fed)
    columns = torch.cat(encoded.columns)
    expected = layers[:, 0, :, rows][..., columns].permute(2, 0, 1, 3).flatten(1, 2)  # (fed, C, N)
    found = torch.cat([grid.flatten(2) for grid in answer.observation.attention], dim=2)
    states = torch.cat(answer.observation.hidden, dim=1)
    return _equal(f"{name} ({fed} tokens)", _apart(found, expected), _apart(states, hidden[:, 0, rows]))


@torch.no_grad()
def outputs(backbone: TransformersBackbone, image: Image.Image) -> Finding:
    """Logits and hidden states with the tap armed are bit-equal to plain SDPA's."""
    inputs = backbone.encode(image, GROUNDING_PROMPT).inputs
    with attending(backbone, "sdpa") as model:
        expected = model(**inputs, output_hidden_states=True)
    rows = [Rows(0, torch.tensor([1, 3]), torch.arange(2), torch.eye(2))]
    with backbone.tap.reading(rows) as recording:
        found = backbone.model(**inputs, output_hidden_states=True)
    same = torch.equal(found.logits, expected.logits) and all(
        map(torch.equal, found.hidden_states, expected.hidden_states)
    )
    apart = _apart(found.logits, expected.logits)
    return Finding(
        "outputs with the tap",
        same and not recording.empty,
        "bit-equal" if same else f"differ by {apart:.1e}",
    )


def phrases(backbone: TransformersBackbone) -> Finding:
    """The tokens of a phrase decode to the phrase: at the start, repeated, after punctuation, non-ASCII."""
    spoken = speak(NARRATIVE, backbone.tokenizer)
    decoded = [backbone.tokenizer.decode(spoken.tokens[first:last]).strip() for first, last in spoken.spans]
    wrong = [f"{a!r} for {b!r}" for a, b in zip(decoded, spoken.texts, strict=True) if a != b]
    return Finding("phrases", not wrong, "; ".join(wrong) or f"{len(decoded)} phrases decode to themselves")


def answers(backbone: TransformersBackbone, image: Image.Image) -> Finding:
    """Generated answers with the tap, without it, asked together, and of plain SDPA are equal token for token."""
    questions = ("Is there a dog?", "the star", GROUNDING_PROMPT)
    same = 0
    together = list(backbone.answer(image, questions, max_new_tokens=12, tap=True))
    for question, spoken in zip(questions, together, strict=True):
        tapped = backbone.generate(image, question, max_new_tokens=12, tap=True).tokens
        silent = backbone.generate(image, question, max_new_tokens=12, tap=False).tokens
        with attending(backbone, "sdpa"):
            plain = backbone.generate(image, question, max_new_tokens=12, tap=False).tokens
        same += spoken.tokens == tapped == silent == plain
    return Finding("answers", same == len(questions), f"{same} of {len(questions)} equal token for token")


def frozen(backbone: TransformersBackbone, before: str) -> Finding:
    """No weight requires grad, and a head's training step leaves the weights' hash (``before``) as it was."""
    observed = backbone.observe(noise(40, 60), ANSWERS[:1], GROUNDING_PROMPT)[0]
    scale = torch.ones(1, requires_grad=True)
    (observed.attention[0] * scale).sum().backward()  # type: ignore[no-untyped-call]
    torch.optim.SGD([scale], lr=1.0).step()
    trainable = sum(parameter.requires_grad for parameter in backbone.model.parameters())
    same = backbone.weights_hash() == before and not backbone.model.training
    detail = f"weights {'unchanged' if same else 'changed'}, {trainable} of them require grad"
    return Finding("frozen", same and not trainable, detail)


def _apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    if found.shape != expected.shape:
        return float("inf")
    return float((found.float().cpu() - expected.float().cpu()).abs().max())


def _equal(name: str, maps: float, states: float | None = None) -> Finding:
    """Whether both lie within their tolerance; ``states`` None: not measured, and not spoken of."""
    if states is None:
        return Finding(name, maps <= ATTENTION_TOLERANCE, f"maps differ by {maps:.1e}")
    holds = maps <= ATTENTION_TOLERANCE and states <= HIDDEN_TOLERANCE
    return Finding(name, holds, f"maps differ by {maps:.1e}, hidden states by {states:.1e}")


CHECKS: dict[str, Callable[[TransformersBackbone, Image.Image], Finding]] = {
    "observed": observed_attention,
    "padded": padded_attention,
    "generated": generated_attention,
    "outputs": outputs,
    "answers": answers,
}
