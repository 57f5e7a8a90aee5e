"""The tiny LLaVA and LLaVA-Next: CLIP, on one grid of a padded picture or on two of tiles."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import (
    CLIPImageProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessor,
    LlavaNextProcessor,
    LlavaProcessor,
)

from recipes.labels import padded_labels, tiled_labels
from recipes.lmm import (
    CHAT_TEMPLATE,
    MEAN,
    PATCH,
    Family,
    Features,
    clip_config,
    clip_patches,
    language_config,
    padded_square,
    resized,
)
from recipes.tokenizer import train_tokenizer

# LLaVA-Next's tile, and how many of them a canvas has on a side: 8 x 8 coarse tokens, up to 16 x 16 fine ones.
TILE, TILES = 64, 2
CANVAS = TILE * TILES


def llava(side: int, layers: int = 4, heads: int = 4) -> Family:
    """LLaVA on pictures of `side` pixels; `layers` and `heads` are its language model's."""
    grid = side // PATCH
    return Family(
        build=partial(_build_llava, side=side, layers=layers, heads=heads),
        pixels=lambda image: resized(padded_square(image), side),
        labels=partial(padded_labels, grid=grid),
        grid=grid,
        image_tokens=lambda height, width: grid * grid,
        features=_llava_features,
        vision_modules=lambda model: [model.model.vision_tower],
    )


def llava_next() -> Family:
    """LLaVA-Next: the squashed picture on 8 x 8 tokens, then its canvas of 2 x 2 tiles, the padding removed."""
    return Family(
        build=_build_llava_next,
        pixels=_tiled_pixels,
        labels=partial(tiled_labels, grid=TILE // PATCH, tiles=TILES),
        grid=CANVAS // PATCH,
        image_tokens=_packed_tokens,
        features=_llava_next_features,
        vision_modules=lambda model: [model.model.vision_tower],
    )


def _build_llava(
    seed: int, side: int, layers: int, heads: int
) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    tokenizer = train_tokenizer()
    config = LlavaConfig(
        vision_config=clip_config(side),
        text_config=language_config(tokenizer, layers, heads),
        image_token_index=tokenizer.get_vocab()["<image>"],
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=(side // PATCH) ** 2,
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(config)
    return model, LlavaProcessor(
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": side},
            crop_size={"height": side, "width": side},
            image_mean=[MEAN] * 3,
            image_std=[MEAN] * 3,
        ),
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def _llava_features(
    model: LlavaForConditionalGeneration, pixels: torch.Tensor, sizes: torch.Tensor
) -> Features:
    patches = clip_patches(model, pixels)
    tokens = model.model.multi_modal_projector(patches)
    return Features(patches, tokens, tokens.flatten(0, 1))


def _build_llava_next(seed: int) -> tuple[LlavaNextForConditionalGeneration, LlavaNextProcessor]:
    tokenizer = train_tokenizer()
    pinpoints = [[CANVAS, CANVAS]]
    config = LlavaNextConfig(
        vision_config=clip_config(TILE),
        text_config=language_config(tokenizer),
        image_token_index=tokenizer.get_vocab()["<image>"],
        image_grid_pinpoints=pinpoints,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=(TILE // PATCH) ** 2,
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = LlavaNextForConditionalGeneration(config)
    return model, LlavaNextProcessor(
        image_processor=LlavaNextImageProcessor(
            size={"shortest_edge": TILE},
            crop_size={"height": TILE, "width": TILE},
            image_grid_pinpoints=pinpoints,
            image_mean=[MEAN] * 3,
            image_std=[MEAN] * 3,
        ),
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
    )


def _tiled_pixels(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(5, S, S, 3): the squashed picture, then the canvas's tiles row by row, as the processor cuts them."""
    height, width = image.shape[:2]
    scale = CANVAS / max(height, width)
    size = (round(width * scale), round(height * scale))
    inner = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    canvas = padded_square(inner, fill=0)
    tiles = canvas.reshape(TILES, TILE, TILES, TILE, 3).transpose(0, 2, 1, 3, 4).reshape(-1, TILE, TILE, 3)
    return np.concatenate([resized(image, TILE)[None], tiles])


def _packed_tokens(height: int, width: int) -> int:
    """Coarse tokens, then the un-padded canvas's with a newline after each row."""
    longer, cells = max(height, width), CANVAS // PATCH
    # As `unpad_image` does: the padding on either side is rounded down.
    rows, columns = (cells - 2 * ((cells - cells * length // longer) // 2) for length in (height, width))
    return (TILE // PATCH) ** 2 + rows * (columns + 1)


def _llava_next_features(
    model: LlavaNextForConditionalGeneration, pixels: torch.Tensor, sizes: torch.Tensor
) -> Features:
    count, views = pixels.shape[:2]
    patches = clip_patches(model, pixels.flatten(0, 1))  # (B * 5, n, Dv)
    tokens = model.model.multi_modal_projector(patches)
    packed, _ = model.model.pack_image_features(
        list(tokens.unflatten(0, (count, views))),
        sizes,
        vision_feature_select_strategy="default",
        image_newline=model.model.image_newline.to(tokens.dtype),
    )
    by_picture = (count, views * tokens.shape[1], -1)
    return Features(patches.reshape(by_picture), tokens.reshape(by_picture), torch.cat(packed))
