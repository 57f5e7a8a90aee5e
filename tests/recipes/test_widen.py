"""A wide language model begins as the small one that it takes over, and its heads then differ."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaModel, LlavaForConditionalGeneration

from recipes.families import FAMILIES, WIDE
from recipes.lmm import save_model
from recipes.pretrain import pretrain
from recipes.widen import widened

from .test_recipes import TINY

SIZES: dict[str, Any] = {"vocab_size": 20, "hidden_size": 16, "intermediate_size": 24, "head_dim": 8}


def config(layers: int, heads: int, head_dim: int = 8) -> LlamaConfig:
    heads_of = {"num_attention_heads": heads, "num_key_value_heads": heads}
    return LlamaConfig(**SIZES | heads_of | {"num_hidden_layers": layers, "head_dim": head_dim})


def made(small: LlamaConfig, wide: LlamaConfig, noise: float) -> tuple[LlamaModel, LlamaModel]:
    torch.manual_seed(0)
    models = LlamaModel(small).eval(), LlamaModel(wide).eval()
    models[1].load_state_dict(widened(models[0].state_dict(), small, wide, noise))
    return models


@pytest.mark.parametrize(("layers", "heads"), [(2, 2), (4, 2), (2, 8), (6, 8)])
def test_without_noise_it_says_what_the_small_one_says(layers: int, heads: int) -> None:
    small, wide = made(config(2, 2), config(layers, heads), noise=0)
    ids = torch.arange(10)[None]
    with torch.no_grad():
        expected, found = (model(input_ids=ids).last_hidden_state for model in (small, wide))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_with_noise_no_two_heads_look_at_the_same() -> None:
    _, wide = made(config(1, 2), config(2, 8), noise=0.5)
    wide.set_attn_implementation("eager")
    with torch.no_grad():
        maps = torch.cat(wide(input_ids=torch.arange(10)[None], output_attentions=True).attentions, dim=1)[0]
    assert len(maps) == 16
    apart = torch.cdist(maps.flatten(1), maps.flatten(1)) + torch.eye(16)
    assert apart.min() > 1e-4


@pytest.mark.parametrize(
    ("wide", "said"),
    [
        (config(3, 2), "3 layers are no multiple of 2"),
        (config(2, 1), "1 heads"),
        (config(2, 2, head_dim=4), "4 dim"),
    ],
)
def test_other_sizes_are_refused(wide: LlamaConfig, said: str) -> None:
    small = config(2, 2)
    with pytest.raises(ValueError, match=said):
        widened(LlamaModel(small).state_dict(), small, wide)


@pytest.mark.pipeline
def test_the_wide_lmm_takes_over_from_a_finished_one_and_loads(tmp_path: Path) -> None:
    donor, processor = FAMILIES["llava"].build(5)
    save_model(donor, processor, tmp_path / "donor")
    result = pretrain(tmp_path / "out", family=WIDE, recipe=TINY, held_out=2, start=tmp_path / "donor")
    assert len(result["losses"]) == 2
    text: Any = LlavaForConditionalGeneration.from_pretrained(tmp_path / "out").config.text_config
    assert text.num_hidden_layers * text.num_attention_heads == 128
