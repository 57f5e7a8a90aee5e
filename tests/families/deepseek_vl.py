"""A random DeepSeek-VL: SigLIP on a 6 x 6 grid, LLaMA 3 layers x 4 heads."""

from pathlib import Path

import torch
from transformers import (
    DeepseekVLConfig,
    DeepseekVLForConditionalGeneration,
    DeepseekVLImageProcessor,
    DeepseekVLProcessor,
    SiglipVisionConfig,
)

from flmm.params import BackboneEntry
from tests.tiny_parts import PATCH, SIDE, entry, llama, tiny_tokenizer


def build(out: Path, *, key_heads: int = 4) -> BackboneEntry:
    """Save it and give its entry."""
    tokenizer = tiny_tokenizer(image_token="<image>")
    vision = SiglipVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=PATCH,
        vision_use_head=False,
    )
    config = DeepseekVLConfig(text_config=llama(tokenizer, key_heads), vision_config=vision, image_token_id=3)
    torch.manual_seed(3)
    DeepseekVLForConditionalGeneration(config).save_pretrained(out)
    DeepseekVLProcessor(
        image_processor=DeepseekVLImageProcessor(size={"height": SIDE, "width": SIDE}, min_size=PATCH),
        tokenizer=tokenizer,
        num_image_tokens=(SIDE // PATCH) ** 2,
    ).save_pretrained(out)
    return entry(out, "deepseek_vl")
