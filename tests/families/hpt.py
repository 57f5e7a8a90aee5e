"""A random HPT in its published layout: three folders; CLIP with 4 x 4 patches, enlarged to 7 x 7, and InternLM2."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
    SiglipImageProcessor,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from flmm.params import BackboneEntry
from tests.tiny_parts import entry, llama, tiny_tokenizer

PATCH, PATCHES = 56, 4
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": PATCH * PATCHES,
    "patch_size": PATCH,
}
INTERNLM2 = {
    "embed_tokens.weight": "tok_embeddings.weight",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "lm_head": "output",
}


def build(out: Path, *, key_heads: int = 4) -> BackboneEntry:
    """HPT Air: save it and give its entry."""
    tokenizer = tiny_tokenizer(("<unk>", "<|im_start|>", "<|im_end|>"))
    config = llama(tokenizer, key_heads)
    torch.manual_seed(3)
    model = LlamaForCausalLM(config)
    settings = config.to_dict() | {"model_type": "internlm2", "bias": False}
    _save(out / "llm", settings, fused(model.state_dict(), config))
    tokenizer.save_pretrained(out / "llm")
    vision = CLIPVisionConfig(**VISION)
    weights = CLIPVisionModel(vision).state_dict()
    weights["embeddings.position_ids"] = torch.arange(PATCHES**2 + 1)[None]
    _save_vision(out, vision.to_dict(), weights)
    CLIPImageProcessor().save_pretrained(out / "visual_encoder")
    return entry(out, "hpt")


def build_1_5(out: Path) -> BackboneEntry:
    """HPT 1.5 Air: SigLIP, enlarged to 8 x 8 patches, and LLaMA."""
    special = ("<|reserved_special_token_0|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
    tokenizer = tiny_tokenizer(special)
    config = llama(tokenizer, 2)
    torch.manual_seed(4)
    _save(out / "llm", config.to_dict(), LlamaForCausalLM(config).state_dict())
    tokenizer.save_pretrained(out / "llm")
    vision = SiglipVisionConfig(**VISION)
    _save_vision(out, vision.to_dict(), SiglipVisionModel(vision).state_dict())
    SiglipImageProcessor().save_pretrained(out / "visual_encoder")
    return entry(out, "hpt")


def fused(weights: dict[str, torch.Tensor], config: LlamaConfig) -> dict[str, torch.Tensor]:
    """LLaMA's weights in InternLM2's layout: per key head its queries, the key and the value, one below the other."""
    result, width = {}, config.hidden_size // config.num_attention_heads
    group = config.num_attention_heads // config.num_key_value_heads
    for key, value in weights.items():
        if "q_proj" in key:
            keys, values = (weights[key.replace("q_proj", name)] for name in ("k_proj", "v_proj"))
            rows = []
            for head in range(config.num_key_value_heads):
                rows.append(value[head * group * width : (head + 1) * group * width])
                rows.append(keys[head * width : (head + 1) * width])
                rows.append(values[head * width : (head + 1) * width])
            result[key.replace("self_attn.q_proj", "attention.wqkv")] = torch.cat(rows)
        elif "k_proj" not in key and "v_proj" not in key:
            for name, old in INTERNLM2.items():
                key = key.replace(name, old)
            result[key] = value
    return result


def _save_vision(out: Path, settings: dict[str, object], weights: dict[str, torch.Tensor]) -> None:
    _save(out / "visual_encoder", settings, {f"vision_model.{key}": value for key, value in weights.items()})
    projector = {
        "model.0.weight": torch.randn(32, 32) / 6,
        "model.0.bias": torch.randn(32) / 6,
        "model.2.weight": torch.randn(32, 32) / 6,
        "model.2.bias": torch.randn(32) / 6,
    }
    _save(
        out / "projector",
        {"model_type": "projector", "depth": 2, "hidden_act": "gelu", "bias": True},
        projector,
    )


def _save(folder: Path, settings: dict[str, object], weights: dict[str, torch.Tensor]) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(settings))
    save_file({key: value.contiguous() for key, value in weights.items()}, folder / "model.safetensors")
