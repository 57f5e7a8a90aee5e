"""How sure a number is: the interval that bootstrap draws of whole images give.

Phrases of one image, questions about it and the rotations of a question are not independent; so an image is drawn or
not with all its rows. The draws depend on the seed and the number of images alone: heads and backbones are compared on
the same ones.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

from flmm.benchmarks.base import Number, Ratio, Weighed

DRAWS = 1000
LEVEL = 0.95
_DIGITS = 6  # of the bounds: what is beyond depends on the order in which a machine adds


@lru_cache(maxsize=8)
def draws(images: int, seed: int) -> np.ndarray:
    """How often each draw takes each image: (DRAWS, images), every row sums to ``images``."""
    generator = np.random.default_rng([seed, images])
    taken = generator.integers(0, images, size=(DRAWS, images))
    taken += images * np.arange(DRAWS)[:, None]
    counts = np.bincount(taken.ravel(), minlength=DRAWS * images)
    return counts.reshape(DRAWS, images).astype(float)


def intervals(
    numbers: Mapping[str, Number], images: Sequence[str], seed: int
) -> dict[str, tuple[float, float]]:
    """By name the bounds within which 95 % of the draws lie, in the number's own unit; they enclose the number.

    ``images``: of which image each row (N,) is. A draw in which a number has nothing to divide by is left out.
    """
    return {
        name: _bounds(numbers[name].value, values[~np.isnan(values)])
        for name, values in _values(numbers, images, seed).items()
    }


def gain_intervals(
    numbers: Mapping[str, Number], others: Mapping[str, Number], images: Sequence[str], seed: int
) -> dict[str, tuple[float, float]]:
    """The same of each number less the one of that name among the ``others``, both drawn on the same images.

    Rows of both belong to the same ``images`` (N,), in the same order.
    """
    mine, theirs = (_values(some, images, seed) for some in (numbers, others))
    found = {}
    for name, number in numbers.items():
        values = mine[name] - theirs[name]
        found[name] = _bounds(number.value - others[name].value, values[~np.isnan(values)])
    return found


def _values(numbers: Mapping[str, Number], images: Sequence[str], seed: int) -> dict[str, np.ndarray]:
    """By name what each draw makes of a number, (DRAWS,); NaN where there is nothing to divide by."""
    if not numbers:
        return {}
    _, place = np.unique(np.asarray(images, dtype=str), return_inverse=True)
    count = int(place.max()) + 1
    drawn = draws(count, seed)
    values = _ratios({n: number for n, number in numbers.items() if isinstance(number, Ratio)}, place, drawn)
    for name, number in numbers.items():
        if isinstance(number, Weighed):
            values[name] = number.of_weights(drawn[:, place])
    return {name: values[name] for name in numbers}


def _ratios(numbers: Mapping[str, Ratio], place: np.ndarray, drawn: np.ndarray) -> dict[str, np.ndarray]:
    """The ratios of the draws (DRAWS, images), NaN where nothing divides; ``place`` (N,): each row's image."""
    if not numbers:
        return {}
    sums = [
        np.bincount(place, weights=np.where(number.counted, part, 0.0), minlength=drawn.shape[1])
        for number in numbers.values()
        for part in (number.over, number.under)
    ]
    # (DRAWS, images) x (images, 2 M): every sum of every draw at once.
    added = drawn @ np.stack(sums, axis=1)
    found = {}
    for index, (name, number) in enumerate(numbers.items()):
        over, under = added[:, 2 * index], added[:, 2 * index + 1]
        values = np.full(DRAWS, np.nan)
        values[under > 0] = number.scale * over[under > 0] / under[under > 0]
        found[name] = values
    return found


def _bounds(value: float, values: np.ndarray) -> tuple[float, float]:
    if not len(values):
        return value, value
    outside = (1 - LEVEL) / 2
    low, high = (round(float(bound), _DIGITS) for bound in np.quantile(values, [outside, 1 - outside]))
    return min(low, value), max(high, value)


def image_count(number: Number, images: Sequence[str]) -> int:
    """How many images the number is about."""
    return len(np.unique(np.asarray(images, dtype=str)[number.counted]))
