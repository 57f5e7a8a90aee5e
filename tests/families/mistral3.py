"""A random Mistral 3: merged patches of 16 pixels, a break after every row."""

from pathlib import Path

import torch
from transformers import (
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    MistralConfig,
    PixtralImageProcessor,
    PixtralProcessor,
    PixtralVisionConfig,
)

from flmm.params import BackboneEntry
from tests.tiny_parts import SIZES, entry, tiny_tokenizer

TEMPLATE = (
    "<s>{% for message in messages %}{% if message['role'] == 'user' %}[INST]{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}[/INST]"
    "{% else %}{{ message['content'][0]['text'] }}</s>{% endif %}{% endfor %}"
)


def build(out: Path, *, key_heads: int = 4) -> BackboneEntry:
    """Save it and give its entry."""
    tokenizer = tiny_tokenizer(("[IMG_BREAK]", "[IMG_END]"))
    vision = PixtralVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        head_dim=8,
        image_size=96,
        patch_size=8,
    )
    text = MistralConfig(
        vocab_size=len(tokenizer), num_key_value_heads=key_heads, head_dim=8, sliding_window=None, **SIZES
    )
    config = Mistral3Config(text_config=text, vision_config=vision, image_token_index=3, spatial_merge_size=2)
    torch.manual_seed(3)
    Mistral3ForConditionalGeneration(config).save_pretrained(out)
    PixtralProcessor(
        image_processor=PixtralImageProcessor(
            size={"longest_edge": 96}, patch_size={"height": 8, "width": 8}
        ),
        tokenizer=tokenizer,
        patch_size=8,
        spatial_merge_size=2,
        image_token="<image>",
        chat_template=TEMPLATE,
    ).save_pretrained(out)
    return entry(out, "mistral3")
