"""An LMM that was fine-tuned the LISA way: the state that says its token `[SEG]` prompts SAM's mask decoder.

Architecture: LISA (arXiv 2308.00692), section 3.2. Legend: P phrases, D hidden width, C prompt width, E embedding
side, h w image.
"""

from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load_file
from torch import nn

from flmm.data.geometry import longest_side_size, resize_bilinear
from flmm.errors import InputError
from flmm.heads.sam import SamSegmenter

SEG = "[SEG]"
FILE = "seg.safetensors"  # of the projector and the mask decoder, beside the LMM's own files


def question(expression: str) -> str:
    """What such an LMM is asked for a mask."""
    return f"Please segment {expression}."


def reply(expression: str) -> tuple[str, str]:
    """The pieces of what it is taught to answer: the phrase, and the token whose mask is made."""
    return expression, SEG


class SegDecoder(nn.Module):
    """`[SEG]`'s hidden states to masks: a projector of two layers, and SAM's mask decoder, both fine-tuned."""

    image_pe: torch.Tensor  # (1, C, E, E)
    no_mask: torch.Tensor  # (1, C, 1, 1)

    def __init__(self, segmenter: SamSegmenter, hidden_width: int) -> None:
        super().__init__()
        # The prompt encoder stays as it was published.
        refiner = segmenter.refiner()
        self.mask_decoder: Any = refiner.mask_decoder
        width, self.side = segmenter.channels, segmenter.side
        self.projector = nn.Sequential(
            nn.Linear(hidden_width, hidden_width), nn.ReLU(), nn.Linear(hidden_width, width)
        )
        prompts = refiner.prompt_encoder
        self.register_buffer("image_pe", prompts.get_dense_pe().detach(), persistent=False)
        self.register_buffer(
            "no_mask", prompts.no_mask_embed.weight.detach()[..., None, None], persistent=False
        )

    @classmethod
    def load(cls, folder: Path, segmenter: SamSegmenter, hidden_width: int) -> Self:
        """The decoder of a model directory.

        Raises:
            InputError: its file is absent, unreadable or of other sizes.
        """
        decoder, path = cls(segmenter, hidden_width), folder / FILE
        try:
            decoder.load_state_dict(load_file(path))
        except (OSError, RuntimeError, ValueError) as error:
            why = str(error).splitlines()[0]
            raise InputError(f"{path}: no mask decoder for this LMM and segmenter ({why})") from error
        return decoder.requires_grad_(False).eval()

    def forward(self, image_embedding: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """(1, C, E, E) of one image, (P, D) states of `[SEG]` -> (P, 4E, 4E) logits on SAM's square."""
        words = self.projector(states.float())[:, None]  # (P, 1, C)
        low, _ = self.mask_decoder(
            image_embeddings=image_embedding,
            image_pe=self.image_pe,
            sparse_prompt_embeddings=words,
            dense_prompt_embeddings=self.no_mask.expand(len(words), -1, *image_embedding.shape[-2:]),
            multimask_output=False,
        )
        logits: torch.Tensor = low[:, 0]
        return logits

    def to_image(self, low: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """(P, 4E, 4E) logits -> (P, h, w): the image lies in the upper left of SAM's square."""
        rows, columns = longest_side_size(size, self.side)
        square = resize_bilinear(low, (self.side, self.side))
        return resize_bilinear(square[..., :rows, :columns], size)
