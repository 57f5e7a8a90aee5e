"""Building the tiny LMMs: real Hugging Face models and processors, only small and untrained.

A `Family` says what differs between architectures; the recipe (`pretrain`) is common.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import (
    AutoModelForImageTextToText,
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from flmm.shapes.tokenizer import train_tokenizer

IMAGE_SIZE = 96
PATCH = 8
GRID = IMAGE_SIZE // PATCH
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
class Family:
    """What the recipe needs to know of an architecture.

    `build` makes the untrained model and its processor from a seed; `pixels` turns a picture (H, W, 3)
    uint8 into the model's pixels before normalisation, (96, 96, 3) uint8; `features` maps normalised pixels
    (B, 3, 96, 96) to the patch features (B, G*G, Dv) that the auxiliary loss reads and the image embeddings
    (B, N, D).
    """

    build: Callable[[int], tuple[Any, Any]]
    pixels: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    features: Callable[[Any, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
    vision_modules: Callable[[Any], list[torch.nn.Module]]
    vision_width: int = 128
    dtype: torch.dtype = torch.float32


def padded_square(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture (H, W, 3) centred on a square of its longer side, filled with the processor's mean
    colour.
    """
    height, width = image.shape[:2]
    side = max(height, width)
    square = np.full((side, side, 3), int(MEAN * 255), dtype=np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = image
    return square


def llava_pixels(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Padded to a square, then 96 x 96: what the processor makes of a padded picture, not normalised."""
    square = Image.fromarray(padded_square(image))
    return np.asarray(square.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC))


def normalise(pixels: torch.Tensor) -> torch.Tensor:
    """(B, 96, 96, 3) uint8 to (B, 3, 96, 96) float, mean and deviation 0.5."""
    return (pixels.permute(0, 3, 1, 2).float() / 255 - MEAN) / MEAN


def language_config(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    """The language model that all tiny LMMs have: LLaMA, 4 layers x 4 heads x 32."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )


def build_llava(seed: int) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """An untrained LLaVA: CLIP 4 x 128 on a 12 x 12 grid, LLaMA 4 layers x 4 heads x 32."""
    tokenizer = train_tokenizer()
    vision = CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=IMAGE_SIZE,
        patch_size=PATCH,
        projection_dim=64,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=language_config(tokenizer),
        image_token_index=tokenizer.get_vocab()["<image>"],
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=GRID * GRID,
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(config)
    return model, LlavaProcessor(
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": IMAGE_SIZE},
            crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
            image_mean=[MEAN] * 3,
            image_std=[MEAN] * 3,
        ),
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def llava_features(
    model: LlavaForConditionalGeneration, pixels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Patch features of CLIP's last layer, without its class token, and their projection."""
    patches = model.model.vision_tower(pixels).last_hidden_state[:, 1:]
    return patches, model.model.multi_modal_projector(patches)


def save_model(model: Any, processor: Any, out: Path) -> None:
    """A complete Hugging Face directory: config, safetensors, tokenizer, processor, chat template."""
    model.generation_config.do_sample = False
    model.save_pretrained(out)
    processor.save_pretrained(out)


def load_weights(model: Any, path: Path) -> None:
    """Put the weights of a saved directory into a model of the same architecture."""
    saved = type(model).from_pretrained(path)
    model.load_state_dict(saved.state_dict())


def load_language_model(model: Any, path: Path) -> None:
    """Put the language model of a saved tiny LMM of any architecture into a model.

    Raises:
        RuntimeError: it is of other sizes.
    """
    saved = AutoModelForImageTextToText.from_pretrained(path)
    model.model.language_model.load_state_dict(saved.model.language_model.state_dict())
