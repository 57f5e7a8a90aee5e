"""SAM 2 and 2.1 (arXiv 2408.00714) as a segmenter: still pictures only, by way of transformers.

SAM 2's mask decoder reads the picture at three resolutions. An image embedding is still one block (C, E, E), so that it
is stored and batched like SAM's: the two finer maps are folded into channels (2 x 2 and 4 x 4 cells of them lie in one
cell of the coarse map), without any loss.

Legend: B pictures, P phrases, D width of the decoder, E side of the coarse map, C = D + D + 2D channels of an
embedding: four times as much to store as SAM's.
"""

import copy
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError
from torch import nn
from torch.nn import functional
from transformers import Sam2Config, Sam2Model

from flmm.errors import InputError, first_line
from flmm.heads.refiner import SamRefiner
from flmm.heads.segmenter import Picture, Segmenter

# RGB mean and deviation of ImageNet, of values in 0-1.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FOLDS = (1, 2, 4)  # cells of the coarse, middle and fine map along one side of a coarse cell


class Sam2Segmenter(Segmenter):
    """Every picture fills the whole square, whatever its shape: that is how SAM 2 was trained."""

    def __init__(self, model: Any) -> None:
        self.model: Any = model.requires_grad_(False).eval()
        self.side = model.prompt_encoder.input_image_size
        self.embedding_side = model.prompt_encoder.image_embedding_size[0]
        self.channels = sum(_widths(model.mask_decoder.hidden_size))
        sides = [list(size) for size in reversed(model.backbone_feature_sizes)]
        if sides != [[fold * self.embedding_side] * 2 for fold in FOLDS]:
            raise InputError(
                f"SAM 2 config: feature maps of {sides}, but the decoder needs {self.embedding_side} times 1, 2 and 4"
            )

    @classmethod
    def load(cls, path: Path) -> Self:
        """A directory in Hugging Face format; the parts that only track videos are left out.

        Raises:
            InputError: unreadable, or a weight is missing, unexpected or of another shape.
        """
        try:
            config = Sam2Config.from_pretrained(path)
            loaded: Any = Sam2Model.from_pretrained(path, config=config, output_loading_info=True)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise InputError(f"{path}: cannot be loaded as SAM 2: {first_line(error)}") from error
        model, report = loaded
        # transformers only warns and leaves such weights random.
        unfit = sorted(
            str(key) for kind in ("missing", "mismatched", "unexpected") for key in report[f"{kind}_keys"]
        )
        if unfit:
            raise InputError(
                f"{path}: {len(unfit)} weights are absent, left over or of another shape, such as {unfit[0]}"
            )
        return cls(model)

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Self:
        """The whole model takes the precision, a refiner's copy does not."""
        self.model.to(device=device, dtype=dtype)
        return self

    def preprocess(self, picture: Picture) -> torch.Tensor:
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        square = image.convert("RGB").resize((self.side, self.side), Image.Resampling.BILINEAR)
        pixels = (
            torch.from_numpy(np.array(square)).permute(2, 0, 1).to(self.model.device, torch.float32) / 255
        )
        mean, deviation = (pixels.new_tensor(values)[:, None, None] for values in (MEAN, DEVIATION))
        return ((pixels - mean) / deviation)[None]

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        fine, middle, coarse = self.model.get_image_embeddings(pixels.to(self.model.dtype))
        return fold([coarse, middle, fine])

    def refiner(self) -> SamRefiner:
        model = copy.deepcopy(self.model).float()
        encoder = Sam2PromptEncoder(model.prompt_encoder, model.shared_image_embedding, self.channels)
        decoder = Sam2MaskDecoder(model.mask_decoder)
        return SamRefiner(prompt_encoder=encoder, mask_decoder=decoder, content_size=fills_the_square)


def fills_the_square(image_size: tuple[int, int], side: int) -> tuple[int, int]:
    """The picture's rows and columns in an input square of ``side``: all of them."""
    return side, side


