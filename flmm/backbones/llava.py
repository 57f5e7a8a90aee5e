"""LLaVA-1.5: one image token per patch of a square, row-major; padded, never cropped."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from flmm.backbones.grids import image_columns, letterboxed, square_grid
from flmm.backbones.lmm import Prompt, TransformersBackbone
from flmm.backbones.registry import register
from flmm.data.geometry import View


@register("llava")
class Llava(TransformersBackbone):
    """``LlavaForConditionalGeneration`` with a CLIP or SigLIP vision tower.

    docs/families.md, LLaVA-1.5: vicuna template without system message; longest side to the tower's size, centred
    padding with the processor's mean colour; C = layers x heads, layer-major.
    """

    model_types = frozenset({"llava"})

    def words(self, text: str, pictures: int = 1) -> str:
        """The whole prompt of the user's ``text``, with one token that stands for each picture."""
        shown = pictures * f"{self.processor.image_token}\n"
        return f"USER: {shown}{text} ASSISTANT:"

    def turn(self, text: str) -> str:
        """A later question, in the same template."""
        return f"USER: {text} ASSISTANT:"

    def encode(self, image: Image.Image, text: str) -> Prompt:
        canvas, view = self._canvas(image)
        inputs = self._inputs([canvas], self.words(text))
        vision = self.model.config.vision_config
        grid = square_grid("image", vision.image_size, vision.patch_size, view)
        tokens: torch.Tensor = inputs["input_ids"][0]
        columns = image_columns(tokens, self.model.config.image_token_index, grid, self.name)
        return Prompt(inputs, (grid,), (columns,))

    def several(self, images: Sequence[Image.Image], text: str) -> dict[str, Any]:
        """Each photograph on a square of its own, one token before the text for each."""
        canvases = [self._canvas(image)[0] for image in images]
        return self._inputs(canvases, self.words(text, len(canvases)))

    def _canvas(self, image: Image.Image) -> tuple[Image.Image, View]:
        images = self.processor.image_processor
        side = self.model.config.vision_config.image_size
        return letterboxed(image, side, images.image_mean, images.resample)

    def _inputs(self, canvases: list[Image.Image], words: str) -> dict[str, Any]:
        inputs = self.processor(
            images=canvases,
            text=words,
            do_resize=False,  # the canvas already has the tower's size
            do_center_crop=False,
            return_tensors="pt",
        )
        return dict(inputs.to(self.model.device, self.model.dtype))
