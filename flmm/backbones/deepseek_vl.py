"""DeepSeek-VL: one image token per patch of a letterboxed square, row-major."""

import torch
from PIL import Image

from flmm.backbones.grids import image_columns, letterboxed, square_grid
from flmm.backbones.lmm import Prompt, TransformersBackbone
from flmm.backbones.registry import register
from flmm.data.geometry import View


@register("deepseek_vl")
class DeepseekVL(TransformersBackbone):
    """``DeepseekVLForConditionalGeneration`` (1.3B).

    docs/families.md, DeepSeek-VL: no system message, placeholders directly followed by the text; letterboxed with the
    processor's mean colour; C = layers x heads, layer-major.
    """

    model_types = frozenset({"deepseek_vl"})

    def turn(self, text: str) -> str:
        """A later question, in the same template."""
        return f"User: {text}\n\nAssistant:"

    def encode(self, image: Image.Image, text: str) -> Prompt:
        vision = self.model.config.vision_config
        canvas, view = self.canvas(image)
        inputs = self.processor(
            images=canvas,
            text=f"User: {self.processor.image_token}{text}\n\nAssistant:",
            return_tensors="pt",
        ).to(self.model.device, self.model.dtype)
        grid = square_grid("image", vision.image_size, vision.patch_size, view)
        tokens: torch.Tensor = inputs["input_ids"][0]
        columns = image_columns(tokens, self.model.config.image_token_id, grid, self.name)
        return Prompt(dict(inputs), (grid,), (columns,))

    def canvas(self, image: Image.Image) -> tuple[Image.Image, View]:
        """The square that the processor gets, at its largest encoder's size, so that it resizes nothing there.

        Its own letterbox rounds sizes, that of the published models rounds them down.
        """
        images = self.processor.image_processor
        side = self.model.config.vision_config.image_size
        return letterboxed(image, side, images.image_mean, images.resample, images.min_size)
