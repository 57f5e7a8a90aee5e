"""Qwen2.5-VL, and the base of its relatives: one grid of merged patches whose size follows the photograph's."""

import torch
from PIL import Image

from flmm.backbones.base import Grid
from flmm.backbones.chat_template import ChatTemplateBackbone
from flmm.backbones.grids import image_columns
from flmm.backbones.lmm import Prompt
from flmm.backbones.registry import register
from flmm.data.geometry import View


@register("qwen2_5_vl")
class Qwen2p5VL(ChatTemplateBackbone):
    """``Qwen2_5_VLForConditionalGeneration``, in its own chat template.

    The photograph is squashed to multiples of a merged patch within the processor's limits of size; positions are
    M-RoPE's: after an image they go on from the larger side of its grid.
    """

    model_types = frozenset({"qwen2_5_vl"})

    def encode(self, image: Image.Image, text: str) -> Prompt:
        """The prompt; its grid is as large as the processor makes the photograph."""
        inputs = self.inputs([image], text)
        images = self.processor.image_processor
        _, rows, columns = (
            int(side) for side in inputs["image_grid_thw"][0]
        )  # patches before they are merged
        height, width = rows * images.patch_size, columns * images.patch_size
        merge = images.merge_size
        grid = Grid("image", rows // merge, columns // merge, View(height, width, 0, 0, height, width))
        tokens: torch.Tensor = inputs["input_ids"][0]
        places = image_columns(tokens, self.model.config.image_token_id, grid, self.name)
        return Prompt(dict(inputs), (grid,), (places,))

    def positions(self, places: torch.Tensor) -> torch.Tensor:
        """``places`` moved by the offset that the model keeps of the prompt that it read last."""
        offset: torch.Tensor = self.model.model.rope_deltas
        return places + offset.to(places.device)
