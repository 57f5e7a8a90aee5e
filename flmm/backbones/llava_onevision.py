"""LLaVA-OneVision: LLaVA-Next's grids on SigLIP, the canvas of tiles reduced where it would be too long."""

from PIL import Image

from flmm.backbones.anyres import anyres_prompt
from flmm.backbones.chat_template import ChatTemplateBackbone
from flmm.backbones.lmm import Prompt
from flmm.backbones.registry import register


@register("llava_onevision")
class LlavaOnevision(ChatTemplateBackbone):
    """``LlavaOnevisionForConditionalGeneration`` (SigLIP, Qwen2); the prompt is its own chat template."""

    model_types = frozenset({"llava_onevision"})

    def encode(self, image: Image.Image, text: str) -> Prompt:
        config = self.model.config
        inputs = self.inputs([image], text)
        size = (image.height, image.width)
        return anyres_prompt(
            self.model, inputs, size, self.name, vision_aspect_ratio=config.vision_aspect_ratio
        )
