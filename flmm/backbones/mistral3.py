"""Mistral Small 3.1: one grid of merged patches, a break token after every row."""

import torch
from PIL import Image

from flmm.backbones.base import Grid
from flmm.backbones.chat_template import ChatTemplateBackbone
from flmm.backbones.grids import image_columns
from flmm.backbones.lmm import Prompt
from flmm.backbones.registry import register
from flmm.data.geometry import View


@register("mistral3")
class Mistral3(ChatTemplateBackbone):
    """``Mistral3ForConditionalGeneration`` (Pixtral's vision tower), in its own chat template.

    The photograph is shrunk to the processor's longest side and squashed to multiples of a merged patch. Breaks and
    the end have ids of their own, so that the image tokens alone are the grid, row-major.
    """

    model_types = frozenset({"mistral3"})
    fewest_tokens = 2  # transformers' model cannot split the features of a picture with one

    def encode(self, image: Image.Image, text: str) -> Prompt:
        inputs = self.inputs([image], text)
        height, width = (int(side) for side in inputs["image_sizes"][0])
        config = self.model.config
        cell = config.vision_config.patch_size * config.spatial_merge_size
        grid = Grid("image", height // cell, width // cell, View(height, width, 0, 0, height, width))
        tokens: torch.Tensor = inputs["input_ids"][0]
        columns = image_columns(tokens, config.image_token_index, grid, self.name)
        return Prompt(dict(inputs), (grid,), (columns,))
