"""A random Gemma 3: a 6 x 6 grid pooled to 3 x 3, one full layer among windows shorter than the prompt."""

from pathlib import Path

import torch
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    Gemma3Processor,
    Gemma3TextConfig,
    SiglipVisionConfig,
)

from flmm.params import BackboneEntry
from tests.tiny_parts import PATCH, SIDE, SIZES, entry, tiny_tokenizer

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<start_of_image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def build(out: Path, *, key_heads: int = 4) -> BackboneEntry:
    """Save it and give its entry."""
    names = {"image_token": "<image>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}
    tokenizer = tiny_tokenizer(("<start_of_image>", "<end_of_image>"), **names)
    text = Gemma3TextConfig(
        vocab_size=len(tokenizer),
        num_key_value_heads=key_heads,
        head_dim=8,
        query_pre_attn_scalar=8,
        sliding_window=24,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        **SIZES,
    )
    vision = SiglipVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=PATCH,
        vision_use_head=False,
    )
    tokens = (SIDE // PATCH // 2) ** 2
    config = Gemma3Config(
        text_config=text,
        vision_config=vision,
        mm_tokens_per_image=tokens,
        image_token_index=3,
        image_token_id=3,
        boi_token_index=5,
        eoi_token_index=6,
    )
    torch.manual_seed(3)
    model = Gemma3ForConditionalGeneration(config)
    # It begins at zero, which would show no picture at all.
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight)
    model.save_pretrained(out)
    Gemma3Processor(
        image_processor=Gemma3ImageProcessor(size={"height": SIDE, "width": SIDE}),
        tokenizer=tokenizer,
        image_seq_length=tokens,
        chat_template=TEMPLATE,
    ).save_pretrained(out)
    return entry(out, "gemma3")
