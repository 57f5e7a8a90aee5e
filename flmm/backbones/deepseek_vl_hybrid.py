"""DeepSeek-VL 7B: a SAM encoder at high resolution beside SigLIP, both brought to SigLIP's grid."""

from flmm.backbones.deepseek_vl import DeepseekVL
from flmm.backbones.registry import register


@register("deepseek_vl_hybrid")
class DeepseekVLHybrid(DeepseekVL):
    """``DeepseekVLHybridForConditionalGeneration`` (7B), read as the 1.3B: the processor makes both inputs."""

    model_types = frozenset({"deepseek_vl_hybrid"})
