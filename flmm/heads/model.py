"""The grounding head: U-Net, text prompt and SAM refiner as one module, and the builder that knows its sizes.

Legend: P phrases, C attention channels, h w grid, L layers, T tokens of a phrase, D hidden width,
E embedding side of SAM, H W coarse logits.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from segment_anything.modeling import Sam
from torch import nn

from flmm.cache.reader import CachedAnswer
from flmm.data.geometry import View, unpad
from flmm.errors import InputError
from flmm.heads.refiner import SamRefiner
from flmm.heads.unet import UNetHead
from flmm.params import Head


@dataclass(frozen=True)
class HeadOutput:
    """Logits of one answer: ``coarse`` (P, H, W) of the image without padding, ``refined`` at image size."""

    coarse: torch.Tensor
    refined: torch.Tensor


class GroundingHead(nn.Module):
    """Everything that is trained. Its state dict has the keys of a published F-LMM checkpoint.

    ``mask_head.*``, ``sam.model.{prompt_encoder,mask_decoder}.*``, ``text_proj.*``, ``text_layer_weights``.
    """

    def __init__(self, *, unet: UNetHead, refiner: SamRefiner, layers: int, hidden_width: int) -> None:
        super().__init__()
        self.mask_head = unet
        self.sam = refiner
        self.text_proj = nn.Linear(hidden_width, refiner.prompt_width)
        self.text_layer_weights = nn.Parameter(torch.ones(layers))

    @property
    def device(self) -> torch.device:
        """Where the weights are; inputs are moved there."""
        return self.text_layer_weights.device

    def forward(self, answer: CachedAnswer, image_embedding: torch.Tensor) -> HeadOutput:
        """All phrases of one answer about one image; ``image_embedding`` is (1, C, E, E)."""
        return self.ground(
            attention=answer.attention().to(self.device),
            hidden=[states.to(self.device) for states in answer.hidden()],
            image_embedding=image_embedding.to(self.device),
            view=answer.grid.view,
            image_size=(answer.height, answer.width),
        )

    def ground(
        self,
        *,
        attention: torch.Tensor,
        hidden: Sequence[torch.Tensor],
        image_embedding: torch.Tensor,
        view: View,
        image_size: tuple[int, int],
    ) -> HeadOutput:
        """(P, C, h, w) raw attention, per phrase (L, T, D) hidden states -> masks; ``view`` is the grid's.

        Raises:
            InputError: the head was trained on another number of channels.
        """
        if attention.shape[1] != self.mask_head.in_channels:
            raise InputError(
                f"the head was trained on {self.mask_head.in_channels} attention channels, but the backbone gives "
                f"{attention.shape[1]}"
            )
        coarse = unpad(self.mask_head(attention)[:, 0], view)
        refined = self.sam(image_embedding, coarse, self.text_prompts(hidden), image_size)
        return HeadOutput(coarse=coarse, refined=refined)

    def text_prompts(self, hidden: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Per phrase (L, T, D) -> (T, prompt width): a learned mix of the layers, projected."""
        weights = self.text_layer_weights.softmax(dim=0)
        mixed = [torch.einsum("l,ltd->td", weights, states) for states in hidden]
        tokens: torch.Tensor = self.text_proj(torch.cat(mixed))  # every phrase's tokens at once
        return list(torch.split(tokens, [len(states) for states in mixed]))


def build_head(
    head: Head, *, channels: int, layers: int, hidden_width: int, sam: Sam, seed: int
) -> GroundingHead:
    """A head before training: U-Net and text weights drawn from ``seed``, the refiner a copy of ``sam``'s.

    The global random state is left as it was; equal arguments give equal weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GroundingHead(
            unet=UNetHead(in_channels=channels, base_channels=head.base_channels, upsample=head.upsample),
            refiner=SamRefiner(
                prompt_encoder=copy.deepcopy(sam.prompt_encoder).requires_grad_(True),
                mask_decoder=copy.deepcopy(sam.mask_decoder).requires_grad_(True),
            ),
            layers=layers,
            hidden_width=hidden_width,
        )
