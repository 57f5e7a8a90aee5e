"""Gemma 3: one square grid of pooled patches, whose tokens see each other; most layers look back over a window only."""

from typing import Any

import torch
from PIL import Image

from flmm.backbones.base import Grid
from flmm.backbones.chat_template import ChatTemplateBackbone
from flmm.backbones.grids import image_columns
from flmm.backbones.lmm import Prompt
from flmm.backbones.registry import register
from flmm.backbones.spans import Packed
from flmm.data.geometry import View


@register("gemma3")
class Gemma3(ChatTemplateBackbone):
    """``Gemma3ForConditionalGeneration``, in its own chat template; without pan and scan: the whole photograph."""

    model_types = frozenset({"gemma3"})

    def encode(self, image: Image.Image, text: str) -> Prompt:
        inputs = self.inputs([image], text)
        side = self.model.config.vision_config.image_size
        count = round(self.model.config.mm_tokens_per_image**0.5)
        grid = Grid("image", count, count, View(side, side, 0, 0, side, side))
        tokens: torch.Tensor = inputs["input_ids"][0]
        columns = image_columns(tokens, self.model.config.image_token_id, grid, self.name)
        return Prompt(dict(inputs), (grid,), (columns,))

    @property
    def options(self) -> dict[str, Any]:
        return {"do_pan_and_scan": False}

    def masks(self, packed: Packed) -> dict[str, torch.Tensor]:
        """One mask per kind of layer, the window counted in positions."""
        distances = packed.positions[0][:, None] - packed.places[None, :]
        near = distances < self.model.config.text_config.sliding_window
        return {"full_attention": packed.mask, "sliding_attention": packed.mask & near}
