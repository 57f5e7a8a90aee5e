"""InternVL: up to twelve tiles of the squashed photograph, then a thumbnail; 2 x layers x heads channels."""

import torch
from PIL import Image
from transformers.models.got_ocr2.image_processing_got_ocr2 import get_optimal_tiled_canvas

from flmm.backbones.chat_template import ChatTemplateBackbone
from flmm.backbones.lmm import Prompt
from flmm.backbones.registry import register
from flmm.backbones.tiles import tiled_grids


@register("internvl")
class InternVL(ChatTemplateBackbone):
    """``InternVLForConditionalGeneration`` (the ``-hf`` models), in its own chat template."""

    model_types = frozenset({"internvl"})

    def encode(self, image: Image.Image, text: str) -> Prompt:
        inputs = self.inputs([image], text)
        images = self.processor.image_processor
        side = images.size["height"]
        across, down = get_optimal_tiled_canvas(
            (image.height, image.width), (side, side), images.min_patches, images.max_patches
        )
        count = round(self.processor.image_seq_length**0.5)
        tokens: torch.Tensor = inputs["input_ids"][0]
        grids, columns = tiled_grids(
            tokens, self.model.config.image_token_id, (down, across), count, side, self.name
        )
        return Prompt(dict(inputs), grids, columns)
