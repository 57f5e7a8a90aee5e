"""Tiny random models of the real classes with real processors, saved as Hugging Face directories."""

import importlib
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from flmm.params import BackboneEntry
from tests.tiny_parts import PATCH, SIDE, tiny_tokenizer


def save_llava(out: Path, *, key_heads: int = 4, positions: int = 512, seed: int = 3) -> BackboneEntry:
    """A random LLaVA (6 x 6 grid, 3 x 4 heads; fewer ``key_heads``: grouped) and its entry."""
    tokenizer = tiny_tokenizer()
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=key_heads,
        max_position_embeddings=positions,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        initializer_range=0.3,
    )
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=PATCH,
        initializer_range=0.3,
    )
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            text_config=text, vision_config=vision, image_token_index=3, image_seq_length=(SIDE // PATCH) ** 2
        )
    )
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
        ),
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    model.save_pretrained(out)
    processor.save_pretrained(out)
    return BackboneEntry(
        suite="shapes", family="llava", model=str(out), revision=None, trust_remote_code=False
    )


__all__ = ["BUILDERS", "PATCH", "SIDE", "save_llava", "tiny_tokenizer"]


def _builders() -> dict[str, Callable[..., BackboneEntry]]:
    """`build(out, key_heads=...)` of every file in tests/families, by the family's name."""
    folder = Path(__file__).parent / "families"
    names = sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
    return {name: importlib.import_module(f"tests.families.{name}").build for name in names}


# Every registered family has a builder here: the contract test runs on all.
BUILDERS: dict[str, Callable[..., BackboneEntry]] = {"llava": save_llava, **_builders()}
