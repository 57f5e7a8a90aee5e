"""A random LLaVA-OneVision: 4 x 4 patches per tile, canvases of up to 2 x 2 tiles, Qwen2."""

from pathlib import Path

import torch
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    SiglipVisionConfig,
)

from flmm.params import BackboneEntry
from tests.tiny_parts import CHATML, entry, qwen2, tiny_tokenizer

SIDE, PATCH = 32, 8
PINPOINTS = [[32, 32], [32, 64], [64, 32], [64, 64]]


def build(out: Path, *, key_heads: int = 4) -> BackboneEntry:
    """Save it and give its entry."""
    tokenizer = tiny_tokenizer()
    vision = SiglipVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=PATCH,
        vision_use_head=False,
    )
    config = LlavaOnevisionConfig(
        text_config=qwen2(tokenizer, key_heads),
        vision_config=vision,
        image_token_index=3,
        video_token_index=4,
        image_grid_pinpoints=PINPOINTS,
        vision_aspect_ratio="anyres_max_3",
    )
    torch.manual_seed(3)
    LlavaOnevisionForConditionalGeneration(config).save_pretrained(out)
    LlavaOnevisionProcessor(
        image_processor=LlavaOnevisionImageProcessor(
            size={"height": SIDE, "width": SIDE}, image_grid_pinpoints=PINPOINTS
        ),
        video_processor=LlavaOnevisionVideoProcessor(size={"height": SIDE, "width": SIDE}),
        tokenizer=tokenizer,
        num_image_tokens=(SIDE // PATCH) ** 2,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_3",
        chat_template=CHATML,
    ).save_pretrained(out)
    return entry(out, "llava_onevision")
