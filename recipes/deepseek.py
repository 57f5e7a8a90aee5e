"""The tiny DeepSeek-VL: another vision tower (SigLIP), another aligner and another template on the same grid."""

from __future__ import annotations

from functools import partial

import torch
from transformers import (
    DeepseekVLConfig,
    DeepseekVLForConditionalGeneration,
    DeepseekVLImageProcessor,
    DeepseekVLProcessor,
    SiglipVisionConfig,
)

from recipes.labels import padded_labels
from recipes.lmm import MEAN, PATCH, Family, Features, language_config, padded_square, resized
from recipes.tokenizer import train_tokenizer

# DeepSeek-VL's words; its placeholders are followed directly by the user's text. (A bare newline after a block is
# dropped by the template's engine.)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}User: {% else %}Assistant: {% endif %}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] if part['type'] == 'image' %}<image>{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% endif %}"
    "{% if message['role'] == 'user' %}{{ '\\n\\n' }}{% else %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}Assistant:{% endif %}"
)


IMAGE_SIZE = 96
GRID = IMAGE_SIZE // PATCH


def deepseek_vl() -> Family:
    """DeepSeek-VL, letterboxed like LLaVA; its processor resizes first and pads then: at most a pixel's difference."""
    return Family(
        build=_build,
        pixels=lambda image: resized(padded_square(image), IMAGE_SIZE),
        labels=partial(padded_labels, grid=GRID),
        grid=GRID,
        image_tokens=lambda height, width: GRID * GRID,
        features=_features,
        vision_modules=lambda model: [model.model.vision_model],
    )


def _build(seed: int) -> tuple[DeepseekVLForConditionalGeneration, DeepseekVLProcessor]:
    """An untrained DeepSeek-VL: SigLIP 4 x 128 on a 12 x 12 grid, the language model of the other tiny LMMs."""
    tokenizer = train_tokenizer(image_token="<image>")
    vision = SiglipVisionConfig(
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=IMAGE_SIZE,
        patch_size=PATCH,
        vision_use_head=False,
    )
    config = DeepseekVLConfig(
        vision_config=vision,
        text_config=language_config(tokenizer),
        image_token_id=tokenizer.get_vocab()["<image>"],
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = DeepseekVLForConditionalGeneration(config)
    return model, DeepseekVLProcessor(
        image_processor=DeepseekVLImageProcessor(
            size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
            min_size=PATCH,
            image_mean=[MEAN] * 3,
            image_std=[MEAN] * 3,
        ),
        tokenizer=tokenizer,
        chat_template=CHAT_TEMPLATE,
        num_image_tokens=GRID * GRID,
    )


def _features(
    model: DeepseekVLForConditionalGeneration, pixels: torch.Tensor, sizes: torch.Tensor
) -> Features:
    patches = model.model.vision_model(pixels).last_hidden_state
    tokens = model.model.aligner(patches)
    return Features(patches, tokens, tokens.flatten(0, 1))
