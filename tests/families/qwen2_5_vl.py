"""A random Qwen2.5-VL: merged patches of 16 pixels, M-RoPE."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from flmm.params import BackboneEntry
from tests.tiny_parts import CHATML, SIZES, entry, tiny_tokenizer

ROPE = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0}
PATCHES: dict[str, Any] = {
    "patch_size": 8,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "size": {"shortest_edge": 32 * 32, "longest_edge": 96 * 96},
}


def build(out: Path, *, key_heads: int = 4) -> BackboneEntry:
    """Save it and give its entry."""
    names = {"image_token": "<image>", "video_token": "<video>"}
    tokenizer = tiny_tokenizer(("<|vision_start|>", "<|vision_end|>"), **names)
    text = {
        **SIZES,
        "vocab_size": len(tokenizer),
        "num_key_value_heads": key_heads,
        "rope_parameters": ROPE,
        "initializer_range": 0.2,
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 4,
        "patch_size": 8,
        "window_size": 32,
        "out_hidden_size": 32,
        "fullatt_block_indexes": [1],
    }
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=3,
        video_token_id=4,
        vision_start_token_id=5,
        vision_end_token_id=6,
    )
    torch.manual_seed(4)  # one whose answers hold no image token
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(out)
    Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**PATCHES),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(**PATCHES),
        chat_template=CHATML.replace("<image>\n", "<|vision_start|><image><|vision_end|>"),
    ).save_pretrained(out)
    return entry(out, "qwen2_5_vl")
