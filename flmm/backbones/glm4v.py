"""GLM-4.1V: read as Qwen2.5-VL; its vision tower interpolates positions, the grid is read in the same way."""

from flmm.backbones.qwen2_5_vl import Qwen2p5VL
from flmm.backbones.registry import register


@register("glm4v")
class Glm4v(Qwen2p5VL):
    """``Glm4vForConditionalGeneration``, in its own chat template."""

    model_types = frozenset({"glm4v"})
