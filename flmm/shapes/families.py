"""The architectures of the tiny LMMs by name: the recipe (`pretrain`) is common to all."""

from __future__ import annotations

from flmm.shapes.deepseek import build_deepseek_vl, deepseek_vl_features
from flmm.shapes.lmm import Family, build_llava, llava_features, llava_pixels

FAMILIES: dict[str, Family] = {
    "llava": Family(build_llava, llava_pixels, llava_features, lambda m: [m.model.vision_tower]),
    # Letterboxed in the same way; its processor resizes first and pads then, which differs by a pixel at most.
    "deepseek_vl": Family(
        build_deepseek_vl, llava_pixels, deepseek_vl_features, lambda m: [m.model.vision_model]
    ),
}
