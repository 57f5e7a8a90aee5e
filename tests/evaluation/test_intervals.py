"""Intervals against the bootstrap as one would write it down: a loop over draws, images and their rows."""

import sys
from collections.abc import Callable
from itertools import pairwise
from types import FrameType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flmm.benchmarks import Ratio, benchmark, benchmarks, metrics
from flmm.evaluation.intervals import DRAWS, draws, image_count, intervals
from flmm.evaluation.records import records_of

PLACE = {"suite": "s", "backbone": "b", "head": "h", "benchmark": "png", "split": "val", "protocol": "p"}


def made_up(rows: int, images: int, seed: int) -> tuple[dict[str, Ratio], list[str]]:
    """One number of every kind, over rows of random images."""
    generator = np.random.default_rng(seed)
    unions = generator.integers(1, 500, rows)
    ious = generator.random(rows)
    said, true = generator.random(rows) > 0.4, generator.random(rows) > 0.5
    numbers = {
        "cIoU": metrics.ciou((unions * ious).astype(int), unions),
        "gIoU": metrics.giou(ious),
        "Pr@0.5": metrics.precision_at(ious, 0.5),
        "AR": metrics.average_recall(ious),
        "AR_things": metrics.average_recall(ious).of(said),
        **metrics.binary_scores(list(said), list(true)),
    }
    return numbers, [f"{number}.jpg" for number in generator.integers(0, images, rows)]


def naive(number: Ratio, images: list[str], seed: int) -> tuple[float, float]:
    """The same draws, each image's rows repeated as often as it was drawn."""
    names = sorted(set(images))
    values = []
    for draw in draws(len(names), seed):
        rows = [
            row
            for name, times in zip(names, draw, strict=True)
            for row in [index for index, image in enumerate(images) if image == name] * int(times)
        ]
        again = Ratio(number.over[rows], number.under[rows], number.counted[rows], number.scale)
        if again.under[again.counted].sum() > 0:
            values.append(again.value)
    low, high = np.quantile(values, [0.025, 0.975])
    return min(low, number.value), max(high, number.value)


def test_intervals_equal_a_loop_over_the_same_draws() -> None:
    numbers, images = made_up(40, 8, 3)
    found = intervals(numbers, images, seed=5)
    for name, number in numbers.items():
        assert found[name] == pytest.approx(naive(number, images, 5), abs=1e-6), name


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_an_interval_contains_its_number_and_stays_in_range(rows: int, images: int, seed: int) -> None:
    numbers, names = made_up(rows, images, seed)
    for name, (low, high) in intervals(numbers, names, seed=7).items():
        top = 1.0 if name in {"accuracy", "precision", "recall", "F1", "yes_ratio"} else 100.0
        assert 0.0 <= low <= numbers[name].value <= high <= top + 1e-9, name


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_images_that_are_alike_leave_no_doubt(rows: int, images: int, seed: int) -> None:
    numbers, _ = made_up(rows, 1, seed)
    for name, number in numbers.items():
        many = Ratio(
            *(np.tile(part, images) for part in (number.over, number.under, number.counted)), number.scale
        )
        names = [str(image) for image in range(images) for _ in range(rows)]
        low, high = intervals({name: many}, names, seed=7)[name]
        assert high - low <= 1e-6, name


