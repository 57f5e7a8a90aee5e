"""SmolVLM and Idefics 3: tiles of the enlarged photograph between separators, then the whole; 2 x L x M channels."""

import torch
from PIL import Image

from flmm.backbones.chat_template import ChatTemplateBackbone
from flmm.backbones.lmm import Prompt
from flmm.backbones.registry import register
from flmm.backbones.tiles import tiled_grids


@register("smolvlm")
class SmolVLM(ChatTemplateBackbone):
    """``SmolVLMForConditionalGeneration`` and ``Idefics3ForConditionalGeneration``, in their own chat template."""

    model_types = frozenset({"smolvlm", "idefics3"})

    def encode(self, image: Image.Image, text: str) -> Prompt:
        inputs = self.inputs([image], text)
        images = self.processor.image_processor
        _, down, across = images.get_number_of_image_patches(image.height, image.width)
        count = round(self.processor.image_seq_len**0.5)
        tokens: torch.Tensor = inputs["input_ids"][0]
        grids, columns = tiled_grids(
            tokens,
            self.model.config.image_token_id,
            (max(1, down), max(1, across)),  # 0 x 0: not split
            count,
            images.max_image_size["longest_edge"],
            self.name,
        )
        return Prompt(dict(inputs), grids, columns)
