"""Quantisation loses at most half a step of each vector's own scale."""

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flmm.cache import codec

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 40))


def finite(low: float) -> st.SearchStrategy[float]:
    return st.floats(low, 2.0**99, width=32, allow_subnormal=True)


def error_in_scales(vectors: np.ndarray, storage: str) -> np.ndarray:
    payload, scales = codec.encode(vectors, storage)
    steps = np.frombuffer(scales, np.float32)[:, None].astype(np.float64)
    error = np.abs(vectors.astype(np.float64) - codec.decode(payload, scales, storage))
    zeroed = (steps == 0) & (error <= 255 * np.finfo(np.float32).tiny)
    return np.where(zeroed, 0.0, error / np.where(steps > 0, steps, 1.0))


@given(arrays.arrays(np.float32, SHAPES, elements=finite(0.0)))
def test_attention_error_is_at_most_half_a_scale(vectors: np.ndarray) -> None:
    assert error_in_scales(vectors, "uint8").max() <= 0.5 + 1e-4


@given(arrays.arrays(np.float32, SHAPES, elements=finite(-(2.0**99))))
def test_hidden_error_is_at_most_half_a_scale(vectors: np.ndarray) -> None:
    assert error_in_scales(vectors, "int8").max() <= 0.5 + 1e-4


@given(arrays.arrays(np.float32, SHAPES, elements=finite(-(2.0**99))))
def test_float16_error_is_at_most_its_half_precision_of_the_maximum(vectors: np.ndarray) -> None:
    assert error_in_scales(vectors, "float16").max() <= 2.0**-11 + 1e-6


def test_tiny_attention_keeps_its_pattern() -> None:
    vectors = np.linspace(0, 1e-9, 50, dtype=np.float32).reshape(2, 25)
    decoded = codec.decode(*codec.encode(vectors, "uint8"), "uint8")
    np.testing.assert_allclose(decoded, vectors, atol=0.5 * 1e-9 / 255 * 1.01)


@pytest.mark.parametrize("storage", ["uint8", "int8", "float16"])
def test_a_zero_vector_stays_zero(storage: str) -> None:
    vectors = np.zeros((3, 7), np.float32)
    np.testing.assert_array_equal(codec.decode(*codec.encode(vectors, storage), storage), vectors)


def test_negative_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="non-negative"):
        codec.encode(np.array([[-0.5, 1.0]], np.float32), "uint8")
