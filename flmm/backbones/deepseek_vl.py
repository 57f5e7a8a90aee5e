"""DeepSeek-VL: one image token per patch of a letterboxed square, row-major."""

from collections.abc import Sequence
from typing import Any

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

    def words(self, text: str, pictures: int = 1) -> str:
        """The authors' template."""
        return f"User: {self.processor.image_token * pictures}{text}\n\nAssistant:"

    def turn(self, text: str) -> str:
        """A later question, in the same template."""
        return f"User: {text}\n\nAssistant:"

    def encode(self, image: Image.Image, text: str) -> Prompt:
        vision = self.model.config.vision_config
        canvas, view = self.canvas(image)
        inputs = self._inputs([canvas], text)
        grid = square_grid("image", vision.image_size, vision.patch_size, view)
        tokens: torch.Tensor = inputs["input_ids"][0]
        columns = image_columns(tokens, self.model.config.image_token_id, grid, self.name)
        return Prompt(inputs, (grid,), (columns,))

    def several(self, images: Sequence[Image.Image], text: str) -> dict[str, Any]:
        """Each photograph on a square of its own, their placeholders one after the other."""
        return self._inputs([self.canvas(image)[0] for image in images], text)

    def _inputs(self, canvases: list[Image.Image], text: str) -> dict[str, Any]:
        words = self.words(text, len(canvases))
        inputs = self.processor(images=canvases, text=words, return_tensors="pt")
        return dict(inputs.to(self.model.device, self.model.dtype))

    def canvas(self, image: Image.Image) -> tuple[Image.Image, View]:
        """The square that the processor gets, at its largest encoder's size, so that it resizes nothing there.

        Its own letterbox rounds sizes, that of the published models rounds them down.
        """
        images = self.processor.image_processor
        side = self.model.config.vision_config.image_size
        return letterboxed(image, side, images.image_mean, images.resample, images.min_size)
