"""Items that are made in a thread: the same ones, few at a time, errors in their places, an end that leaves none."""

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flmm.ahead import ahead


@settings(deadline=None)
@given(st.lists(st.integers()), st.integers(1, 4))
def test_the_items_come_in_their_order(items: list[int], depth: int) -> None:
    assert list(ahead(items, depth)) == items


def test_no_more_items_are_made_than_may_wait() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            yield number

    for used, number in enumerate(ahead(items(), 2)):
        time.sleep(0.005)
        assert number == used and len(made) <= used + 1 + 2 + 1  # used, waiting, being made


def test_the_next_one_is_made_while_this_one_is_used() -> None:
    begun = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        begun.set()
        yield 1

    stream = ahead(items(), 1)
    next(stream)
    assert begun.wait(120)  # nobody has asked for it
    assert list(stream) == [1]


def test_an_error_is_raised_in_its_items_place() -> None:
    def items() -> Iterator[int]:
        yield 0
        raise ValueError("the second")

    stream = ahead(items(), 3)
    assert next(stream) == 0
    with pytest.raises(ValueError, match="the second"):
        next(stream)


def test_who_stops_early_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    stream = ahead(iter(int, 1), 2)  # zeros without end
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert set(threading.enumerate()) <= before
