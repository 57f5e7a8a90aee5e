"""Any-resolution image tokens (LLaVA-Next and its heirs): a coarse grid, then the canvas of tiles row by row.

Every row of the canvas ends with a newline token, which shows nothing and is left out.
"""

from typing import Any

import torch
from transformers.image_processing_utils import select_best_resolution

from flmm.backbones.base import Grid
from flmm.backbones.grids import square_grid
from flmm.backbones.lmm import Prompt
from flmm.data.geometry import View, unpadded_canvas
from flmm.errors import InputError


def anyres_prompt(model: Any, inputs: Any, image: tuple[int, int], name: str, **packing: Any) -> Prompt:
    """The prompt of ``inputs`` with the grids "coarse" and "fine" of a photograph of size ``image`` (h, w).

    The coarse view is the photograph squashed to a tile; the fine one lies on the canvas of tiles, un-padded by whole
    patches. ``packing``: what the model's ``pack_image_features`` wants besides, the only source of truth of how many
    rows it makes.

    Raises:
        InputError: the prompt does not hold the tokens that the model packs, or the photograph is so narrow that
            the model un-pads its canvas to nothing (names the model).
    """
    config, vision = model.config, model.config.vision_config
    tokens: torch.Tensor = inputs["input_ids"][0]
    places = (tokens == config.image_token_index).nonzero().flatten()
    flags = _newlines(model, inputs, **packing)
    if len(places) != len(flags):
        raise InputError(
            f"{name}: {len(places)} image tokens in the prompt, but the model packs {len(flags)}: "
            "processor_config.json and config.json (patch_size, vision_feature_select_strategy) do not agree"
        )
    side, patch = vision.image_size, vision.patch_size
    coarse = square_grid("coarse", side, patch, View(side, side, 0, 0, side, side))
    first = coarse.rows * coarse.columns
    newlines = flags[first:] > 0
    # In whole patches: SigLIP cuts 384 pixels into 27 patches of 14, and 6 tiles into 162 and not into 164.
    down, across = (
        length // side * coarse.rows * patch
        for length in select_best_resolution(image, config.image_grid_pinpoints)
    )
    view = unpadded_canvas(image, (down, across), patch)
    if not (~newlines).any():
        raise InputError(
            f"{name}: of a photograph of {image[1]} x {image[0]} the model keeps no token of its tiles: it is too "
            "narrow; leave it out"
        )
    fine = Grid("fine", int(newlines.sum()), int(newlines.nonzero()[0]), view)
    return Prompt(dict(inputs), (coarse, fine), (places[:first], places[first:][~newlines]))


@torch.no_grad()
def _newlines(model: Any, inputs: Any, **packing: Any) -> torch.Tensor:
    """1 where the model puts a newline among an image's tokens, 0 elsewhere: (image tokens,)."""
    vision = model.config.vision_config
    count = vision.image_size // vision.patch_size
    blank = torch.zeros(inputs["pixel_values"].shape[1], count * count, 1)
    sizes = inputs["image_sizes"].cpu()
    packed, _ = model.model.pack_image_features([blank], sizes, image_newline=torch.ones(1), **packing)
    flags: torch.Tensor = packed[0][:, 0]
    return flags
