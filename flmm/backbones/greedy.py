"""Greedy answers: the settings that every model generates with, and an answer from several pictures."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from transformers import DynamicCache, GenerationConfig

from flmm.backbones.words import as_words, read_by
from flmm.errors import SecondPictureError

if TYPE_CHECKING:
    from flmm.backbones.lmm import TransformersBackbone


def greedy(config: Any, tokenizer: Any) -> GenerationConfig:
    """Greedy decoding with the model's own end tokens; hub models ship sampling and penalties."""
    end = config.eos_token_id if config.eos_token_id is not None else tokenizer.eos_token_id
    ends = end if isinstance(end, list) else [end]
    padding = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
    settings = {"do_sample": False, "num_beams": 1, "eos_token_id": ends, "pad_token_id": padding}
    return GenerationConfig(**settings)  # type: ignore[no-untyped-call]


def without_end(new: list[int], model: Any) -> tuple[int, ...]:
    """New tokens without the one that ends an answer."""
    return tuple(new[:-1] if new[-1] in model.generation_config.eos_token_id else new)


@torch.no_grad()
def look(
    backbone: "TransformersBackbone", images: Sequence[Image.Image], question: str, max_new_tokens: int
) -> tuple[int, ...]:
    """The answer's new tokens from several pictures; nothing is read.

    Raises:
        SecondPictureError: the family reads one picture at a time, or these do not fit the model's context.
        InputError: the model cannot read a picture or the question (names it).
    """
    others = images[1:]

    def encode(first: Image.Image, text: str) -> dict[str, Any]:
        return backbone.several([first, *others], text)

    text = as_words(question, backbone.marks, backbone.name)
    inputs = read_by(encode, images[0], text, backbone.name)
    length = inputs["input_ids"].shape[1]
    if length + max_new_tokens > backbone.longest:
        raise SecondPictureError(
            f"{backbone.name}: {len(images)} pictures and the question are {length} tokens, so that its "
            f"{backbone.longest} positions leave no room for an answer"
        )
    output = backbone.model.generate(**inputs, past_key_values=DynamicCache(), max_new_tokens=max_new_tokens)
    return without_end(output[0, length:].tolist(), backbone.model)
