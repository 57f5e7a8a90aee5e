"""A random MGM in its published layout: CLIP with 4 x 4 patches, a ConvNeXt on a picture of twice the size."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    ConvNextConfig,
    ConvNextModel,
    GemmaConfig,
    GemmaForCausalLM,
    LlamaForCausalLM,
)

from flmm.params import BackboneEntry
from tests.tiny_parts import SIZES, entry, llama, tiny_tokenizer

SIDE, PATCH = 32, 8
WIDTHS, DEPTHS = [8, 8, 16, 16], [1, 1, 2, 1]
STAGE = {
    "downsampling_layer": "downsample",
    "layers": "blocks",
    "dwconv": "conv_dw",
    "layernorm": "norm",
    "pwconv1": "mlp.fc1",
    "pwconv2": "mlp.fc2",
    "layer_scale_parameter": "gamma",
}


def build(out: Path, *, key_heads: int = 4, tiles: int = 2, gemma: bool = False) -> BackboneEntry:
    """MGM-HD (``tiles=1``: the plain one): save it and give its entry."""
    tokenizer = tiny_tokenizer(("<unk>", "<start_of_turn>", "<end_of_turn>"))
    torch.manual_seed(3)
    if gemma:
        config = GemmaConfig(vocab_size=len(tokenizer), num_key_value_heads=1, head_dim=8, **SIZES)
        model = GemmaForCausalLM(config)
    else:
        config = llama(tokenizer, key_heads)
        model = LlamaForCausalLM(config)
    weights = {
        key: value for key, value in model.state_dict().items() if not (gemma and key == "lm_head.weight")
    }
    weights |= {
        f"model.vision_tower.vision_tower.vision_model.{key}": value
        for key, value in clip().state_dict().items()
    }
    weights |= convnext_as_timm()
    weights |= mining()
    (out / "clip").mkdir(parents=True)
    clip().config.save_pretrained(out / "clip")
    CLIPImageProcessor().save_pretrained(out / "clip")
    ConvNextConfig(hidden_sizes=WIDTHS, depths=DEPTHS).save_pretrained(out / "convnext")
    settings = config.to_dict() | {
        "model_type": "mgm_gemma" if gemma else "mgm",
        "mm_vision_tower": "zoo/clip",
        "mm_vision_tower_aux": "zoo/convnext",
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": -2,
        "image_size_aux": 2 * SIDE * tiles,
        "image_grid": tiles,
        "image_global": tiles > 1,
    }
    (out / "config.json").write_text(json.dumps(settings))
    tokenizer.save_pretrained(out)
    save_file({key: value.clone().contiguous() for key, value in weights.items()}, out / "model.safetensors")
    return entry(out, "mgm")


def clip() -> CLIPVisionModel:
    torch.manual_seed(5)
    return CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=4,
            image_size=SIDE,
            patch_size=PATCH,
        )
    ).eval()


def convnext() -> ConvNextModel:
    torch.manual_seed(6)
    config = ConvNextConfig(hidden_sizes=WIDTHS, depths=DEPTHS, layer_scale_init_value=0.5)
    return ConvNextModel(config).eval()


def convnext_as_timm() -> dict[str, torch.Tensor]:
    """Its weights by the names under which MGM saved timm's ConvNeXt."""
    result = {}
    for key, value in convnext().state_dict().items():
        if key.startswith("embeddings."):
            part = "0" if "patch_embeddings" in key else "1"
            result[f"model.vision_tower_aux.vision_stem.{part}.{key.split('.')[-1]}"] = value
        elif key.startswith("encoder.stages."):
            name = key.removeprefix("encoder.stages.")
            for ours, timm in STAGE.items():
                name = name.replace(ours, timm)
            result[f"model.vision_tower_aux.vision_stages.{name}"] = value
    return result


def mining() -> dict[str, torch.Tensor]:
    """Patch info mining and the projector."""
    torch.manual_seed(7)
    result = {}
    for name, width in (("query", 32), ("aux", sum(WIDTHS)), ("val", sum(WIDTHS))):
        prefix = f"model.vlm_uni_{name}_projector"
        result |= {
            f"{prefix}.0.weight": 1 + torch.randn(width) / 9,
            f"{prefix}.0.bias": torch.randn(width) / 9,
        }
        result |= {f"{prefix}.1.weight": torch.randn(32, width) / 6, f"{prefix}.1.bias": torch.randn(32) / 9}
    for layer in (0, 2):
        result |= {
            f"model.mm_projector.{layer}.weight": torch.randn(32, 32) / 6,
            f"model.mm_projector.{layer}.bias": torch.randn(32) / 9,
        }
    return result
