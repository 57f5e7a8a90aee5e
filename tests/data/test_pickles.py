"""Pickles of plain data load; everything that could run code is refused, and has not run."""

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flmm.data.pickles import load_plain
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


GOOD = pickle.dumps([{"ref_id": 1, "sentences": [{"raw": "a cat"}], "split": "val"}] * 2, 2)


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
