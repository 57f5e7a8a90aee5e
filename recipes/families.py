"""The architectures of the tiny LMMs by name: the recipe (`pretrain`) is common to all."""

from __future__ import annotations

from recipes.deepseek import deepseek_vl
from recipes.llava import llava, llava_next
from recipes.lmm import Family

# What the recipe trains from nothing: coarse and quick. The others take over what it learnt.
BASE = "llava_base"
FAMILIES: dict[str, Family] = {
    BASE: llava(96),
    "llava": llava(128),
    "llava_next": llava_next(),
    "deepseek_vl": deepseek_vl(),
}
