"""How many phrases go through a head at once."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

# A few images' worth: more is hardly faster, and one image may have as many by itself, so it costs no further memory.
PHRASES_AT_ONCE = 32

Item = TypeVar("Item")


def together(items: Iterable[Item], phrases: Callable[[Item], int]) -> Iterator[list[Item]]:
    """The items in order, as many at a time as have ``PHRASES_AT_ONCE`` phrases at most, but at least one."""
    batch: list[Item] = []
    count = 0
    for item in items:
        size = phrases(item)
        if batch and count + size > PHRASES_AT_ONCE:
            yield batch
            batch, count = [], 0
        batch.append(item)
        count += size
    if batch:
        yield batch
