"""Imitated coarse masks: what a mask head makes of a 12 x 12 attention grid, for training the tiny SAM
without an LMM.
"""

from __future__ import annotations

import random

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from flmm.shapes.world.scenes import Scene

_GRID = 12
_LONG_SIDE = 64  # the mask head's output
_CONFIDENCE = 5.0


def target_masks(scene: Scene, rng: random.Random, most: int = 5) -> NDArray[np.bool_]:
    """(P, H, W) masks worth segmenting, at most `most`: things, textures, unions of things (plurals)."""
    masks = [t.mask for t in scene.things] + [r.mask for r in scene.stuff]
    things = range(len(scene.things))
    groups = [
        [i for i in things if scene.things[i].shape == shape]
        for shape in dict.fromkeys(thing.shape for thing in scene.things)
    ]
    unions = [group for group in groups if len(group) > 1]
    if not unions and len(scene.things) > 1:
        unions = [rng.sample(list(things), 2)]
    masks += [np.logical_or.reduce([scene.things[i].mask for i in group]) for group in unions]
    rng.shuffle(masks)
    return np.stack(masks[:most])


def coarse_logits(masks: NDArray[np.bool_], generator: torch.Generator) -> torch.Tensor:
    """(P, H, W) true masks to (P, h, w) logits with long side 64: blurred to the grid, shifted, noisy, with
    blobs.
    """
    count, height, width = masks.shape
    scale = max(height, width)
    rows, columns = max(1, round(_GRID * height / scale)), max(1, round(_GRID * width / scale))
    true = torch.from_numpy(masks).float()[:, None]

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.rand(count, 1, 1, 1, generator=generator) * (high - low) + low

    shift = [int(v) for v in torch.randint(-6, 7, (2,), generator=generator)]
    shares = functional.adaptive_avg_pool2d(torch.roll(true, shift, (2, 3)), (rows, columns))
    shares = shares * uniform(0.75, 1.0)
    # The attention of a phrase leaks to another thing or to nothing in particular.
    if count > 1:
        order = torch.randperm(count, generator=generator)
        shares = shares + shares[order] * (uniform(0, 1) < 0.25) * uniform(0.1, 0.75)
    noise = torch.randn(shares.shape, generator=generator)
    shares = (shares + noise * uniform(0.02, 0.14)).clamp(0.004, 0.996)
    out = (round(_LONG_SIDE * height / scale), round(_LONG_SIDE * width / scale))
    logits = functional.interpolate(torch.logit(shares), size=out, mode="bilinear", align_corners=False)
    # A trained head knows more of the outline than the grid shows.
    fine = functional.interpolate(true, size=out, mode="area") * 2 - 1
    sharp = uniform(0, 3.0) * (uniform(0, 1) < 0.6)
    logits = (logits + sharp * functional.avg_pool2d(fine, 5, 1, 2)) * uniform(0.5, 1.3)
    return (logits + torch.randn(logits.shape, generator=generator) * uniform(0, 0.4)).clamp(
        -2 * _CONFIDENCE, 2 * _CONFIDENCE
    )[:, 0]