def test_rows_of_one_image_are_drawn_together() -> None:
    """Ten rows that all say the same are one observation: the interval is as wide as with one row each."""
    values = np.random.default_rng(0).random(30)
    single = intervals({"x": metrics.giou(values)}, [str(n) for n in range(30)], seed=7)["x"]
    tenfold = intervals(
        {"x": metrics.giou(np.repeat(values, 10))}, [str(n // 10) for n in range(300)], seed=7
    )["x"]
    apart = intervals({"x": metrics.giou(np.repeat(values, 10))}, [str(n) for n in range(300)], seed=7)["x"]
    # Names sort differently, so that the draws fall on other images: equal up to the noise of 1,000 draws.
    assert tenfold[1] - tenfold[0] == pytest.approx(single[1] - single[0], rel=0.15)
    assert apart[1] - apart[0] < 0.5 * (single[1] - single[0])


def test_draws_depend_on_seed_and_number_of_images_alone() -> None:
    first = draws(50, 7)
    assert first.shape == (DRAWS, 50) and (first.sum(axis=1) == 50).all()
    assert (first == draws.__wrapped__(50, 7)).all() and (first != draws(50, 8)).any()
    numbers, images = made_up(40, 8, 3)
    order = np.random.default_rng(1).permutation(40)
    shuffled = {
        name: Ratio(each.over[order], each.under[order], each.counted[order], each.scale)
        for name, each in numbers.items()
    }
    found = intervals(shuffled, [images[row] for row in order], seed=7)
    for name, bounds in intervals(numbers, images, seed=7).items():
        assert found[name] == pytest.approx(bounds, abs=2e-6), name


def test_a_number_of_few_rows_tells_how_many() -> None:
    numbers, images = made_up(40, 8, 3)
    some = numbers["AR"].of(np.arange(40) < 2)
    (record,) = records_of({"AR_stuff": some}, images, 7, **PLACE)
    assert record.n == 2 and record.images == image_count(some, images) == len(set(images[:2]))
    (nothing,) = records_of({"AR_stuff": numbers["AR"].of(np.zeros(40, dtype=bool))}, images, 7, **PLACE)
    assert (nothing.n, nothing.images, nothing.value, nothing.low, nothing.high) == (0, 0, 0.0, 0.0, 0.0)


def test_every_benchmark_gets_an_interval_of_every_number() -> None:
    rows, generator = 24, np.random.default_rng(2)
    unions = generator.integers(1, 90, rows)
    masks = {
        "iou": generator.random(rows), "intersection": unions // 2, "area_union": unions,
        "is_thing": np.arange(rows) % 2 == 0, "is_plural": np.arange(rows) % 3 == 0,
        "category": np.array(["long query", "short query"] * 12, dtype=object),
    }  # fmt: skip
    answers = {
        "answer": ["yes", "no", "A"] * 8, "label": ["yes", "no", "no", "A"] * 6, "options": [["x", "y"]] * rows,
        "group": [str(n // 2) for n in range(rows)], "category": ["c", ""] * 12,
    }  # fmt: skip
    described = {
        "hits": [np.arange(3) < n % 4 for n in range(rows)], "truths": np.full(rows, 4), "phrases": np.full(rows, 4),
        "miou": generator.random(rows), "recalled_words": np.arange(rows) % 4, "recalled_model": np.arange(rows) % 3,
        "meteor": generator.random(rows), "cider": generator.random(rows),
    }  # fmt: skip
    columns = {"asked": answers, "described": described}
    images = [str(n // 4) for n in range(rows)]
    for each in benchmarks():
        for protocol in each.protocols:
            numbers = each.count(columns.get(each.words, masks), protocol)
            for record in records_of(numbers, images, 7, **PLACE):
                assert record.low <= record.value <= record.high and 0 < record.images <= 6 <= record.n, (
                    record
                )
    assert {benchmark(name).words for name in ("res", "pope")} == {"spoken", "asked"}


def calls(function: Callable[[], object]) -> int:
    """How many functions it calls, of Python and of C: what a loop makes many of, on any machine."""
    count = 0

    def see(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(see)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


def test_average_recall_is_the_loop_s_without_a_loop() -> None:
    """The protocol as upstream's script has it: a loop over 100,000 thresholds, each over all phrases."""
    values = np.random.default_rng(0).random(2000)
    edges, total = np.arange(0, 1, 1e-5), 0.0
    for low, high in pairwise(edges):
        total += (high - low) * np.count_nonzero(values >= low) / len(values)
    assert metrics.average_recall(values).value == pytest.approx(100 * total, abs=1e-6)
    assert calls(lambda: metrics.average_recall(values)) < 100


def test_a_thousand_draws_do_not_loop_over_rows_or_images() -> None:
    numbers, images = made_up(20_000, 4_000, 1)
    assert calls(lambda: intervals(numbers, images, seed=7)) < 4_000
