"""Pickles of plain data load; everything that could run code is refused, and has not run."""

import contextlib
import json
import os
import pickle
import struct
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flmm.data.pickles import load_json_or_plain, load_plain
from flmm.errors import InputError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@given(value=PLAIN, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_data_of_every_protocol_loads(value: Any, protocol: int) -> None:
    assert load_plain(pickle.dumps(value, protocol), "refs.p") == value


def test_a_python_2_pickle_with_latin_1_strings_loads() -> None:
    protocol_0 = b"(lp0\n(dp1\nS'raw'\np2\nS'caf\\xe9'\np3\nsS'ref_id'\np4\nI12\nsS'big'\np5\nL5L\nsa."
    assert load_plain(protocol_0, "refs.p") == [{"raw": "café", "ref_id": 12, "big": 5}]
    protocol_2 = b"\x80\x02]q\x00}q\x01U\x03rawq\x02U\x04caf\xe9q\x03sa."
    assert load_plain(protocol_2, "refs.p") == [{"raw": "café"}]


class Bytes2(bytes):
    """A Python 2 ``str``."""


def python_2(value: Any) -> bytes:
    """Protocol 2 as Python 2 writes it: ``Bytes2`` as its ``str``, ``str`` as its ``unicode``."""

    def go(one: Any) -> bytes:
        if isinstance(one, dict):
            return b"}(" + b"".join(go(key) + go(inner) for key, inner in one.items()) + b"u"
        if isinstance(one, list):
            return b"](" + b"".join(map(go, one)) + b"e"
        if isinstance(one, Bytes2):
            return b"T" + struct.pack("<i", len(one)) + bytes(one)
        if isinstance(one, str):
            return b"X" + struct.pack("<I", len(one.encode())) + one.encode()
        if isinstance(one, np.generic):
            kind = (
                b"cnumpy\ndtype\n(" + go(Bytes2(one.dtype.str[1:].encode())) + b"K\x00K\x01tR(K\x03U\x01<NNN"
                b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
            )
            return b"cnumpy.core.multiarray\nscalar\n(" + kind + go(Bytes2(one.tobytes())) + b"tR"
        return b"J" + struct.pack("<i", one)

    return b"\x80\x02" + go(value) + b"."


@given(text=st.text(max_size=12))
def test_python_2_text_is_read_as_utf_8(text: str) -> None:
    assert load_plain(python_2([{"raw": Bytes2(text.encode()), "sent": text}]), "refs.p") == [
        {"raw": text, "sent": text}
    ]


@given(data=st.binary(max_size=12))
def test_python_2_bytes_that_are_no_utf_8_are_latin_1_and_lose_nothing(data: bytes) -> None:
    (found,) = load_plain(python_2([Bytes2(data)]), "refs.p")
    assert found in (data.decode("latin-1"), data.decode("utf-8", errors="replace"))
    assert data in (found.encode("utf-8"), found.encode("latin-1", errors="replace"))


SCALARS = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(np.int64),
    st.integers(0, 2**32 - 1).map(np.uint32),
    st.integers(-128, 127).map(np.int8),
    st.floats(allow_nan=False).map(np.float64),
    st.floats(width=32, allow_nan=False).map(np.float32),
    st.booleans().map(np.bool_),
)