def _widths(width: int) -> list[int]:
    """Channels of the coarse, middle and fine map once they are folded: the decoder has D, D / 4 and D / 8 of them."""
    return [width, width // 4 * FOLDS[1] ** 2, width // 8 * FOLDS[2] ** 2]


def fold(maps: list[torch.Tensor]) -> torch.Tensor:
    """Coarse (B, D, E, E), middle (B, D / 4, 2E, 2E) and fine map (B, D / 8, 4E, 4E) as one block (B, C, E, E)."""
    return torch.cat(
        [functional.pixel_unshuffle(each, factor) for each, factor in zip(maps, FOLDS, strict=True)], dim=1
    )


def unfold(block: torch.Tensor, width: int) -> list[torch.Tensor]:
    """The three maps of a block, coarse one first; undoes ``fold``."""
    parts = block.split(_widths(width), dim=1)
    return [functional.pixel_shuffle(part, factor) for part, factor in zip(parts, FOLDS, strict=True)]


class Sam2PromptEncoder(nn.Module):
    """SAM 2's prompt encoder, called like SAM's. Mask prompts are for the coarse map: zeros for the others."""

    def __init__(self, encoder: Any, positions: Any, channels: int) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(True)
        self.positions = positions  # no weight, a buffer
        self._channels = channels
        self.embed_dim: int = self.encoder.hidden_size
        self.input_image_size = (self.encoder.input_image_size,) * 2
        self.mask_input_size: tuple[int, int] = self.encoder.mask_input_size

    def forward(
        self, points: None, boxes: torch.Tensor, masks: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(P, 4) boxes and (P, 1, 4E, 4E) masks -> (P, 3, D) tokens, (P, C, E, E) prompts."""
        sparse, dense = self.encoder(
            input_points=points, input_labels=None, input_boxes=boxes[:, None], input_masks=masks
        )
        return sparse[:, 0], functional.pad(dense, (0, 0, 0, 0, 0, self._channels - dense.shape[1]))

    def get_dense_pe(self) -> torch.Tensor:
        """Where each cell of the coarse map is: (1, D, E, E)."""
        rows, columns = self.encoder.image_embedding_size
        device = self.encoder.no_mask_embed.weight.device
        down, right = torch.arange(rows, device=device), torch.arange(columns, device=device)
        y, x = torch.meshgrid((down + 0.5) / rows, (right + 0.5) / columns, indexing="ij")
        positions: torch.Tensor = self.positions(torch.stack([x, y], dim=-1))
        return positions.permute(2, 0, 1)[None]


class Sam2MaskDecoder(nn.Module):
    """SAM 2's mask decoder, called like SAM's, with embeddings and prompts as one block each."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder = decoder.requires_grad_(True)
        # These prepared the two finer maps: they are part of the embeddings, which stay frozen.
        self.decoder.conv_s0.requires_grad_(False)
        self.decoder.conv_s1.requires_grad_(False)
        # Otherwise evaluation would show other masks than the one that training looks at.
        self.decoder.dynamic_multimask_via_stability = False

    def forward(
        self,
        *,
        image_embeddings: torch.Tensor,
        image_pe: torch.Tensor,
        sparse_prompt_embeddings: torch.Tensor,
        dense_prompt_embeddings: torch.Tensor,
        multimask_output: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Masks (P, 1, 4E, 4E) and their predicted IoUs (P, 1) of (P, C, E, E) blocks and (P, T, D) tokens."""
        block = image_embeddings + dense_prompt_embeddings
        coarse, middle, fine = unfold(block, self.decoder.hidden_size)
        masks, ious, _, _ = self.decoder(
            image_embeddings=coarse,
            image_positional_embeddings=image_pe.expand(len(coarse), -1, -1, -1),
            sparse_prompt_embeddings=sparse_prompt_embeddings[:, None],
            dense_prompt_embeddings=torch.zeros_like(coarse),
            multimask_output=multimask_output,
            high_resolution_features=[fine, middle],
        )
        return masks[:, 0], ious[:, 0]
