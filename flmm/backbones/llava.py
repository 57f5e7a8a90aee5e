"""LLaVA-1.5: one image token per patch of a square, row-major; padded, never cropped."""

import torch
from PIL import Image

from flmm.backbones.grids import image_columns, letterboxed, square_grid
from flmm.backbones.lmm import Prompt, TransformersBackbone
from flmm.backbones.registry import register


@register("llava")
class Llava(TransformersBackbone):
    """``LlavaForConditionalGeneration`` with a CLIP or SigLIP vision tower.

    docs/families.md, LLaVA-1.5: vicuna template without system message; longest side to the tower's size, centred
    padding with the processor's mean colour; C = layers x heads, layer-major.
    """

    model_types = frozenset({"llava"})

    def words(self, text: str) -> str:
        """The whole prompt of the user's ``text``, with one token that stands for the picture."""
        return f"USER: {self.processor.image_token}\n{text} ASSISTANT:"

    def turn(self, text: str) -> str:
        """A later question, in the same template."""
        return f"USER: {text} ASSISTANT:"

    def encode(self, image: Image.Image, text: str) -> Prompt:
        vision, images = self.model.config.vision_config, self.processor.image_processor
        canvas, view = letterboxed(image, vision.image_size, images.image_mean, images.resample)
        inputs = self.processor(
            images=canvas,
            text=self.words(text),
            do_resize=False,  # the canvas already has the tower's size
            do_center_crop=False,
            return_tensors="pt",
        ).to(self.model.device, self.model.dtype)
        grid = square_grid("image", vision.image_size, vision.patch_size, view)
        tokens: torch.Tensor = inputs["input_ids"][0]
        columns = image_columns(tokens, self.model.config.image_token_index, grid, self.name)
        return Prompt(dict(inputs), (grid,), (columns,))
