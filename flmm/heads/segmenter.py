"""The frozen segmenter behind every head, whichever it is: it embeds an image, and its decoder becomes the refiner.

Implementations: ``flmm.heads.sam`` (SAM of any size) and ``flmm.heads.sam2`` (SAM 2 and 2.1). Nothing else knows which
of them is at work. Legend: S input side in pixels, C channels and E side of an image embedding.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

import numpy as np
import torch
from PIL import Image

from flmm.errors import InputError
from flmm.files import read_json
from flmm.heads.refiner import SamRefiner
from flmm.params import Segmenter as Entry

Picture = Image.Image | np.ndarray  # RGB; as an array (H, W, 3) uint8


class Segmenter(ABC):
    """A frozen segmenter in eval mode: none of its own weights is ever trained."""

    side: int  # S: the input is a square of this many pixels
    embedding_side: int  # E
    channels: int  # C

    @abstractmethod
    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Self:
        """Move everything to ``device``, and compute embeddings in ``dtype`` (None: as it is)."""

    @abstractmethod
    def preprocess(self, picture: Picture) -> torch.Tensor:
        """A picture as the image encoder's input (1, 3, S, S), float32."""

    @abstractmethod
    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Image embeddings (B, C, E, E) of inputs (B, 3, S, S), in the image encoder's precision."""

    @abstractmethod
    def refiner(self) -> SamRefiner:
        """A trainable copy of the prompt encoder and the mask decoder, as they were published."""

    @torch.no_grad()
    def embed(self, picture: Picture) -> torch.Tensor:
        """The image embedding (1, C, E, E) of a picture."""
        return self.encode(self.preprocess(picture))


def segmenter_path(segmenter: Entry, raw: Path) -> Path:
    """Where the segmenter is: the path itself, or a downloaded file of that name under ``raw``.

    Raises:
        InputError: neither exists.
    """
    for path in (Path(segmenter.checkpoint), raw / segmenter.checkpoint):
        if path.exists():
            return path
    raise InputError(
        f"segmenter {segmenter.name}: neither {segmenter.checkpoint} nor {raw / segmenter.checkpoint} exists"
    )


def load_segmenter(segmenter: Entry, raw: Path) -> Segmenter:
    """The frozen segmenter of params.yaml. What it is, its own file tells.

    A file is one of SAM's published checkpoints (ViT-B, ViT-L or ViT-H). A directory whose ``config.json`` has a
    ``model_type`` of ``sam2`` or ``sam2_video`` is SAM 2 or 2.1 in Hugging Face format; one without a ``model_type`` is
    a SAM of the sizes in that file.

    Raises:
        InputError: absent, unreadable, unsafe, of another kind, or not of the sizes that its configuration says.
    """
    # transformers takes seconds to import: only what is needed is.
    path = segmenter_path(segmenter, raw)
    kind = _model_type(path) if path.is_dir() else None
    if kind is None:
        from flmm.heads.sam import SamSegmenter

        return SamSegmenter.load(path)
    if kind in ("sam2", "sam2_video"):
        from flmm.heads.sam2 import Sam2Segmenter

        return Sam2Segmenter.load(path)
    raise InputError(f"{path}: its config.json says model_type {kind!r}; known segmenters: sam2, sam2_video")


def _model_type(folder: Path) -> str | None:
    config = read_json(folder / "config.json")
    if not isinstance(config, dict):
        raise InputError(f"{folder / 'config.json'}: not a mapping")
    kind = config.get("model_type")
    return None if kind is None else str(kind)
