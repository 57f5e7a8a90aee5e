"""A random LLaVA-Next: 4 x 4 patches per tile, canvases of up to 2 x 2 tiles."""

from pathlib import Path

import torch
from transformers import (
    CLIPVisionConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessor,
    LlavaNextProcessor,
)

from flmm.params import BackboneEntry
from tests.tiny_parts import entry, llama, tiny_tokenizer

SIDE, PATCH = 32, 8
PINPOINTS = [[32, 64], [64, 32], [64, 64]]


def build(out: Path, *, key_heads: int = 4) -> BackboneEntry:
    """Save it and give its entry."""
    tokenizer = tiny_tokenizer()
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=PATCH,
    )
    config = LlavaNextConfig(
        text_config=llama(tokenizer, key_heads),
        vision_config=vision,
        image_token_index=3,
        image_grid_pinpoints=PINPOINTS,
        image_seq_length=(SIDE // PATCH) ** 2,
    )
    torch.manual_seed(3)
    LlavaNextForConditionalGeneration(config).save_pretrained(out)
    LlavaNextProcessor(
        image_processor=LlavaNextImageProcessor(
            size={"shortest_edge": SIDE},
            crop_size={"height": SIDE, "width": SIDE},
            image_grid_pinpoints=PINPOINTS,
        ),
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    ).save_pretrained(out)
    return entry(out, "llava_next")
