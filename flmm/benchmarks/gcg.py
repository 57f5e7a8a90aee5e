"""Grounded conversation generation: how a described picture is counted (``eval/gcg`` of mbzuai-oryx/groundingLMM)."""

from collections.abc import Sequence

import numpy as np

from flmm.benchmarks import metrics
from flmm.benchmarks.base import Asked, Benchmark, Columns, Headline, Metric, Number, Ratio, Weighed
from flmm.heads.names import REFINED

_RECALLS = np.linspace(0, 1, 101)  # at which COCO reads the precision off


def average_precision(hits: Sequence[np.ndarray], truths: np.ndarray) -> Weighed:
    """COCO's average precision at IoU 0.5 in percent, of pictures (N,) in the order of upstream's image ids.

    ``hits``: per picture whether each predicted mask was matched, (D,) bool. ``truths`` (N,): its true masks. Upstream
    gives every mask the same score, so that their order is that of the files: so it is here.
    """
    sizes = [len(hit) for hit in hits]
    picture = np.repeat(np.arange(len(sizes)), sizes)
    hit = np.concatenate([np.asarray(each, dtype=float) for each in hits]) if hits else np.zeros(0)

    def of_weights(weights: np.ndarray) -> np.ndarray:
        return np.array([_area(row[picture], hit, float(row @ truths)) for row in weights])

    return Weighed(of_weights, np.ones(len(sizes), dtype=bool))


def _area(weights: np.ndarray, hit: np.ndarray, truths: float) -> float:
    """The mean of the highest precision at or beyond each of COCO's recalls, in percent."""
    if not truths or not len(hit):
        return 0.0
    right, all_of_them = np.cumsum(weights * hit), np.cumsum(weights)
    precision = right / np.maximum(all_of_them, 1e-12)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(right / truths, _RECALLS, side="left")
    return 100.0 * float(np.append(highest, 0.0)[place].mean())


def count(columns: Columns, protocol: str) -> dict[str, Number]:
    """Percent, of pictures (N,) in upstream's order; what could not be counted here (no library, no model) is absent.

    Columns: ``hits`` and ``truths`` (``average_precision``), ``miou`` (N,), ``phrases`` (N,), the ``recalled_…`` of
    them, and ``meteor`` and ``cider`` (N,).
    """
    phrases = np.asarray(columns["phrases"], dtype=float)
    everything = np.ones(len(phrases), dtype=bool)
    found: dict[str, Number] = {
        name: metrics.mean(columns[column], 100.0)
        for name, column in (("METEOR", "meteor"), ("CIDEr", "cider"))
        if column in columns
    }
    found["AP50"] = average_precision(columns["hits"], np.asarray(columns["truths"], dtype=float))
    found["mIoU"] = metrics.mean(columns["miou"], 100.0)
    for name, column in (("mask_recall", "recalled_model"), ("mask_recall_words", "recalled_words")):
        if column in columns:
            found[name] = Ratio(np.asarray(columns[column], dtype=float), phrases, everything, 100.0)
    return found


def prompt(question: Asked) -> str:
    """The paper's prompt for a description as it is (``flmm.protocols.GROUNDING_PROMPT``)."""
    return question.text


BENCHMARK = Benchmark(
    name="gcg",
    title="GCG",
    reader="grandf",
    datasets={"grandf": "GranD-f"},
    splits=("val", "test"),
    words="described",
    protocols=("describe-then-ground",),
    metrics=(
        Metric("METEOR", "percent", "METEOR (words and stems)"),
        Metric("CIDEr", "percent"),
        Metric("AP50", "percent"),
        Metric("mIoU", "percent"),
        Metric("mask_recall", "percent", "mask recall (text model)"),
        Metric("mask_recall_words", "percent", "mask recall (shared words)"),
    ),
    headline=Headline("AP50", "describe-then-ground", REFINED),
    count=count,
    prompt=prompt,
    notes={
        "describe-then-ground": "GCG: average precision of the phrases’ masks at IoU 0.5, without classes."
    },
)
