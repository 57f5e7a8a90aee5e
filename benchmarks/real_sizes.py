"""Random models of the real classes and sizes, and photographs to show them; nothing is downloaded."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import (
    AutoTokenizer,
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessor,
    LlavaNextProcessor,
    LlavaProcessor,
)

from flmm.backbones.llava import Llava
from flmm.backbones.llava_next import LlavaNext
from flmm.backbones.lmm import TransformersBackbone
from flmm.data.sample import Sample, Target, encode_rle
from flmm.heads.sam import VIT_L
from flmm.shipped import MODELS

ARCHIVE, SIZE, PHRASES = "train2017", (480, 640), 5
CLIP_L = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
LLAMA_7B = {
    "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
    "vocab_size": 32064, "max_position_embeddings": 4096,
}  # fmt: skip
TINY_SAM = {
    **VIT_L,
    "img_size": 64,
    "encoder": {
        "depth": 1, "embed_dim": 16, "num_heads": 2, "global_attn_indexes": [0], "window_size": 2, "out_chans": 16,
    },
    "prompt": {"embed_dim": 16, "mask_in_chans": 4},
    "decoder": {
        "transformer_depth": 1, "mlp_dim": 16, "num_heads": 2, "iou_head_depth": 2, "iou_head_hidden_dim": 16,
    },
}  # fmt: skip
# Name in the catalogue whose place it takes, family, side and patch in pixels, sizes of vision and language, SAM.
SIZES: dict[str, tuple[str, str, int, int, dict[str, int], dict[str, int], dict[str, Any]]] = {
    "llava-1.5-7b": ("llava-1.5-7b", "llava", 336, 14, CLIP_L, LLAMA_7B, VIT_L),
    "llava-next-7b": ("llava-next-vicuna-7b", "llava_next", 336, 14, CLIP_L, LLAMA_7B, VIT_L),
    "tiny": (
        "llava-1.5-7b", "llava", 56, 14,
        {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
        {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
         "vocab_size": 4000, "max_position_embeddings": 2048},
        TINY_SAM,
    ),
}  # fmt: skip
PINPOINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]


def backbone(name: str, device: torch.device, dtype: torch.dtype) -> TransformersBackbone:
    """A random model of the family's real class and sizes, made where it stays."""
    _, family, side, patch_size, vision_sizes, text_sizes, _ = SIZES[name]
    tokenizer = AutoTokenizer.from_pretrained(MODELS / "shapes-llava")
    vision = CLIPVisionConfig(image_size=side, patch_size=patch_size, **vision_sizes)
    text = LlamaConfig(bos_token_id=1, eos_token_id=2, pad_token_id=0, **text_sizes)
    common = {"vision_config": vision, "text_config": text, "image_seq_length": (side // patch_size) ** 2}
    common["image_token_index"] = tokenizer.convert_tokens_to_ids("<image>")
    shown = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    reading = {
        "patch_size": patch_size,
        "vision_feature_select_strategy": "default",
        "num_additional_image_tokens": 1,
    }
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            if family == "llava":
                model: Any = LlavaForConditionalGeneration(LlavaConfig(**common))
            else:
                model = LlavaNextForConditionalGeneration(
                    LlavaNextConfig(image_grid_pinpoints=PINPOINTS, **common)
                )
    finally:
        torch.set_default_dtype(before)
    model.set_attn_implementation("sdpa")
    if family == "llava":
        return Llava(model, LlavaProcessor(CLIPImageProcessor(**shown), tokenizer, **reading), name)
    images = LlavaNextImageProcessor(image_grid_pinpoints=PINPOINTS, **shown)
    return LlavaNext(model, LlavaNextProcessor(images, tokenizer, **reading), name)


def photographs(folder: Path, count: int) -> list[Sample]:
    """Noise of many sizes as JPEG files of COCO's most frequent size, each with five phrases."""
    generator, samples = np.random.default_rng(0), []
    (folder / ARCHIVE).mkdir(parents=True)
    for number in range(count):
        noise = Image.fromarray(generator.integers(0, 255, (30, 40, 3), dtype=np.uint8))
        noise.resize(SIZE[::-1], Image.Resampling.BICUBIC).save(
            folder / ARCHIVE / f"{number:012d}.jpg", quality=90
        )
        mask = np.zeros(SIZE, dtype=bool)
        mask[100:300, 100 + number % 90 : 400] = True
        targets = tuple(
            Target(
                f"{number}-{phrase}",
                (f"the {phrase + 1} red circle",),
                encode_rle(mask),
                "thing",
                True,
                False,
            )
            for phrase in range(PHRASES)
        )
        name = f"{number:012d}.jpg"
        samples.append(Sample(str(number), "png", "train", number, ARCHIVE, name, *SIZE, targets, ()))
    return samples


def timed(run: Callable[[], Any], device: torch.device) -> float:
    """Seconds of one call, the device's work included."""
    started = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started
