"""The grounding head: U-Net, text prompt and SAM refiner as one module, and the builder that knows its sizes.

Legend: P phrases, C attention channels, h w grid, L layers, T tokens of a phrase, D hidden width,
E embedding side of SAM, H W coarse logits.
"""

import copy
from collections import defaultdict
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


@dataclass(frozen=True)
class HeadInput:
    """What a frozen LMM said about one image: raw ``attention`` (P, C, h, w) on the grid that ``view`` places, per
    phrase ``hidden`` states (L, T, D), SAM's ``image_embedding`` (1, C, E, E), the image's size in pixels.
    """

    attention: torch.Tensor
    hidden: Sequence[torch.Tensor]
    image_embedding: torch.Tensor
    view: View
    image_size: tuple[int, int]


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

    def forward(
        self, answers: Sequence[CachedAnswer], image_embeddings: Sequence[torch.Tensor]
    ) -> list[HeadOutput]:
        """All phrases of some answers, each about its image of ``image_embeddings`` (1, C, E, E), in one pass."""
        inputs = [
            HeadInput(
                attention=answer.attention().to(self.device),
                hidden=[states.to(self.device) for states in answer.hidden()],
                image_embedding=embedding.to(self.device),
                view=answer.grid.view,
                image_size=(answer.height, answer.width),
            )
            for answer, embedding in zip(answers, image_embeddings, strict=True)
        ]
        return self.ground(inputs)

    def ground(self, inputs: Sequence[HeadInput]) -> list[HeadOutput]:
        """Masks of everything that was said about some images.

        Raises:
            InputError: the head was trained on another number of channels.
        """
        for each in inputs:
            if each.attention.shape[1] != self.mask_head.in_channels:
                raise InputError(
                    f"the head was trained on {self.mask_head.in_channels} attention channels, but the backbone "
                    f"gives {each.attention.shape[1]}"
                )
        coarse = [unpad(logits, each.view) for logits, each in zip(self._coarse(inputs), inputs, strict=True)]
        refined = self.sam.refine(
            [each.image_embedding for each in inputs],
            coarse,
            self._text_prompts_of(inputs),
            [each.image_size for each in inputs],
        )
        return [HeadOutput(coarse=c, refined=r) for c, r in zip(coarse, refined, strict=True)]

    def _coarse(self, inputs: Sequence[HeadInput]) -> list[torch.Tensor]:
        """Per image (P, H, W) logits on its whole grid; images whose grids have one size go together."""
        sizes: dict[torch.Size, list[int]] = defaultdict(list)
        for index, each in enumerate(inputs):
            sizes[each.attention.shape[-2:]].append(index)
        logits: dict[int, torch.Tensor] = {}
        for members in sizes.values():
            maps = [inputs[index].attention for index in members]
            parts = self.mask_head(torch.cat(maps))[:, 0].split([len(each) for each in maps])
            logits.update(zip(members, parts, strict=True))
        return [logits[index] for index in range(len(inputs))]

    def _text_prompts_of(self, inputs: Sequence[HeadInput]) -> list[list[torch.Tensor]]:
        prompts = iter(self.text_prompts([states for each in inputs for states in each.hidden]))
        return [[next(prompts) for _ in each.hidden] for each in inputs]

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