@given(value=SCALARS, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_numpy_scalars_become_pythons_own(value: Any, protocol: int) -> None:
    (found,) = load_plain(pickle.dumps([value], protocol), "refs.p")
    assert found == value.item() and type(found) is type(value.item())


@given(value=SCALARS)
def test_numpy_scalars_of_python_2_too(value: Any) -> None:
    (found,) = load_plain(python_2([value]), "refs.p")
    assert found == value.item() and type(found) is type(value.item())


def test_numpy_text_and_old_module_names() -> None:
    data = pickle.dumps([np.str_("café")], 2)
    assert load_plain(data, "refs.p") == ["café"]
    assert load_plain(data.replace(b"numpy._core", b"numpy.core"), "refs.p") == ["café"]


@pytest.mark.parametrize(
    "value",
    [
        np.zeros(2), np.complex128(1), np.datetime64("2020-01-01"), np.zeros(1, [("a", "i4")])[0],
        np.dtype("O"), np.dtype([("a", "i4")]), np.random.default_rng, np.float64,
    ],
)  # fmt: skip
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_of_numpy_nothing_but_plain_scalars_is_read(value: Any, protocol: int) -> None:
    with pytest.raises(InputError, match=r"refs\.p: "):
        load_plain(pickle.dumps(value, protocol), "refs.p")


@pytest.mark.parametrize("name", ["scalar", "_reconstruct"])
def test_a_pickle_cannot_change_what_stands_for_numpy(name: str) -> None:
    attack = b"\x80\x02cnumpy.core.multiarray\n" + name.encode() + b"\n}U\x01aK\x01sb."
    with pytest.raises(InputError, match="refused"):
        load_plain(attack, "refs.p")
    assert load_plain(pickle.dumps([np.int64(3)]), "refs.p") == [3]


@given(
    value=PLAIN.filter(lambda value: isinstance(value, list | dict)),
    mark=st.sampled_from(["", "\ufeff", " "]),
)
def test_the_same_as_json_is_read(value: Any, mark: str) -> None:
    data = (mark + json.dumps(value)).encode()
    assert load_json_or_plain(data, "refs.p") == value
    assert load_json_or_plain(pickle.dumps(value, 2), "refs.p") == value


def test_damaged_json_is_named() -> None:
    with pytest.raises(InputError, match=r"refs\.p: neither a readable pickle nor JSON"):
        load_json_or_plain(b'[{"ref_id": 1', "refs.p")
    with pytest.raises(InputError, match=r"refs\.p: neither"):
        load_json_or_plain(b"[" * 100_000, "refs.p")


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_wants_to_run_code_is_refused_and_has_not_run(tmp_path: Path, protocol: int) -> None:
    data = pickle.dumps([Evil(tmp_path / "ran")], protocol)
    with pytest.raises(InputError, match=r"refs\.p: refused, this pickle wants to run (posix|os|nt)\.system"):
        load_plain(data, "refs.p")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("value", [OrderedDict(a=1), np.zeros(2), Path("a"), complex(1), len, eval, getattr])
def test_anything_but_plain_data_is_refused(value: Any) -> None:
    with pytest.raises(InputError, match="refused"):
        load_plain(pickle.dumps(value, 2), "refs.p")


GOOD = pickle.dumps(
    [{"ref_id": np.int64(1), "sentences": [{"raw": "a cat", "sent": np.str_("a cät")}], "split": "val"}] * 2,
    2,
)


@settings(max_examples=300, deadline=None)
@given(
    cut=st.integers(0, len(GOOD)),
    flips=st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(1, 255)), max_size=3),
)
def test_a_damaged_pickle_is_data_or_an_input_error(cut: int, flips: list[tuple[int, int]]) -> None:
    data = bytearray(GOOD)
    for position, mask in flips:
        data[position] ^= mask
    try:
        load_plain(bytes(data if flips else data[:cut]), "refs.p")
    except InputError as error:
        assert str(error).startswith("refs.p: ")


def test_a_pickle_takes_no_more_memory_than_it_has_bytes() -> None:
    claimed = (2**31).to_bytes(8, "little")
    tracemalloc.start()
    try:
        with contextlib.suppress(InputError):
            load_plain(pickle.PROTO + b"\x05" + pickle.BYTEARRAY8 + claimed + b"few" + pickle.STOP, "refs.p")
        assert tracemalloc.get_traced_memory()[1] < 100_000_000  # and not the 2 GiB of which it tells
    finally:
        tracemalloc.stop()


@given(data=st.binary(max_size=200))
def test_byte_arrays_load(data: bytes) -> None:
    assert load_plain(pickle.dumps([bytearray(data)], protocol=5), "refs.p") == [bytearray(data)]
