"""Building the tiny LMMs: real Hugging Face models and processors, only small and untrained.

A `Family` says what differs between architectures; the recipe (`pretrain`) is common.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoModelForImageTextToText, CLIPVisionConfig, LlamaConfig, PreTrainedTokenizerFast

from flmm.shapes.world.scenes import Scene
from recipes.widen import widened

PATCH = 8
MEAN = 0.5
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}USER: {% else %}ASSISTANT: {% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] if part['type'] == 'image' %}<image>\n{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% endif %}"
    "{% if message['role'] == 'user' %} {% else %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


@dataclass(frozen=True)
class Features:
    """What a batch of pictures gives: `patches` (B, N, Dv) of the vision tower, `tokens` (B, N, D) after the
    projector, `packed` (M, D) the embeddings of all image tokens in the sequences' order.
    """

    patches: torch.Tensor
    tokens: torch.Tensor
    packed: torch.Tensor


@dataclass(frozen=True)
class Family:
    """What the recipe needs to know of an architecture.

    `build` makes the untrained model and its processor from a seed; `pixels` turns a picture (H, W, 3) uint8 into
    the model's pixels before normalisation, (..., S, S, 3) uint8; `labels` gives what each of the N patches shows
    (`recipes.labels`); `grid` is the side of the padded square's grid of cells; `image_tokens` counts a picture's
    (height, width) tokens; `features` maps normalised pixels (B, ..., 3, S, S) and the pictures' sizes (B, 2) to
    `Features`; `vision_modules` are what the warm-up trains.
    """

    build: Callable[[int], tuple[Any, Any]]
    pixels: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    labels: Callable[[Scene], NDArray[np.int64]]
    grid: int
    image_tokens: Callable[[int, int], int]
    features: Callable[[Any, torch.Tensor, torch.Tensor], Features]
    vision_modules: Callable[[Any], list[torch.nn.Module]]
    vision_width: int = 128
    dtype: torch.dtype = torch.float32


def padded_square(image: NDArray[np.uint8], fill: int = int(MEAN * 255)) -> NDArray[np.uint8]:
    """The picture (H, W, 3) centred on a square of its longer side, filled with the processor's mean
    colour.
    """
    height, width = image.shape[:2]
    side = max(height, width)
    square = np.full((side, side, 3), fill, dtype=np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = image
    return square


def resized(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The picture squashed to a square of `side` pixels."""
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    """(..., S, S, 3) uint8 to (..., 3, S, S) float, mean and deviation 0.5."""
    return (pixels.movedim(-1, -3).float() / 255 - MEAN) / MEAN


def language_config(tokenizer: PreTrainedTokenizerFast, layers: int = 4, heads: int = 4) -> LlamaConfig:
    """The language model that all tiny LMMs have: LLaMA, 4 layers x 4 heads x 32."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=32,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )


def clip_config(side: int) -> CLIPVisionConfig:
    """A CLIP vision tower 4 x 128 for pictures of `side` pixels."""
    return CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=side,
        patch_size=PATCH,
        projection_dim=64,
    )


def clip_patches(model: Any, pixels: torch.Tensor) -> torch.Tensor:
    """Patch features (B, N, 128) of the last layer of a model's CLIP, without its class token."""
    patches: torch.Tensor = model.model.vision_tower(pixels).last_hidden_state[:, 1:]
    return patches


def save_model(model: Any, processor: Any, out: Path) -> None:
    """A complete Hugging Face directory: config, safetensors, tokenizer, processor, chat template."""
    model.generation_config.do_sample = False
    model.save_pretrained(out)
    processor.save_pretrained(out)


def load_weights(model: Any, path: Path) -> None:
    """Put the weights of a saved directory into a model of the same architecture."""
    saved = type(model).from_pretrained(path)
    model.load_state_dict(saved.state_dict())


def take_over(model: Any, path: Path) -> bool:
    """Put the language model of a saved tiny LMM of any architecture into a model, widened if that is larger; its
    vision tower, too, if both have CLIP, the position embeddings resampled to the other grid. Returns whether the
    tower was taken.

    Raises:
        ValueError: it is of sizes that cannot be had by widening.
    """
    saved = AutoModelForImageTextToText.from_pretrained(path).model
    configs = (each.language_model.config for each in (saved, model.model))
    model.model.language_model.load_state_dict(widened(saved.language_model.state_dict(), *configs))
    both = all(hasattr(each, "vision_tower") for each in (saved, model.model))
    if both:
        tower = saved.vision_tower.state_dict()
        places = model.model.vision_tower.embeddings.position_embedding.weight
        name = next(key for key in tower if key.endswith("embeddings.position_embedding.weight"))
        tower[name] = _resampled(tower[name], len(places))
        tower.update({k: v for k, v in model.model.vision_tower.state_dict().items() if "position_ids" in k})
        model.model.vision_tower.load_state_dict(tower)
        model.model.multi_modal_projector.load_state_dict(saved.multi_modal_projector.state_dict())
    return both


def _resampled(places: torch.Tensor, length: int) -> torch.Tensor:
    """Position embeddings (1 + n*n, D), the class token's first, for a grid of `length` - 1 patches."""
    before, after = (math.isqrt(count - 1) for count in (len(places), length))
    grid = places[1:].reshape(1, before, before, -1).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(
        grid, size=(after, after), mode="bicubic", antialias=after < before
    )
    return torch.cat([places[:1], grid.flatten(2)[0].T])
