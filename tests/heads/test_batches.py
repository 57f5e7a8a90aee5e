"""How many phrases go through a head at once."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from flmm.heads.batches import PHRASES_AT_ONCE, together


@given(st.lists(st.integers(0, 2 * PHRASES_AT_ONCE), max_size=30))
def test_every_item_comes_once_in_order_and_a_batch_is_over_the_limit_only_alone(counts: list[int]) -> None:
    batches = list(together(counts, lambda count: count))
    assert [count for batch in batches for count in batch] == counts
    assert all(batch and (sum(batch) <= PHRASES_AT_ONCE or len(batch) == 1) for batch in batches)
    for batch, following in pairwise(batches):
        assert sum(batch) + following[0] > PHRASES_AT_ONCE
