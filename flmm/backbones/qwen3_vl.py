"""Qwen3-VL: read as Qwen2.5-VL.

Its vision tower's inner features enter the first decoder layers too, but only at the image tokens, in the prompt.
"""

from flmm.backbones.qwen2_5_vl import Qwen2p5VL
from flmm.backbones.registry import register


@register("qwen3_vl")
class Qwen3VL(Qwen2p5VL):
    """``Qwen3VLForConditionalGeneration``, in its own chat template."""

    model_types = frozenset({"qwen3_vl"})
