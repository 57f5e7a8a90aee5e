"""Annotated masks from run lengths to pixels where the head is: a few hundred numbers travel instead of the pixels."""

from collections.abc import Iterable

import numpy as np
import torch

_LOW, _MORE, _NEGATIVE = (
    0x1F,
    0x20,
    0x10,
)  # of a character: its five bits, whether one follows, a last one's sign


def runs_of(rles: Iterable[str], size: tuple[int, int]) -> torch.Tensor:
    """The lengths (R,) int64 of all runs of some masks of height and width ``size``: zeros and ones in turn.

    ``rles``: COCO compressed run lengths. Each mask begins with zeros and ends with ones, if need be with none.

    Raises:
        ValueError: the runs of a mask are not as many pixels as the image has.
    """
    found = []
    for rle in rles:
        lengths = _lengths(rle)
        if lengths.sum() != size[0] * size[1] or (lengths < 0).any():
            raise ValueError(f"a mask of {lengths.sum()} pixels on an image of {size[1]} x {size[0]}")
        found += [lengths] if len(lengths) % 2 == 0 else [lengths, np.zeros(1, np.int64)]
    return torch.from_numpy(np.concatenate(found))


def _lengths(rle: str) -> np.ndarray:
    """Each number is written five bits at a time, from the third on as what it has more than that two before it."""
    codes = np.frombuffer(rle.encode("ascii"), np.uint8).astype(np.int64) - 48
    last = np.flatnonzero((codes & _MORE) == 0)
    first = np.append(0, last[:-1] + 1)
    digits = last - first + 1
    place = np.arange(len(codes)) - np.repeat(first, digits)
    numbers = np.add.reduceat((codes & _LOW) << (5 * place), first)
    numbers -= np.where(codes[last] & _NEGATIVE, 1 << (5 * digits), 0)
    for turn in (1, 2):  # the first number counts on its own
        numbers[turn::2] = np.cumsum(numbers[turn::2])
    return numbers


def drawn(runs: torch.Tensor, masks: int, size: tuple[int, int]) -> torch.Tensor:
    """The masks (``masks``, h, w) uint8 0/1 of ``runs_of``, where ``runs`` lie."""
    height, width = size
    turns = torch.arange(len(runs), device=runs.device).remainder(2).to(torch.uint8)
    pixels = torch.repeat_interleave(turns, runs, output_size=masks * height * width)
    return pixels.reshape(masks, width, height).transpose(1, 2).contiguous()  # the runs go down the columns
