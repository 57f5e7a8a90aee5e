"""A random GLM-4.1V: merged patches of 16 pixels, M-RoPE."""

from pathlib import Path

import torch
from transformers import (
    Glm4vConfig,
    Glm4vForConditionalGeneration,
    Glm4vImageProcessor,
    Glm4vProcessor,
    Glm4vVideoProcessor,
)

from flmm.params import BackboneEntry
from tests.families.qwen2_5_vl import PATCHES, ROPE
from tests.tiny_parts import SIZES, entry, tiny_tokenizer

TEMPLATE = (
    "[gMASK]<sop>{% for message in messages %}<|{{ message['role'] }}|>\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|begin_of_image|><image><|end_of_image|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)


def build(out: Path, *, key_heads: int = 4) -> BackboneEntry:
    """Save it and give its entry."""
    names = {"image_token": "<image>", "video_token": "<video>"}
    tokenizer = tiny_tokenizer(
        ("<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>"), **names
    )
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
        "image_size": 96,
        "patch_size": 8,
        "out_hidden_size": 32,
    }
    config = Glm4vConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=3,
        video_token_id=4,
        image_start_token_id=5,
        image_end_token_id=6,
        video_start_token_id=7,
        video_end_token_id=8,
    )
    torch.manual_seed(3)
    Glm4vForConditionalGeneration(config).save_pretrained(out)
    Glm4vProcessor(
        image_processor=Glm4vImageProcessor(**PATCHES),
        tokenizer=tokenizer,
        video_processor=Glm4vVideoProcessor(**PATCHES),
        chat_template=TEMPLATE,
    ).save_pretrained(out)
    return entry(out, "glm4v")
