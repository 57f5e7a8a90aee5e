"""The baseline that needs no training: localization heads (arXiv 2503.06287, CVPR 2025).

A few attention heads of a frozen LMM look where the words point. They are found on a pilot of phrases without any mask:
heads that look at the image much, and at one place of it. Their maps, smoothed and summed, give a box, and SAM a mask.

Legend: P phrases, C channels = layers x heads of all grids, h w grid, H W coarse logits, E embedding side of SAM.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice

import numpy as np
import torch
from scipy import ndimage

from flmm.backbones.base import HeadInput
from flmm.data.geometry import resize_bilinear, unpad
from flmm.errors import InputError
from flmm.heads.model import HeadOutput, merge_grids
from flmm.heads.segmenter import Segmenter
from flmm.heads.unet import normalise

_BEST_PER_PHRASE = 10  # section 4: the heads with the lowest entropy, of each phrase
_SIGMA, _KERNEL = 1.0, 7  # section 5: Gaussian smoothing of a map, in cells
_LONG_SIDE = 64  # as the U-Net's logits
_FIRM = 8.0  # logit of what is inside
_NEIGHBOURS = np.ones((3, 3), dtype=int)  # components touch at corners too


class LocalizationHead:
    """A head like any other, without a weight of its own; see ``flmm.heads.model.MaskHead``."""

    def __init__(self, channels: Sequence[int], segmenter: Segmenter) -> None:
        self.channels = list(channels)
        self._refiner = segmenter.refiner()

    def __call__(
        self, inputs: Sequence[HeadInput], image_embeddings: Sequence[torch.Tensor]
    ) -> list[HeadOutput]:
        """Coarse logits (P, H, W) of each picture without padding, and SAM's of their boxes at image size."""
        return [self._output(*each) for each in zip(inputs, image_embeddings, strict=True)]

    def _output(self, said: HeadInput, image_embedding: torch.Tensor) -> HeadOutput:
        device = next(self._refiner.parameters()).device
        maps = unpad(
            merge_grids([maps.cpu() for maps in said.attention])[:, said.places(self.channels)], said.view
        )  # (P, k, h, w)
        coarse = torch.stack([region(smoothed(each)) for each in maps]).to(device)
        refined = self._refiner.from_boxes(image_embedding.to(device), coarse, said.image_size)
        return HeadOutput(coarse=coarse, refined=refined)


def select_heads(inputs: Iterable[HeadInput], *, heads: int, phrases: int) -> list[int]:
    """The ``heads`` channels that are among the most concentrated ones of the most pilot phrases, best first.

    ``phrases``: how many of the inputs' phrases are looked at.

    Raises:
        InputError: there is no phrase.
    """
    maps = list(islice((_inside(said, phrase) for said in inputs for phrase in range(len(said))), phrases))
    if not maps:
        raise InputError("localization heads: no training phrase to choose them on; run extract first")
    sums = np.stack([[float(channel.sum()) for channel in each] for each in maps])  # (phrases, C)
    threshold = _elbow(sums.mean(axis=0))
    counts: Counter[int] = Counter()
    for each, total in zip(maps, sums, strict=True):
        looking = np.flatnonzero(total >= threshold)
        entropies = [(spatial_entropy(each[channel]), int(channel)) for channel in looking]
        counts.update(channel for _, channel in sorted(entropies)[: min(_BEST_PER_PHRASE, heads)])
    ranked = sorted(counts, key=lambda channel: (-counts[channel], channel))
    return ranked[:heads]


def spatial_entropy(attention: np.ndarray) -> float:
    """How scattered a map (h, w) is: the entropy of the attention over the connected parts above its mean.

    0 for one blob. A map without any part above its mean (a flat one) has no place: infinity.
    """
    labels, count = ndimage.label(attention > attention.mean(), structure=_NEIGHBOURS)
    if not count:
        return float("inf")
    parts = np.asarray(ndimage.sum_labels(attention, labels, index=np.arange(1, count + 1)))
    shares = parts / parts.sum()
    return float(-(shares * np.log(shares)).sum())


def _inside(said: HeadInput, phrase: int) -> list[np.ndarray]:
    """Every channel's raw map without the grid's padding, grid by grid: their sums must not know a resize."""
    return [
        channel.cpu().numpy()
        for maps, grid in zip(said.attention, said.grids, strict=True)
        for channel in unpad(maps[phrase], grid.view)
    ]


def _elbow(values: np.ndarray) -> float:
    """The value (C,) where the sorted curve bends most: farthest from the line between its ends."""
    curve = np.sort(values)
    span = curve[-1] - curve[0]
    if len(curve) < 3 or span <= 0:
        return float(curve[0])
    line = np.linspace(0, 1, len(curve))
    return float(curve[int(np.argmax(line - (curve - curve[0]) / span))])


def smoothed(maps: torch.Tensor) -> np.ndarray:
    """The sum of the chosen maps (k, h, w), each of unit sum and smoothed: (h, w)."""
    truncate = (_KERNEL // 2) / _SIGMA
    total: np.ndarray = sum(
        ndimage.gaussian_filter(each.numpy(), _SIGMA, truncate=truncate) for each in normalise(maps)
    )
    return total


def region(smooth: np.ndarray) -> torch.Tensor:
    """Logits (H, W): firmly inside the connected part above the mean that holds the most, outside elsewhere."""
    rows, columns = smooth.shape
    scale = _LONG_SIDE / max(rows, columns)
    size = (max(1, round(rows * scale)), max(1, round(columns * scale)))
    large = resize_bilinear(torch.from_numpy(smooth)[None], size)[0].numpy()
    labels, count = ndimage.label(large > large.mean(), structure=_NEIGHBOURS)
    if not count:
        return torch.full(size, -_FIRM)
    parts = ndimage.sum_labels(large, labels, index=np.arange(1, count + 1))
    best = torch.from_numpy(labels == int(np.argmax(parts)) + 1)
    return torch.where(best, _FIRM, -_FIRM)
