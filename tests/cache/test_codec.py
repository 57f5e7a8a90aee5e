"""The logarithmic code keeps every value within a few per cent of itself, sinks and outliers or not."""

from typing import Any

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from flmm.cache import codec

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 40))
REACH = 2.0**-14  # of a vector's largest magnitude: what lies above is within the bound
SUBNORMAL = 2.0**-149  # what float32 itself rounds the smallest numbers by
ATTENTION, HIDDEN = 0.03, 0.04  # the bounds, of the value itself


def decoded(vectors: np.ndarray, storage: str = "log8", *, signed: bool) -> np.ndarray:
    return codec.decode(*coded(vectors, storage, signed=signed), signed=signed).numpy()


def coded(vectors: np.ndarray, storage: str, *, signed: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The codes (K, N) and the scales (K,) as a reader finds them."""
    payload, scales = codec.encode(vectors, storage, signed=signed)
    values = np.frombuffer(payload, np.uint8).copy()
    found = torch.from_numpy(values).view(codec.tensor_type(storage)).reshape(vectors.shape)
    return found, torch.from_numpy(np.frombuffer(scales, np.float32).copy())


def check(vectors: np.ndarray, bound: float, *, signed: bool) -> None:
    found = decoded(vectors, signed=signed).astype(np.float64)
    exact = vectors.astype(np.float64)
    largest = np.abs(exact).max(axis=1, keepdims=True)
    coded = largest >= codec.SMALLEST_SCALE
    inside = coded & (np.abs(exact) > REACH * largest)
    assert (np.abs(found - exact)[inside] <= bound * np.abs(exact)[inside]).all()
    assert (found[exact == 0] == 0).all()
    rest = np.where(coded, REACH * largest + SUBNORMAL, codec.SMALLEST_SCALE)
    assert (np.abs(found - exact)[~inside] <= np.broadcast_to(rest, exact.shape)[~inside]).all()
    assert ((found * exact >= 0) | ~inside).all()
    assert np.array_equal(np.abs(found).max(axis=1, keepdims=True)[coded], largest[coded])


def magnitudes(low: float) -> st.SearchStrategy[float]:
    return st.floats(low, 2.0**99, width=32, allow_subnormal=True)


@given(arrays.arrays(np.float32, SHAPES, elements=magnitudes(0.0)))
def test_any_attention_is_within_its_bound(vectors: np.ndarray) -> None:
    check(vectors, ATTENTION, signed=False)


@given(arrays.arrays(np.float32, SHAPES, elements=magnitudes(-(2.0**99))))
def test_any_hidden_state_is_within_its_bound(vectors: np.ndarray) -> None:
    check(vectors, HIDDEN, signed=True)


@settings(deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.floats(0, 0.95), st.integers(4, 48), st.floats(0.1, 4), st.floats(1e-6, 1)
)
def test_a_map_with_a_sink_keeps_its_pattern(
    seed: int, share: float, side: int, contrast: float, weight: float
) -> None:
    """``share`` of the map in one cell; the others of very unequal size, ``weight`` of the attention in all."""
    generator = np.random.default_rng(seed)
    maps = generator.lognormal(0, contrast, size=(4, side * side))
    maps /= maps.sum(axis=1, keepdims=True)
    maps *= (1 - share) * weight
    maps[np.arange(4), generator.integers(side * side, size=4)] += share * weight
    maps = maps.astype(np.float32)
    check(maps, ATTENTION, signed=False)
    # What the head does with them: divide by their own sum, without the sink's cell or with it.
    found = decoded(maps, signed=False)
    shares, expected = found / found.sum(axis=1, keepdims=True), maps / maps.sum(axis=1, keepdims=True)
    above = maps > REACH * maps.max(axis=1, keepdims=True)
    assert (np.abs(shares - expected)[above] <= 2.1 * ATTENTION * expected[above]).all()


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1, 1000), st.integers(1, 6), st.integers(64, 512))
def test_hidden_states_with_outlier_dimensions_keep_the_others(
    seed: int, factor: float, outliers: int, width: int
) -> None:
    generator = np.random.default_rng(seed)
    states = generator.normal(size=(6, width))
    states[:, generator.choice(width, outliers, replace=False)] *= factor
    states = states.astype(np.float32)
    check(states, HIDDEN, signed=True)
    found = decoded(states, signed=True)
    alike = (found * states).sum(axis=1) / np.linalg.norm(found, axis=1) / np.linalg.norm(states, axis=1)
    assert alike.min() > 0.999
    quiet = np.abs(states) < 5  # the dimensions without outliers, on their own
    alike = (found * states * quiet).sum() / np.linalg.norm(found * quiet) / np.linalg.norm(states * quiet)
    assert alike > 0.995


@pytest.mark.parametrize(("signed", "bound"), [(False, ATTENTION), (True, HIDDEN)])
def test_the_whole_reach_is_within_the_bound(signed: bool, bound: float) -> None:
    """A dense sweep finds the worst place between two steps, which random values miss."""
    sweep = np.geomspace(REACH * 1.000001, 1, 200_001).astype(np.float32)[None]
    check(sweep, bound, signed=signed)
    error = np.abs(decoded(sweep, signed=signed) / sweep - 1).max()
    assert error > 0.6 * bound  # the bound tells something


@given(arrays.arrays(np.float32, SHAPES, elements=magnitudes(0.0)))
def test_coding_what_was_decoded_changes_nothing(vectors: np.ndarray) -> None:
    once = decoded(vectors, signed=False)
    np.testing.assert_array_equal(decoded(once, signed=False), once)


@given(arrays.arrays(np.float32, SHAPES, elements=magnitudes(-(2.0**99))))
def test_float16_is_within_half_precision(vectors: np.ndarray) -> None:
    found = decoded(vectors, "float16", signed=True).astype(np.float64)
    largest = np.abs(vectors).max(axis=1, keepdims=True).astype(np.float64)
    allowed = np.maximum(2.0**-11 * np.abs(vectors), 2.0**-24 * largest) * 1.001 + codec.SMALLEST_SCALE
    assert (np.abs(found - vectors) <= allowed).all()


@pytest.mark.parametrize("signed", [False, True])
def test_a_value_takes_one_byte_and_a_vector_one_scale(signed: bool) -> None:
    payload, scales = codec.encode(np.ones((3, 7), np.float32), "log8", signed=signed)
    assert (len(payload), len(scales), codec.tensor_type("log8").itemsize) == (21, 12, 1)


@pytest.mark.parametrize("storage", ["log8", "float16"])
@pytest.mark.parametrize("signed", [False, True])
def test_a_zero_vector_stays_zero(storage: str, signed: bool) -> None:
    vectors = np.zeros((3, 7), np.float32)
    np.testing.assert_array_equal(decoded(vectors, storage, signed=signed), vectors)


def test_negative_attention_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        codec.encode(np.array([[-0.5, 1.0]], np.float32), "log8", signed=False)


@given(st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from(["log8", "float16"]))
def test_decoding_is_a_look_up_and_a_product_to_the_bit(seed: int, signed: bool, storage: str) -> None:
    """The same in NumPy, from what the module's text says of the codes: every code, scales of any size."""
    generator = np.random.default_rng(seed)
    scales = (2.0 ** generator.uniform(-126, 120, size=7)).astype(np.float32)
    if storage == "log8":
        steps, octave = (127, 9) if signed else (255, 16)
        table = np.append(0, 2.0 ** ((np.arange(steps) + 1 - steps) / octave)).astype(np.float32)
        table = np.concatenate([table, -table]) if signed else table
        values = np.stack([generator.permutation(256).astype(np.uint8) for _ in scales])
        plain = table[values]
    else:
        values = generator.uniform(-1, 1, size=(7, 256)).astype(np.float16)
        plain = values.astype(np.float32)
    expected = plain * scales[:, None]
    found = codec.decode(torch.from_numpy(values), torch.from_numpy(scales), signed=signed)
    np.testing.assert_array_equal(found.numpy().view(np.uint32), expected.view(np.uint32))


def test_maps_are_decoded_by_one_look_up_and_one_product() -> None:
    """No powers and no copies more, which would cost more than to read the file."""
    values, scales = coded(np.random.rand(4, 5).astype(np.float32), "log8", signed=False)
    with Operations() as done:
        codec.decode(values, scales, signed=False)
    assert [name for name in done.names if name not in ("view", "unsqueeze")] == [
        "_to_copy",  # bytes to the integers that a look-up wants
        "index_select",
        "mul_",
    ]


class Operations(TorchDispatchMode):
    """Notes the name of every operation on tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(operation.overloadpacket.__name__)
        return operation(*args, **(kwargs or {}))
