"""DeepSeek-VL: one image token per patch of a letterboxed square, row-major."""

import torch
from PIL import Image

from flmm.backbones.grids import image_columns, letterboxed, square_grid
from flmm.backbones.lmm import Prompt, TransformersBackbone
from flmm.backbones.registry import register


@register("deepseek_vl")
class DeepseekVL(TransformersBackbone):
    """``DeepseekVLForConditionalGeneration`` (1.3B).

    docs/families.md, DeepSeek-VL: no system message, placeholders directly followed by the text; letterboxed with the
    processor's mean colour; C = layers x heads, layer-major.
    """

    model_types = frozenset({"deepseek_vl"})

    def encode(self, image: Image.Image, text: str) -> Prompt:
        vision, images = self.model.config.vision_config, self.processor.image_processor
        canvas, view = letterboxed(image, vision.image_size, images.image_mean, images.resample)
        inputs = self.processor(
            images=canvas,
            text=f"User: {self.processor.image_token}{text}\n\nAssistant:",
            return_tensors="pt",
        ).to(self.model.device, self.model.dtype)
        grid = square_grid("image", vision.image_size, vision.patch_size, view)
        tokens: torch.Tensor = inputs["input_ids"][0]
        columns = image_columns(tokens, self.model.config.image_token_id, grid, self.name)
        return Prompt(dict(inputs), (grid,), (columns,))
