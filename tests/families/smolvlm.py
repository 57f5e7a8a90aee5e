"""A random SmolVLM: tiles of 4 x 4 patches shuffled to 2 x 2, separators with their row and column."""

from pathlib import Path

import torch
from transformers import (
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)
from transformers.models.smolvlm.configuration_smolvlm import SmolVLMVisionConfig

from flmm.params import BackboneEntry
from tests.tiny_parts import entry, llama, tiny_tokenizer

SIDE, PATCH = 32, 8
SPECIAL = ("<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
TEMPLATE = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}:"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)


def build(out: Path, *, key_heads: int = 4) -> BackboneEntry:
    """Save it and give its entry."""
    tokenizer = tiny_tokenizer(SPECIAL, image_token="<image>", video_token="<video>")
    vision = SmolVLMVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=PATCH,
    )
    config = SmolVLMConfig(
        text_config=llama(tokenizer, key_heads), vision_config=vision, image_token_id=3, scale_factor=2
    )
    torch.manual_seed(3)
    SmolVLMForConditionalGeneration(config).save_pretrained(out)
    sizes = {"size": {"longest_edge": 2 * SIDE}, "max_image_size": {"longest_edge": SIDE}}
    SmolVLMProcessor(
        image_processor=SmolVLMImageProcessor(**sizes),
        tokenizer=tokenizer,
        video_processor=SmolVLMVideoProcessor(size={"longest_edge": SIDE}, fps=1, num_frames=2),
        image_seq_len=(SIDE // PATCH // 2) ** 2,
        chat_template=TEMPLATE,
    ).save_pretrained(out)
    return entry(out, "smolvlm")
