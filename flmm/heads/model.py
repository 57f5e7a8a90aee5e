"""The grounding head: U-Net, text prompt and SAM refiner as one module, and the builder that knows its sizes.

Legend: P phrases, C attention channels, h w grid, L layers, T tokens of a phrase, D hidden width,
E embedding side of SAM, H W coarse logits.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn
from torch.nn import functional

from flmm.backbones.base import HeadInput
from flmm.data.geometry import resize_bilinear, unpad
from flmm.errors import InputError
from flmm.heads.refiner import SamRefiner
from flmm.heads.segmenter import Segmenter
from flmm.heads.unet import UNetHead
from flmm.params import Head
from flmm.selection import Selection


@dataclass(frozen=True)
class HeadOutput:
    """Logits of one answer: ``coarse`` (P, H, W) of the image without padding, ``refined`` at image size."""

    coarse: torch.Tensor
    refined: torch.Tensor

    def probabilities(self, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Coarse and refined probabilities (P, h, w) at image size, as the authors resize: not the logits."""
        coarse, refined = (
            resize_bilinear(logits.float().sigmoid(), size) for logits in (self.coarse, self.refined)
        )
        return coarse, refined


class MaskHead(Protocol):
    """Whatever turns inputs into masks: ``GroundingHead``, or a head without training."""

    def __call__(
        self, inputs: Sequence[HeadInput], image_embeddings: Sequence[torch.Tensor], /
    ) -> list[HeadOutput]:
        """Per input coarse (P, H, W) and refined (P, h, w) logits of all its phrases."""
        ...


class GroundingHead(nn.Module):
    """Everything that is trained. Its state dict has the keys of a published F-LMM checkpoint.

    ``mask_head.*``, ``sam.model.{prompt_encoder,mask_decoder}.*``, ``text_proj.*``, ``text_layer_weights``.
    """

    def __init__(
        self,
        *,
        unet: UNetHead,
        refiner: SamRefiner,
        layers: int,
        hidden_width: int,
        selection: Selection | None = None,
    ) -> None:
        """``selection``: the attention heads and layers of the LMM that it takes; None: all."""
        super().__init__()
        self.selection = selection
        self.mask_head = unet
        self.sam = refiner
        self.text_proj = nn.Linear(hidden_width, refiner.prompt_width)
        self.text_layer_weights = nn.Parameter(torch.ones(layers))

    @property
    def device(self) -> torch.device:
        """Where the weights are; inputs are moved there."""
        return self.text_layer_weights.device

    def forward(
        self, inputs: Sequence[HeadInput], image_embeddings: Sequence[torch.Tensor]
    ) -> list[HeadOutput]:
        """Masks of all phrases of some images, each with its image's SAM embedding (1, C, E, E), in one pass.

        Raises:
            InputError: the head was trained on another number of channels, or on another selection of them.
        """
        inputs = [each.kept(self.selection) for each in inputs]
        for each in inputs:
            if each.channels != self.mask_head.in_channels:
                raise InputError(
                    f"the head was trained on {self.mask_head.in_channels} attention channels, but the backbone "
                    f"gives {each.channels}"
                )
        coarse = [unpad(logits, each.view) for logits, each in zip(self._coarse(inputs), inputs, strict=True)]
        refined = self.sam.refine(
            [embedding.to(self.device, torch.float32) for embedding in image_embeddings],
            coarse,
            self._text_prompts_of(inputs),
            [each.image_size for each in inputs],
        )
        return [HeadOutput(coarse=c, refined=r) for c, r in zip(coarse, refined, strict=True)]

    def _coarse(self, inputs: Sequence[HeadInput]) -> list[torch.Tensor]:
        """Per image (P, H, W) logits on its whole grid; images whose grids have one size go together."""
        merged = [merge_grids([maps.to(self.device) for maps in each.attention]) for each in inputs]
        sizes: dict[torch.Size, list[int]] = defaultdict(list)
        for index, maps in enumerate(merged):
            sizes[maps.shape[-2:]].append(index)
        logits: dict[int, torch.Tensor] = {}
        for members in sizes.values():
            chosen = [merged[index] for index in members]
            parts = self.mask_head(torch.cat(chosen))[:, 0].split([len(each) for each in chosen])
            logits.update(zip(members, parts, strict=True))
        return [logits[index] for index in range(len(inputs))]

    def _text_prompts_of(self, inputs: Sequence[HeadInput]) -> list[list[torch.Tensor]]:
        hidden = [states.to(self.device, torch.float32) for each in inputs for states in each.hidden]
        prompts = iter(self.text_prompts(hidden))
        return [[next(prompts) for _ in each.hidden] for each in inputs]

    def text_prompts(self, hidden: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Per phrase (L, T, D) -> (T, prompt width): a learned mix of the layers, projected."""
        weights = self.text_layer_weights.softmax(dim=0)
        mixed = [torch.einsum("l,ltd->td", weights, states) for states in hidden]
        tokens: torch.Tensor = self.text_proj(torch.cat(mixed))  # every phrase's tokens at once
        return list(torch.split(tokens, [len(states) for states in mixed]))


def merge_grids(attention: Sequence[torch.Tensor]) -> torch.Tensor:
    """Grids' maps (P, C_g, h_g, w_g), coarse first, resized bilinearly to the last grid: (P, sum of C_g, h, w)."""
    size = attention[-1].shape[-2:]
    resized = [
        maps if maps.shape[-2:] == size else functional.interpolate(maps, size=size, mode="bilinear")
        for maps in (grid.float() for grid in attention)
    ]
    return torch.cat(resized, dim=1)


def build_head(
    head: Head,
    *,
    channels: int,
    layers: int,
    hidden_width: int,
    segmenter: Segmenter,
    seed: int,
    selection: Selection | None = None,
) -> GroundingHead:
    """A head before training: U-Net and text weights drawn from ``seed``, the refiner a copy of ``segmenter``'s.

    The global random state is left as it was; equal arguments give equal weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GroundingHead(
            unet=UNetHead(in_channels=channels, base_channels=head.base_channels, upsample=head.upsample),
            refiner=segmenter.refiner(),
            layers=layers,
            hidden_width=hidden_width,
            selection=selection,
        )
