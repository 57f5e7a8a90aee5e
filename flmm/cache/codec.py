"""Quantisation of cached tensors: each vector (an attention map, a hidden state) keeps its own scale.

Why: float16 maps of LLaVA-1.5-7B take 1.2 MB per phrase. The mask head divides each map by its own sum,
so that only the pattern within a map matters, and eight bits of its maximum hold that pattern.
"""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

# The largest stored value; a stored value times the vector's scale is the original.
_LEVELS = {"uint8": 255.0, "int8": 127.0, "float16": 1.0}
_STORAGE = {"uint8": np.uint8, "int8": np.int8, "float16": np.float16}


def encode(vectors: FloatArray, storage: str) -> tuple[bytes, bytes]:
    """Quantise vectors (K, N); returns the payload (K·N values of ``storage``) and the scales (K float32).

    scale = max|x| / levels, so that |x - decoded| <= scale / 2 up to float32 rounding (float16: 2^-11 of
    the scale). A vector whose scale would not be a normal float32 (maximum under 1e-35) becomes zero.

    Raises:
        ValueError: ``uint8`` and a negative value.
    """
    vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    assert vectors.ndim == 2, vectors.shape
    if storage == "uint8" and vectors.size and vectors.min() < 0:
        raise ValueError("uint8 storage is for non-negative maps")
    largest = np.abs(vectors).max(axis=1, initial=0.0)  # (K,)
    scales = (largest / np.float32(_LEVELS[storage])).astype(np.float32)
    scales[scales < np.finfo(np.float32).tiny] = 0.0
    divisors = np.where(scales > 0, scales, np.float32(np.inf))
    quotients = vectors / divisors[:, None]
    if storage != "float16":
        quotients = np.rint(quotients)
    return quotients.astype(_STORAGE[storage]).tobytes(), scales.tobytes()


def decode(payload: bytes, scales: bytes, storage: str) -> FloatArray:
    """Undo ``encode``: (K, N) float32.

    Raises:
        ValueError: the payload is not a whole number of vectors.
    """
    factors = np.frombuffer(scales, dtype=np.float32)  # (K,)
    values = np.frombuffer(payload, dtype=_STORAGE[storage])
    if not len(factors) or len(values) % len(factors):
        raise ValueError(f"{len(values)} stored values do not belong to {len(factors)} scales")
    decoded: FloatArray = values.reshape(len(factors), -1).astype(np.float32) * factors[:, None]
    return decoded


def value_bytes(storage: str) -> int:
    """Bytes per stored value."""
    return int(np.dtype(_STORAGE[storage]).itemsize)
