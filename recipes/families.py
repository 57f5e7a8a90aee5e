"""The architectures of the tiny LMMs by name: the recipe (`pretrain`) is common to all."""

from __future__ import annotations

from recipes.deepseek import deepseek_vl
from recipes.llava import llava, llava_next
from recipes.lmm import Family

# What the recipe trains from nothing: coarse and quick. The others take over what it learnt.
BASE = "llava_base"
# 128 attention heads: for measuring what keeping some of them costs (benchmarks/cache_settings.py); not shipped.
WIDE = "llava_wide"
FAMILIES: dict[str, Family] = {
    BASE: llava(96),
    "llava": llava(128),
    "llava_next": llava_next(),
    "deepseek_vl": deepseek_vl(),
    WIDE: llava(128, layers=8, heads=16),
}
