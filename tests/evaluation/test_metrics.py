"""The numbers against brute force."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from flmm.benchmarks import metrics

ious = st.lists(st.floats(0, 1), min_size=1, max_size=30).map(np.array)
masks = st.tuples(
    arrays(bool, st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)), elements=st.booleans()),
    st.integers(0, 2**32 - 1),
)


def recall_by_loop(values: np.ndarray) -> float:
    """The upstream definition, written as a loop over thresholds."""
    edges = np.arange(0, 1, 1e-5)
    total = 0.0
    for low, high in pairwise(edges):
        total += (high - low) * np.count_nonzero(values >= low) / len(values)
    return 100 * total


def test_average_recall_equals_the_loop_over_all_thresholds() -> None:
    generator = np.random.default_rng(1)
    for values in (generator.random(200), generator.random(3) ** 4, np.array([0.0, 0.3, 1e-5, 0.99999, 1.0])):
        assert metrics.average_recall(values).value == pytest.approx(recall_by_loop(values), abs=1e-9)


@given(
    st.lists(st.one_of(st.floats(0, 1), st.integers(0, 100_000).map(lambda k: k * 1e-5)), min_size=1).map(
        np.array
    )
)
def test_average_recall_counts_each_threshold_as_a_comparison_would(values: np.ndarray) -> None:
    values = np.concatenate([values, np.nextafter(values, 0), np.minimum(np.nextafter(values, 1), 1)])
    edges = np.arange(0, 1, 1e-5)[:-1]
    assert (metrics.average_recall(values).over == np.searchsorted(edges, values, side="right")).all()


@given(ious)
def test_average_recall_is_the_mean_iou_up_to_one_step(values: np.ndarray) -> None:
    assert metrics.average_recall(values).value == pytest.approx(100 * values.mean(), abs=1.1e-3)


def test_average_recall_of_perfect_and_of_missed_phrases_is_upstreams() -> None:
    assert metrics.average_recall(np.ones(5)).value == pytest.approx(99.999)
    assert metrics.average_recall(np.zeros(5)).value == pytest.approx(0.001)  # IoU 0 reaches the threshold 0


@given(masks)
def test_mask_metrics_equal_pixel_counts(case: tuple[np.ndarray, int]) -> None:
    predicted, seed = case
    truth = np.random.default_rng(seed).random(predicted.shape) > 0.5
    intersections = (predicted & truth).sum(axis=(1, 2))
    unions = (predicted | truth).sum(axis=(1, 2))
    each = [
        np.logical_and(p, t).sum() / np.logical_or(p, t).sum() if np.logical_or(p, t).any() else 0.0
        for p, t in zip(predicted, truth, strict=True)
    ]
    values = metrics.iou(intersections, unions)
    assert values == pytest.approx(each)
    assert metrics.giou(values).value == pytest.approx(100 * np.mean(each))
    total = np.logical_or(predicted, truth).sum()
    expected = 100 * np.logical_and(predicted, truth).sum() / total if total else 0.0
    assert metrics.ciou(intersections, unions).value == pytest.approx(expected)


@given(ious)
def test_precision_falls_with_its_threshold_and_counts_the_threshold_itself(values: np.ndarray) -> None:
    found = [metrics.precision_at(values, threshold).value for threshold in metrics.PRECISION_THRESHOLDS]
    assert found == sorted(found, reverse=True)
    assert metrics.precision_at(np.array([0.5, 0.49]), 0.5).value == 50.0


def test_ciou_weighs_phrases_by_area_and_giou_does_not() -> None:
    intersections, unions = np.array([90, 0]), np.array([100, 10])
    assert metrics.ciou(intersections, unions).value == pytest.approx(100 * 90 / 110)
    assert metrics.giou(metrics.iou(intersections, unions)).value == pytest.approx(45.0)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
def test_binary_scores_equal_the_confusion_table(pairs: list[tuple[bool, bool]]) -> None:
    tp, fp = pairs.count((True, True)), pairs.count((True, False))
    fn, tn = pairs.count((False, True)), pairs.count((False, False))
    scores = metrics.binary_scores([p for p, _ in pairs], [label for _, label in pairs])
    found = {name: score.value for name, score in scores.items()}
    assert found["accuracy"] == pytest.approx((tp + tn) / len(pairs))
    assert found["precision"] == pytest.approx(tp / (tp + fp) if tp + fp else 0)
    assert found["recall"] == pytest.approx(tp / (tp + fn) if tp + fn else 0)
    assert found["F1"] == pytest.approx(2 * tp / (2 * tp + fp + fn) if tp else 0)
    assert found["yes_ratio"] == pytest.approx((tp + fp) / len(pairs))


def test_a_group_is_right_only_when_all_of_its_members_are() -> None:
    groups = ["1", "1", "2", "2", "3"]
    assert metrics.circular_accuracy(groups, [True, True, True, False, True]).value == pytest.approx(2 / 3)
    assert metrics.circular_accuracy(groups, [False, True, True, False, False]).value == 0.0
