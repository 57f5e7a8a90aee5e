"""The segmenter behind the refiner: a SAM of any size, built from a config, loaded strictly and frozen.

Legend: S input side in pixels, E = S / patch_size embedding side, C embedding channels.
Architecture: https://github.com/facebookresearch/segment-anything (``build_sam.py`` fixes ViT-L's sizes).
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from segment_anything.utils.transforms import ResizeLongestSide
from torch import nn

from flmm.errors import InputError
from flmm.files import read_json
from flmm.heads.weights import load_strictly, read_weights
from flmm.params import Segmenter

# SAM's own constants: RGB mean and deviation of ImageNet, in 0-255 units.
PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
MLP_RATIO = 4.0
MULTIMASK_OUTPUTS = 3

VIT_L: dict[str, Any] = {
    "img_size": 1024,
    "patch_size": 16,
    "encoder": {
        "depth": 24,
        "embed_dim": 1024,
        "num_heads": 16,
        "global_attn_indexes": [5, 11, 17, 23],
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


def segmenter_path(segmenter: Segmenter, raw: Path) -> Path:
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


def load_segmenter(segmenter: Segmenter, raw: Path) -> Sam:
    """The whole frozen SAM: a directory (``config.json``, ``model.safetensors``) or Meta's ViT-L ``.pth``.

    Raises:
        InputError: absent, unreadable, unsafe, or not of the configured sizes.
    """
    path = segmenter_path(segmenter, raw)
    if path.is_dir():
        sam, weights_path = build_sam(read_json(path / "config.json")), path / "model.safetensors"
    else:
        sam, weights_path = build_sam(VIT_L), path
    load_strictly(sam, read_weights(weights_path), weights_path)
    return sam.requires_grad_(False).eval()


def preprocess(sam: Sam, image: Image.Image | np.ndarray) -> torch.Tensor:
    """RGB (H, W, 3) uint8 as SAM's input (1, 3, S, S): longest side S, normalised, padded right and below."""
    resized = ResizeLongestSide(sam.image_encoder.img_size).apply_image(np.asarray(image))
    pixels = torch.from_numpy(resized).permute(2, 0, 1).to(sam.device, torch.float32)
    padded: torch.Tensor = sam.preprocess(pixels)
    return padded[None]


@torch.no_grad()
def embed(sam: Sam, image: Image.Image | np.ndarray) -> torch.Tensor:
    """The image's embedding (C, E, E) by the frozen image encoder."""
    embedding: torch.Tensor = sam.image_encoder(preprocess(sam, image))
    return embedding[0]
