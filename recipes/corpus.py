"""Packed pre-training samples: one image prefix and several independent conversations after it.

A question is the first turn after the image at evaluation, so conversations must not see each other: each
attends to the prefix and to itself, and its positions go on from the prefix's end. The image is encoded
once for all of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from flmm.shapes.world.scenes import Scene, make_scene, scene_seed
from recipes.families import FAMILIES
from recipes.language import CELLS, Turn, corpus_turns
from recipes.packing import IGNORE, Encoder, Packed


class Pictures(torch.utils.data.Dataset[tuple[NDArray[np.uint8], NDArray[np.int64]]]):
    """Pixels and patch labels only: the vision tower's warm-up."""

    def __init__(self, family: str, seed: int, length: int) -> None:
        self.family, self.seed, self.length = FAMILIES[family], seed, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        scene = make_scene(scene_seed("pretrain-vision", self.seed, index))
        return self.family.pixels(scene.image), self.family.labels(scene)


# A scene's conversations, after its picture alone or after several: the scenes shown, and what is said of them.
Shown = tuple[list[Scene], list[Turn]]


class Corpus(torch.utils.data.Dataset[tuple[NDArray[np.uint8], NDArray[np.int64], Packed]]):
    """Pixels (P, ...), patch labels (P, 4, N) and packed conversations; item i is a pure function of (seed, i).

    Every fourth item shows `looks`' pictures where the scene has such, all others the scene alone.
    """

    def __init__(
        self,
        family: str,
        processor: Any,
        seed: int,
        length: int,
        stream: str = "pretrain",
        turns: Callable[[Scene, random.Random], list[Turn]] = corpus_turns,
        looks: Callable[[Scene, random.Random], Shown | None] | None = None,
    ) -> None:
        self.family, self.seed, self.length = FAMILIES[family], seed, length
        self.encoder = Encoder(processor, self.family)
        self.stream, self.turns, self.looks = stream, turns, looks

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], NDArray[np.int64], Packed]:
        seed = scene_seed(self.stream, self.seed, index)
        scene, rng = make_scene(seed), random.Random(seed ^ 1)
        shown = self.looks(scene, rng) if self.looks is not None and index % 4 == 3 else None
        scenes, turns = shown or ([scene], self.turns(scene, rng))
        return (
            np.stack([self.family.pixels(each.image) for each in scenes]),
            np.stack([self.family.labels(each) for each in scenes]),
            self.encoder.pack(turns, [(each.height, each.width) for each in scenes]),
        )


@dataclass
class Batch:
    """Tensors of a batch: pixels (P, ..., S, S, 3) uint8, sizes (P, 2), patches (P, 4, N) of all pictures, shares
    (M, cells) of the M labels that are cells, the rest (B, T); mask (B, 1, T, T).
    """

    pixels: torch.Tensor
    sizes: torch.Tensor
    patches: torch.Tensor
    ids: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor
    positions: torch.Tensor
    segments: torch.Tensor
    kinds: torch.Tensor
    shares: torch.Tensor

    def mask(self) -> torch.Tensor:
        """True where a token (row) sees another (column): earlier, and in the prefix or in its own
        conversation.
        """
        seg = self.segments
        t = seg.shape[1]
        causal = torch.ones(t, t, dtype=torch.bool).tril()
        sees = (seg[:, :, None] == seg[:, None, :]) | (seg[:, None, :] == 0)
        return (causal & sees)[:, None]


def collate(items: Sequence[tuple[NDArray[np.uint8], NDArray[np.int64], Packed]]) -> Batch:
    """Pad to the longest; padding is a segment of its own (-1) that nobody else sees."""
    length = max(len(packed.ids) for _, _, packed in items)

    def rows(name: str, fill: float, dtype: torch.dtype) -> torch.Tensor:
        out = torch.full((len(items), length), fill, dtype=dtype)
        for i, (_, _, packed) in enumerate(items):
            values = getattr(packed, name)
            out[i, : len(values)] = torch.tensor(values, dtype=dtype)
        return out

    return Batch(
        torch.from_numpy(np.concatenate([p for p, _, _ in items])),
        torch.tensor([size for _, _, packed in items for size in packed.sizes]),
        torch.from_numpy(np.concatenate([q for _, q, _ in items])),
        rows("ids", 0, torch.long),
        rows("labels", IGNORE, torch.long),
        rows("weights", 0.0, torch.float32),
        rows("positions", 0, torch.long),
        rows("segments", -1, torch.long),
        rows("kinds", -1, torch.long),
        torch.tensor(
            np.array([s for *_, packed in items for s in packed.shares], dtype=np.float32).reshape(
                -1, len(CELLS)
            )
        ),
    )
