"""The refiner: SAM's prompt encoder and mask decoder, prompted by a coarse mask, its box and the words.

Legend: P phrases, T tokens of a phrase, C prompt width, E embedding side, H W coarse logits, h w image.
SAM's input is a square of ``side`` pixels with the image in its upper left; its mask prompt is 4E x 4E.
Semantics: recorded runs of the authors' code, compared in ``tests/test_reference_parity.py``.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from flmm.data.geometry import (
    bounding_boxes,
    longest_side_size,
    pad_to_square,
    resize_bilinear,
    scale_boxes,
)

PADDING_LOGIT = -1.0  # outside the image the mask prompt says "no" at least this firmly


class SamRefiner(nn.Module):
    """Coarse logits to refined logits at image size; the image encoder is not part of it.

    ``content_size``: rows and columns of an image (h, w) inside SAM's square of a given side.
    """

    def __init__(
        self,
        *,
        prompt_encoder: Any,  # SAM's, or another module that is called like it
        mask_decoder: Any,
        content_size: Callable[[tuple[int, int], int], tuple[int, int]] = longest_side_size,
    ) -> None:
        super().__init__()
        # Under one name, so that the keys are the published `sam.model.*`.
        self.model = nn.ModuleDict({"prompt_encoder": prompt_encoder, "mask_decoder": mask_decoder})
        self.content_size = content_size
        self.prompt_width: int = prompt_encoder.embed_dim
        self.side: int = prompt_encoder.input_image_size[0]
        self.mask_prompt_size: tuple[int, int] = prompt_encoder.mask_input_size  # 4 x the embedding

    @property
    def prompt_encoder(self) -> Any:
        """SAM's encoder of box and mask prompts."""
        return self.model["prompt_encoder"]

    @property
    def mask_decoder(self) -> Any:
        """SAM's mask decoder."""
        return self.model["mask_decoder"]

    def forward(
        self,
        image_embedding: torch.Tensor,
        mask_logits: torch.Tensor,
        text_tokens: Sequence[torch.Tensor],
        image_size: tuple[int, int],
    ) -> torch.Tensor:
        """Refined logits (P, h, w) of (1, C, E, E), coarse logits (P, H, W), per phrase (T, C) tokens."""
        return self.refine([image_embedding], [mask_logits], [text_tokens], [image_size])[0]

    def refine(
        self,
        image_embeddings: Sequence[torch.Tensor],
        mask_logits: Sequence[torch.Tensor],
        text_tokens: Sequence[Sequence[torch.Tensor]],
        image_sizes: Sequence[tuple[int, int]],
    ) -> list[torch.Tensor]:
        """What ``forward`` gives for each of several images, in one pass."""
        images = list(zip(mask_logits, image_sizes, strict=True))
        boxes = torch.cat([self.box_prompts(*image) for image in images])  # (P of all images, 4)
        masks = torch.cat([self.mask_prompts(*image) for image in images])  # (P, 1, 4E, 4E)
        sparse, dense = self.prompt_encoder(points=None, boxes=boxes, masks=masks)
        embeddings = [
            each for each, logits in zip(image_embeddings, mask_logits, strict=True) for _ in logits
        ]
        words = [tokens for each in text_tokens for tokens in each]
        low = self._decode(torch.cat(embeddings), sparse, dense, words)
        parts = low.split([len(logits) for logits in mask_logits])
        return [self._to_image(part, size) for part, size in zip(parts, image_sizes, strict=True)]

    def from_boxes(
        self, image_embedding: torch.Tensor, mask_logits: torch.Tensor, image_size: tuple[int, int]
    ) -> torch.Tensor:
        """Logits (P, h, w) from the boxes of coarse logits (P, H, W) alone: no mask prompt, no words."""
        boxes = self.box_prompts(mask_logits, image_size)
        sparse, dense = self.prompt_encoder(points=None, boxes=boxes, masks=None)
        wordless = [sparse.new_zeros(0, self.prompt_width)] * len(boxes)
        return self._to_image(self._decode(image_embedding, sparse, dense, wordless), image_size)

    def _decode(
        self,
        image_embeddings: torch.Tensor,
        sparse: torch.Tensor,
        dense: torch.Tensor,
        text_tokens: Sequence[torch.Tensor],
    ) -> torch.Tensor:
        """(P or 1, C, E, E) images, (P, 2, C) box tokens, (P, C, E, E) mask prompts, (T, C) text tokens
        -> (P, 4E, 4E) logits.

        Phrases of equally many tokens are decoded together; the decoder's attention knows no padding.
        """
        groups: dict[int, list[int]] = defaultdict(list)
        for index, tokens in enumerate(text_tokens):
            groups[len(tokens)].append(index)
        image_pe = self.prompt_encoder.get_dense_pe()
        # The decoder adds one image to every mask prompt. Ours may be of several images: they are added here, and
        # the one that it adds is empty.
        dense = image_embeddings + dense
        nothing = torch.zeros_like(dense[:1])
        decoded: dict[int, torch.Tensor] = {}
        for members in groups.values():
            text = torch.stack([text_tokens[index] for index in members])  # (G, T, C)
            masks, _ = self.mask_decoder(
                image_embeddings=nothing,
                image_pe=image_pe,
                sparse_prompt_embeddings=torch.cat([sparse[members], text], dim=1),  # (G, 2 + T, C)
                dense_prompt_embeddings=dense[members],
                multimask_output=False,
            )  # (G, 1, 4E, 4E)
            decoded.update(zip(members, masks[:, 0], strict=True))
        return torch.stack([decoded[index] for index in range(len(text_tokens))])

    @torch.no_grad()
    def box_prompts(self, mask_logits: torch.Tensor, image_size: tuple[int, int]) -> torch.Tensor:
        """(P, H, W) logits -> (P, 4) boxes in SAM's input pixels; an empty mask's box is the whole image."""
        probabilities = resize_bilinear(mask_logits.float().sigmoid(), image_size)
        boxes = bounding_boxes(probabilities > 0.5)
        return scale_boxes(boxes, image_size, self.content_size(image_size, self.side))

    def mask_prompts(self, mask_logits: torch.Tensor, image_size: tuple[int, int]) -> torch.Tensor:
        """(P, H, W) logits -> (P, 1, 4E, 4E) on SAM's square; gradients reach the mask head through it.

        The padding is one number for all phrases of a call, the lowest of their logits, as upstream: of those
        that come in, not of the resized ones, whose lowest a shrinking image may have lost.
        """
        inside = resize_bilinear(mask_logits, self.content_size(image_size, self.side))
        padding = min(PADDING_LOGIT, float(mask_logits.detach().min()))
        square = pad_to_square(inside, self.side, value=padding)
        return resize_bilinear(square, self.mask_prompt_size)[:, None]

    def _to_image(self, low: torch.Tensor, image_size: tuple[int, int]) -> torch.Tensor:
        rows, columns = self.content_size(image_size, self.side)
        square = resize_bilinear(low, (self.side, self.side))
        return resize_bilinear(square[..., :rows, :columns], image_size)
