"""A random Qwen3-VL: merged patches of 16 pixels, interleaved M-RoPE, features of one early layer added again."""

from pathlib import Path

import torch
from transformers import (
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from flmm.params import BackboneEntry
from tests.families.qwen2_5_vl import PATCHES, ROPE
from tests.tiny_parts import CHATML, SIZES, entry, tiny_tokenizer


def build(out: Path, *, key_heads: int = 4) -> BackboneEntry:
    """Save it and give its entry."""
    names = {"image_token": "<image>", "video_token": "<video>"}
    tokenizer = tiny_tokenizer(("<|vision_start|>", "<|vision_end|>"), **names)
    text = {
        **SIZES,
        "vocab_size": len(tokenizer),
        "num_key_value_heads": key_heads,
        "head_dim": 8,
        "rope_parameters": {**ROPE, "mrope_interleaved": True},
        "initializer_range": 0.2,
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_heads": 4,
        "patch_size": 8,
        "out_hidden_size": 32,
        "num_position_embeddings": 144,
        "deepstack_visual_indexes": [0],
    }
    config = Qwen3VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=3,
        video_token_id=4,
        vision_start_token_id=5,
        vision_end_token_id=6,
    )
    torch.manual_seed(3)
    Qwen3VLForConditionalGeneration(config).save_pretrained(out)
    Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(**PATCHES),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(**PATCHES),
        chat_template=CHATML.replace("<image>\n", "<|vision_start|><image><|vision_end|>"),
    ).save_pretrained(out)
    return entry(out, "qwen3_vl")
