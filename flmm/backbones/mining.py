"""MGM's two encoders and patch info mining (arXiv 2403.18814, section 3.2) on transformers' LLaVA.

Legend: N pictures, B views, n patches a side, D width of CLIP's patches, A channels and s side of the auxiliary map,
p = s / n.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional
from transformers import ConvNextConfig, ConvNextModel, LlavaForConditionalGeneration, LlavaModel
from transformers.modeling_outputs import BaseModelOutputWithPooling


class Stages(nn.Module):
    """A ConvNeXt read at all its stages, without what comes after them."""

    def __init__(self, config: ConvNextConfig) -> None:
        super().__init__()
        model = ConvNextModel(config)
        # Its parts, not itself: it has no attention, and transformers would set none on the whole model then.
        self.embeddings, self.stages = model.embeddings, model.encoder.stages

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """The stages at the first one's size, one after the other: (N, A, s, s)."""
        states, maps = self.embeddings(picture), []
        for stage in self.stages:
            states = stage(states)
            maps.append(states)
        return torch.cat([_resized(one, maps[0].shape[-1]).to(one.dtype) for one in maps], dim=1)


class Mining(nn.Module):
    """Every patch of CLIP asks the pixels of its own place in the auxiliary map, and what they answer is added."""

    def __init__(self, width: int, auxiliary: int) -> None:
        super().__init__()
        self.query = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        self.key = nn.Sequential(nn.LayerNorm(auxiliary), nn.Linear(auxiliary, width))
        self.value = nn.Sequential(nn.LayerNorm(auxiliary), nn.Linear(auxiliary, width))

    def forward(self, patches: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
        """``patches`` (B, n * n, D) and ``fine`` (B, A, s, s) to (B, n * n, D)."""
        side = int(patches.shape[1] ** 0.5)
        cells = fine.unflatten(2, (side, -1)).unflatten(4, (side, -1))  # (B, A, n, p, n, p)
        cells = cells.permute(0, 2, 4, 3, 5, 1).flatten(3, 4).flatten(1, 2)  # (B, n * n, p * p, A)
        query, key, value = self.query(patches)[:, :, None], self.key(cells), self.value(cells)
        scores = query @ (key.transpose(-1, -2) / key.shape[-1] ** 0.5)  # (B, n * n, 1, p * p)
        mined: torch.Tensor = patches + (scores.softmax(-1) @ value)[:, :, 0]
        return mined


class MGMModel(LlavaModel):
    """LLaVA's model whose image tokens come from CLIP, a ConvNeXt and the mining between them.

    The configuration has besides LLaVA's: ``auxiliary`` (ConvNeXt's ``hidden_sizes`` and ``depths``), ``tiles`` (of
    one side: 1, or 2 for HD), ``whole`` (whether the tokens of the whole picture stand before the tiles').
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.auxiliary = Stages(ConvNextConfig(**config.auxiliary))
        self.mining = Mining(config.vision_config.hidden_size, sum(config.auxiliary["hidden_sizes"]))
        self.post_init()

    def get_image_features(self, pixel_values: torch.Tensor, **_: Any) -> Any:
        """``pixel_values`` (N, 3, side, side), for the auxiliary encoder: CLIP's views are made from them.

        Image tokens row-major, tile after tile; the whole picture's first.
        """
        config: Any = self.config
        dtype, tiles, side = self.dtype, config.tiles, config.vision_config.image_size
        fine = self.auxiliary(pixel_values.to(dtype))  # (N, A, s, s)
        picture = _resized(pixel_values, tiles * side)
        patches = self._patches(_tiled(picture, tiles).to(dtype))
        tokens = self.mining(patches, _tiled(fine, tiles))  # (N * tiles * tiles, n * n, D)
        tokens = tokens.unflatten(0, (-1, tiles * tiles)).flatten(1, 2)
        if config.whole:
            patches = self._patches(_resized(picture, side).to(dtype))
            coarse = functional.interpolate(
                fine.float(), scale_factor=1 / tiles, mode="bilinear", align_corners=False
            )
            tokens = torch.cat([self.mining(patches, coarse.to(dtype)), tokens], dim=1)
        projected = self.multi_modal_projector(tokens)
        if config.text_config.model_type == "gemma":
            # Gemma scales its words' embeddings; when MGM was trained, it scaled the image tokens with them.
            projected = projected * config.text_config.hidden_size**0.5
        output: Any = BaseModelOutputWithPooling
        return output(pooler_output=list(projected))

    def _patches(self, views: torch.Tensor) -> torch.Tensor:
        """CLIP's patches (B, n * n, D) of the chosen hidden layer, without the class."""
        states = self.vision_tower(views, output_hidden_states=True, return_dict=True).hidden_states
        patches: torch.Tensor = states[self.config.vision_feature_layer][:, 1:]
        return patches


class MGMForConditionalGeneration(LlavaForConditionalGeneration):
    """``LlavaForConditionalGeneration`` around ``MGMModel``."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model = MGMModel(config)
        self.post_init()


def _resized(maps: torch.Tensor, side: int) -> torch.Tensor:
    if maps.shape[-1] == side:
        return maps
    return functional.interpolate(maps.float(), size=(side, side), mode="bilinear", align_corners=False)


def _tiled(maps: torch.Tensor, tiles: int) -> torch.Tensor:
    """(N, C, H, W) cut into (N * tiles * tiles, C, H / tiles, W / tiles), row-major."""
    parts = maps.unflatten(2, (tiles, -1)).unflatten(4, (tiles, -1))  # (N, C, tiles, h, tiles, w)
    return parts.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
