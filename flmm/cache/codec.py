"""A logarithmic 8-bit code for cached tensors: each vector (an attention map, a hidden state) keeps its own scale.

Why: float16 maps of LLaVA-1.5-7B take 1.2 MB per phrase, and a linear 8-bit code loses the map of a head that rests on
one image token (a sink): with 0.4 of a map in one cell, half of the others become zero. So do hidden states, whose
widest dimensions are hundreds of times the others. A logarithmic code keeps every value's own precision instead.

The largest magnitude of a vector is its scale. Code 0 is zero; the others are geometric steps down from the scale:

- not signed (attention): 255 steps of 1/16 octave, down to 2^-15.9 of the largest;
- signed (hidden states): a sign bit and 127 steps of 1/9 octave, down to 2^-14 of the largest.

A value becomes the nearest step, so that it is off by at most (r - 1) / (r + 1) of itself for a ratio r between steps:
2.2 % and 3.9 %. Below the smallest step it becomes that or zero, whichever is nearer. Zeros and the largest are exact.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import torch

FloatArray = npt.NDArray[np.float32]

SMALLEST_SCALE = float(np.finfo(np.float32).tiny)  # a vector below it becomes zero
_STORAGE = {"log8": np.uint8, "float16": np.float16}


@dataclass(frozen=True)
class _Code:
    """``steps`` of 1 / ``per_octave`` octave; ``table``: the value of each of the 256 codes for scale 1."""

    steps: int
    per_octave: int
    table: FloatArray

    def levels(self, shares: FloatArray) -> npt.NDArray[np.uint8]:
        """The nearest step of each share (0 to 1) of the scale; 0 for zero."""
        ratio = 2 ** (1 / self.per_octave)
        # Between two steps the border is their mean, a fixed part of an octave above the lower one.
        above = self.steps + 1 - np.log2((1 + ratio) / 2) * self.per_octave
        # Half of the smallest step is the border to zero; log2 of zero is kept out of the way.
        half = np.float32(2.0 ** (-(self.steps - 1) / self.per_octave) / 2)
        logs = np.log2(np.maximum(shares, half), dtype=np.float32)
        nearest = np.floor(logs * np.float32(self.per_octave) + np.float32(above))
        nearest = np.clip(nearest, 1, self.steps)
        return np.where(shares < half, 0, nearest).astype(np.uint8)


def _code(steps: int, per_octave: int, *, signed: bool) -> _Code:
    magnitudes = 2.0 ** ((np.arange(steps + 1) - steps) / per_octave)
    magnitudes[0] = 0.0
    values = np.concatenate([magnitudes, -magnitudes]) if signed else magnitudes
    return _Code(steps, per_octave, values.astype(np.float32))


_PLAIN, _SIGNED = _code(255, 16, signed=False), _code(127, 9, signed=True)
_SIGN = np.uint8(128)


def encode(vectors: FloatArray, storage: str, *, signed: bool) -> tuple[bytes, bytes]:
    """Code vectors (K, N) of finite values; returns the payload (K·N values of ``storage``) and the scales
    (K float32), the largest magnitudes.

    ``storage``: ``log8`` (above), or ``float16`` of the vector divided by its scale (within 2^-11 of the value, or
    2^-25 of the largest). A vector whose largest magnitude is under 1.2e-38 becomes zero.

    Raises:
        ValueError: a negative value, and not ``signed``.
    """
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    assert vectors.ndim == 2, vectors.shape
    if not signed and vectors.size and vectors.min() < 0:
        raise ValueError("a negative value among maps that are not signed")
    magnitudes = np.abs(vectors)
    scales = magnitudes.max(axis=1, initial=0.0).astype(np.float32)  # (K,)
    scales[scales < SMALLEST_SCALE] = 0.0
    divisors: FloatArray = np.where(scales > 0, scales, np.inf).astype(np.float32)[:, None]
    if storage == "float16":
        return (vectors / divisors).astype(np.float16).tobytes(), scales.tobytes()
    codes = (_SIGNED if signed else _PLAIN).levels((magnitudes / divisors).astype(np.float32, copy=False))
    if signed:
        codes |= np.where((vectors < 0) & (codes > 0), _SIGN, np.uint8(0))
    return codes.tobytes(), scales.tobytes()


def decode(values: torch.Tensor, scales: torch.Tensor, *, signed: bool) -> torch.Tensor:
    """Undo ``encode`` on the device where ``values`` (K, N) and ``scales`` (K,) lie: (K, N) float32.

    ``values``: uint8 (``log8``) or float16. One look-up and one product per value.
    """
    if values.dtype == torch.float16:
        plain = values.float()
    else:
        table = _table(signed, values.device)
        plain = table.index_select(0, values.flatten().int()).reshape(values.shape)
    return plain.mul_(scales[:, None])


@cache
def _table(signed: bool, device: torch.device) -> torch.Tensor:
    return torch.from_numpy((_SIGNED if signed else _PLAIN).table).to(device)


def tensor_type(storage: str) -> torch.dtype:
    """Of the stored values."""
    return torch.float16 if storage == "float16" else torch.uint8
