"""DeepSeek-VL 7B: a SAM encoder at high resolution beside SigLIP, both brought to SigLIP's grid."""

from PIL import Image

from flmm.backbones.deepseek_vl import DeepseekVL
from flmm.backbones.grids import letterboxed
from flmm.backbones.registry import register
from flmm.data.geometry import View


@register("deepseek_vl_hybrid")
class DeepseekVLHybrid(DeepseekVL):
    """``DeepseekVLHybridForConditionalGeneration`` (7B), spoken to as the 1.3B."""

    model_types = frozenset({"deepseek_vl_hybrid"})

    def canvas(self, image: Image.Image) -> tuple[Image.Image, View]:
        """At the size of the high-resolution encoder; the processor makes SigLIP's smaller picture from it."""
        images = self.processor.image_processor
        side = images.high_res_size["height"]
        return letterboxed(image, side, images.high_res_image_mean, images.high_res_resample, images.min_size)
