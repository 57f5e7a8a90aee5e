"""A random SAM and a head of a few thousand weights: real modules, tiny sizes."""

from typing import Any

import pytest
import torch

from flmm.backbones.base import Grid, HeadInput
from flmm.data.geometry import letterbox
from flmm.heads.model import GroundingHead, build_head
from flmm.heads.sam import SamSegmenter, build_sam
from flmm.heads.segmenter import Segmenter
from flmm.params import Head

CHANNELS, LAYERS, WIDTH = 6, 3, 10
HEIGHT, IMAGE_WIDTH = 40, 60

TINY_SAM: dict[str, Any] = {
    "img_size": 48,
    "patch_size": 8,
    "encoder": {
        "depth": 2,
        "embed_dim": 16,
        "num_heads": 2,
        "global_attn_indexes": [1],
        "window_size": 4,
        "out_chans": 16,
    },
    "prompt": {"embed_dim": 16, "mask_in_chans": 8},
    "decoder": {
        "transformer_depth": 1,
        "mlp_dim": 16,
        "num_heads": 2,
        "iou_head_depth": 2,
        "iou_head_hidden_dim": 8,
    },
}


def make_head(sam: Segmenter, *, seed: int = 1, channels: int = CHANNELS) -> GroundingHead:
    sizes = Head(base_channels=4, upsample=16)
    return build_head(sizes, channels=channels, layers=LAYERS, hidden_width=WIDTH, segmenter=sam, seed=seed)


@pytest.fixture
def sam() -> SamSegmenter:
    torch.manual_seed(0)
    return SamSegmenter(build_sam(TINY_SAM))


@pytest.fixture
def head(sam: SamSegmenter) -> GroundingHead:
    return make_head(sam)


@pytest.fixture
def said() -> HeadInput:
    """Four phrases of 2, 1, 2 and 3 tokens about a letterboxed landscape image."""
    generator = torch.Generator().manual_seed(5)
    maps, hidden = [], []
    for tokens in (2, 1, 2, 3):
        maps.append(torch.rand(CHANNELS, 8, 8, generator=generator))
        hidden.append(torch.randn(LAYERS, tokens, WIDTH, generator=generator))
    grid = Grid("image", 8, 8, letterbox(HEIGHT, IMAGE_WIDTH, 64))
    return HeadInput((torch.stack(maps),), (grid,), tuple(hidden), (HEIGHT, IMAGE_WIDTH))
