"""SAM of any size: built from a configuration, or from one of the published files, which tell their own.

Legend: S input side in pixels, E = S / patch_size embedding side, C embedding channels.
Architecture: https://github.com/facebookresearch/segment-anything (``build_sam.py`` fixes the published sizes).
"""

import copy
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import nn

from flmm.data.geometry import longest_side_size
from flmm.errors import InputError
from flmm.files import read_json
from flmm.heads.refiner import SamRefiner
from flmm.heads.segmenter import Picture, Segmenter
from flmm.heads.weights import load_strictly, read_weights

# SAM's own constants: RGB mean and deviation of ImageNet, in 0-255 units.
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
MLP_RATIO = 4.0
MULTIMASK_OUTPUTS = 3


def _published(width: int, depth: int, heads: int, global_blocks: list[int]) -> dict[str, Any]:
    """The configuration of a published SAM: only the image encoders differ."""
    return {
        "img_size": 1024,
        "patch_size": 16,
        "encoder": {
            "depth": depth,
            "embed_dim": width,
            "num_heads": heads,
            "global_attn_indexes": global_blocks,
            "window_size": 14,
            "out_chans": 256,
        },
        "prompt": {"embed_dim": 256, "mask_in_chans": 16},
        "decoder": {
            "transformer_depth": 2,
            "mlp_dim": 2048,
            "num_heads": 8,
            "iou_head_depth": 3,
            "iou_head_hidden_dim": 256,
        },
    }


VIT_B = _published(768, 12, 12, [2, 5, 8, 11])
VIT_L = _published(1024, 24, 16, [5, 11, 17, 23])
VIT_H = _published(1280, 32, 16, [7, 15, 23, 31])
_PATCHES = "image_encoder.patch_embed.proj.weight"  # (width, 3, patch, patch)
_BLOCK = "image_encoder.blocks."


class SamSegmenter(Segmenter):
    """SAM (arXiv 2304.02643): the longest side of a picture becomes S, the rest of the square is padding."""

    def __init__(self, sam: Sam) -> None:
        self.model = sam.requires_grad_(False).eval()
        self.side = sam.image_encoder.img_size
        self.embedding_side = sam.prompt_encoder.image_embedding_size[0]
        self.channels = sam.prompt_encoder.embed_dim

    @classmethod
    def load(cls, path: Path) -> Self:
        """A directory (``config.json``, ``model.safetensors``) or a file of published weights.

        Raises:
            InputError: absent, unreadable, unsafe, or not of the configured or of any published sizes.
        """
        if path.is_dir():
            source = path / "model.safetensors"
            weights, config = read_weights(source), read_json(path / "config.json")
        else:
            source, weights = path, read_weights(path)
            config = published_config(weights, path)
        sam = build_sam(config)
        load_strictly(sam, weights, source)
        return cls(sam)

    def to(self, device: torch.device, dtype: torch.dtype | None = None) -> Self:
        """Move everything; only the image encoder takes another precision."""
        self.model.to(device)
        if dtype is not None:
            self.model.image_encoder.to(dtype)
        return self

    def preprocess(self, picture: Picture) -> torch.Tensor:
        """A picture as SAM's input (1, 3, S, S): longest side S, normalised, padded right and below."""
        return preprocess(self.model, picture)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Image embeddings (B, C, E, E) of inputs (B, 3, S, S)."""
        encoder = self.model.image_encoder
        embeddings: torch.Tensor = encoder(pixels.to(next(encoder.parameters()).dtype))
        return embeddings

    def refiner(self) -> SamRefiner:
        """A trainable copy of the published prompt encoder and mask decoder."""
        return SamRefiner(
            prompt_encoder=copy.deepcopy(self.model.prompt_encoder).requires_grad_(True),
            mask_decoder=copy.deepcopy(self.model.mask_decoder).requires_grad_(True),
        )


def published_config(weights: Mapping[str, torch.Tensor], source: Path) -> dict[str, Any]:
    """The configuration of published weights, by their image encoder's width and depth.

    Raises:
        InputError: they are of none of the published SAMs (says what was found).
    """
    patches = weights.get(_PATCHES)
    if patches is None:
        raise InputError(
            f"{source}: not a SAM checkpoint, it has no {_PATCHES} "
            "(SAM 2 is read from a directory in Hugging Face format)"
        )
    width = patches.shape[0]
    depth = len({name.removeprefix(_BLOCK).split(".")[0] for name in weights if name.startswith(_BLOCK)})
    for config in (VIT_B, VIT_L, VIT_H):
        if (width, depth) == (config["encoder"]["embed_dim"], config["encoder"]["depth"]):
            return config
    raise InputError(
        f"{source}: an image encoder of width {width} and {depth} blocks is none of SAM's ViT-B (768, 12), "
        "ViT-L (1024, 24) and ViT-H (1280, 32); another SAM needs a directory with a config.json"
    )


def build_sam(config: dict[str, Any]) -> Sam:
    """A SAM with random weights, in eval mode, of the sizes in ``config`` (layout: ``VIT_L``).

    Optional keys: ``encoder.mlp_ratio`` (4), ``pixel_mean`` and ``pixel_std`` (SAM's).

    Raises:
        InputError: a size is missing (names it).
    """
    try:
        return _build(config).eval()
    except KeyError as error:
        raise InputError(f"SAM config: {error.args[0]!r} is missing") from error


def _build(config: dict[str, Any]) -> Sam:
    encoder, prompt, decoder = config["encoder"], config["prompt"], config["decoder"]
    side, patch = config["img_size"], config["patch_size"]
    if side % patch:
        raise InputError(f"SAM config: img_size {side} is not a multiple of patch_size {patch}")
    image_encoder = ImageEncoderViT(
        depth=encoder["depth"],
        embed_dim=encoder["embed_dim"],
        img_size=side,
        mlp_ratio=encoder.get("mlp_ratio", MLP_RATIO),
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        num_heads=encoder["num_heads"],
        patch_size=patch,
        qkv_bias=True,
        use_rel_pos=True,
        global_attn_indexes=tuple(encoder["global_attn_indexes"]),
        window_size=encoder["window_size"],
        out_chans=encoder["out_chans"],
    )
    prompt_encoder = PromptEncoder(
        embed_dim=prompt["embed_dim"],
        image_embedding_size=(side // patch, side // patch),
        input_image_size=(side, side),
        mask_in_chans=prompt["mask_in_chans"],
    )
    mask_decoder = MaskDecoder(
        num_multimask_outputs=MULTIMASK_OUTPUTS,
        transformer=TwoWayTransformer(
            depth=decoder["transformer_depth"],
            embedding_dim=prompt["embed_dim"],
            mlp_dim=decoder["mlp_dim"],
            num_heads=decoder["num_heads"],
        ),
        transformer_dim=prompt["embed_dim"],
        iou_head_depth=decoder["iou_head_depth"],
        iou_head_hidden_dim=decoder["iou_head_hidden_dim"],
    )
    mean, std = config.get("pixel_mean", PIXEL_MEAN), config.get("pixel_std", PIXEL_STD)
    return Sam(image_encoder, prompt_encoder, mask_decoder, pixel_mean=list(mean), pixel_std=list(std))


def preprocess(sam: Sam, image: Picture) -> torch.Tensor:
    """A picture as SAM's input (1, 3, S, S): longest side S, normalised, padded right and below."""
    array = np.asarray(image)
    height, width = longest_side_size(array.shape[:2], sam.image_encoder.img_size)
    resized = Image.fromarray(array).resize((width, height), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1).to(sam.device, torch.float32)
    padded: torch.Tensor = sam.preprocess(pixels)
    return padded[None]
