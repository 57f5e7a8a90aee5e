"""A random InternVL: tiles of 4 x 4 patches shuffled to 2 x 2, at most six, and a thumbnail."""

from pathlib import Path

import torch
from transformers import (
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    InternVLVisionConfig,
)

from flmm.params import BackboneEntry
from tests.tiny_parts import CHATML, entry, qwen2, tiny_tokenizer

SIDE, PATCH = 32, 8


def build(out: Path, *, key_heads: int = 4) -> BackboneEntry:
    """Save it and give its entry."""
    names = {
        "context_image_token": "<image>",
        "video_token": "<video>",
        "start_image_token": "<img>",
        "end_image_token": "</img>",
    }
    tokenizer = tiny_tokenizer(("<img>", "</img>"), **names)
    vision = InternVLVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=(SIDE, SIDE),
        patch_size=(PATCH, PATCH),
    )
    tokens = (SIDE // PATCH // 2) ** 2
    config = InternVLConfig(
        text_config=qwen2(tokenizer, key_heads),
        vision_config=vision,
        image_token_id=3,
        image_seq_length=tokens,
    )
    torch.manual_seed(3)
    InternVLForConditionalGeneration(config).save_pretrained(out)
    size = {"height": SIDE, "width": SIDE}
    InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(size=size, crop_to_patches=True, min_patches=1, max_patches=6),
        tokenizer=tokenizer,
        video_processor=InternVLVideoProcessor(size=size),
        image_seq_length=tokens,
        chat_template=CHATML,
    ).save_pretrained(out)
    return entry(out, "internvl")
