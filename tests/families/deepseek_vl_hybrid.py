"""A random hybrid DeepSeek-VL: SAM beside SigLIP, both on a 6 x 6 grid."""

from pathlib import Path

import torch
from transformers import (
    DeepseekVLHybridConfig,
    DeepseekVLHybridForConditionalGeneration,
    DeepseekVLHybridImageProcessor,
    DeepseekVLHybridProcessor,
    SamVisionConfig,
    SiglipVisionConfig,
)

from flmm.params import BackboneEntry
from tests.tiny_parts import PATCH, SIDE, entry, llama, tiny_tokenizer

HIGH = 96  # SAM's input; its patches of 4 pixels are brought to SigLIP's grid


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
    high = SamVisionConfig(
        hidden_size=16,
        output_channels=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=HIGH,
        patch_size=4,
        window_size=4,
        global_attn_indexes=[1],
        mlp_dim=32,
    )
    config = DeepseekVLHybridConfig(
        text_config=llama(tokenizer, key_heads),
        vision_config=vision,
        high_res_vision_config=high,
        image_token_id=3,
    )
    torch.manual_seed(3)
    DeepseekVLHybridForConditionalGeneration(config).save_pretrained(out)
    DeepseekVLHybridProcessor(
        image_processor=DeepseekVLHybridImageProcessor(
            size={"height": SIDE, "width": SIDE},
            high_res_size={"height": HIGH, "width": HIGH},
            min_size=PATCH,
        ),
        tokenizer=tokenizer,
        num_image_tokens=(SIDE // PATCH) ** 2,
    ).save_pretrained(out)
    return entry(out, "deepseek_vl_hybrid")
