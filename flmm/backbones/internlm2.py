"""InternLM2 as LLaMA: the same computation, with query, key and value in one matrix (arXiv 2403.17297).

Legend: D hidden width, K key heads, G query heads per key head, d width of a head.
"""

import re
from typing import Any

import torch
from transformers import LlamaConfig

_NAMES = {
    "tok_embeddings.weight": "embed_tokens.weight",
    "attention.wo.": "self_attn.o_proj.",
    "feed_forward.w1.": "mlp.gate_proj.",
    "feed_forward.w2.": "mlp.down_proj.",
    "feed_forward.w3.": "mlp.up_proj.",
    "attention_norm.": "input_layernorm.",
    "ffn_norm.": "post_attention_layernorm.",
}


def llama_config(config: dict[str, Any]) -> LlamaConfig:
    """The ``config.json`` of an InternLM2 as LLaMA's."""
    settings = {key: value for key, value in config.items() if key not in {"architectures", "auto_map"}}
    settings |= {"model_type": "llama", "attention_bias": settings.pop("bias", True)}
    made: LlamaConfig = LlamaConfig.from_dict(settings)
    return made


def llama_weights(weights: dict[str, torch.Tensor], config: LlamaConfig) -> dict[str, torch.Tensor]:
    """InternLM2's weights (``model.layers.0.attention.wqkv.weight``, ``output.weight``) under LLaMA's names."""
    result = {}
    for key, value in weights.items():
        if ".attention.wqkv." in key:
            query, rest = key.split("attention.wqkv.")
            for name, part in zip("qkv", _split(value, config), strict=True):
                result[f"{query}self_attn.{name}_proj.{rest}"] = part
            continue
        name = re.sub(r"^output\.", "lm_head.", key)
        for old, new in _NAMES.items():
            name = name.replace(old, new)
        result[name] = value
    return result


def _split(fused: torch.Tensor, config: LlamaConfig) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``wqkv`` (K * (G + 2) * d, D) or its bias, as query (K * G * d, D), key and value (K * d, D)."""
    keys = config.num_key_value_heads or config.num_attention_heads
    group = config.num_attention_heads // keys
    heads = fused.reshape(
        keys, group + 2, -1, *fused.shape[1:]
    )  # (K, G + 2, d, D): a key's queries, it, its value
    query, key, value = heads.split([group, 1, 1], dim=1)
    return query.flatten(0, 2).clone(), key.flatten(0, 2).clone(), value.flatten(0, 2).clone()
