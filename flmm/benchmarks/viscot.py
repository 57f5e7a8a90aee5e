"""Visual-CoT: how the boxes around its masks are counted, and its answers with and without a second look."""

import re

from flmm.benchmarks import metrics
from flmm.benchmarks.base import PLAIN_WAY, Benchmark, Columns, Headline, Metric, Ratio, Way, short_answer
from flmm.heads.names import REFINED

_WORD = re.compile(r"\w+(?:[.,'’-]\w+)*")
_ARTICLES = {"a", "an", "the"}


def count(columns: Columns, protocol: str) -> dict[str, Ratio]:
    """Pr@0.5 (the benchmark's top-1 accuracy of detection) and mean IoU of boxes, percent, of all questions (N,)."""
    return {"Pr@0.5": metrics.precision_at(columns["iou"], 0.5), "gIoU": metrics.giou(columns["iou"])}


def words(text: str) -> list[str]:
    """A text's words in small letters, without articles and without the signs around them."""
    found: list[str] = _WORD.findall(text.casefold())
    return [word for word in found if word not in _ARTICLES]


def is_exact(answer: str, label: str) -> bool:
    """Whether an answer has the expected words and no others."""
    return words(answer) == words(label)


def contains(answer: str, label: str) -> bool:
    """Whether the expected words stand together somewhere in an answer, in their order."""
    said, expected = words(answer), words(label)
    starts = range(len(said) - len(expected) + 1)
    return any(said[start : start + len(expected)] == expected for start in starts)


def count_ways(columns: Columns) -> dict[str, Ratio]:
    """Right answers in percent; of grades, where there are any, the mean."""
    pairs = list(zip(columns["answer"], columns["label"], strict=True))
    found = {
        "exact": metrics.mean([is_exact(*pair) for pair in pairs], 100.0),
        "contained": metrics.mean([contains(*pair) for pair in pairs], 100.0),
    }
    grades = [grade for grade in columns["grade"] if grade is not None]
    return found | ({"judge": metrics.mean(grades, 100.0)} if len(grades) == len(pairs) else {})


BENCHMARK = Benchmark(
    name="viscot",
    title="Visual-CoT",
    reader="viscot",
    datasets={"viscot": "Visual-CoT"},
    splits=("shapes", "details"),
    words="answered",
    protocols=("answer-then-ground",),
    metrics=(
        Metric("Pr@0.5", "percent"),
        Metric("gIoU", "percent"),
        Metric("exact", "percent", "exact match"),
        Metric("exact_gain", "percent", "gain"),
        Metric("contained", "percent", "contained match"),
        Metric("contained_gain", "percent", "gain"),
        Metric("judge", "percent", "judge"),
        Metric("judge_gain", "percent", "gain"),
    ),
    headline=Headline("Pr@0.5", "answer-then-ground", REFINED),
    count=count,
    prompt=short_answer,
    notes={"answer-then-ground": "Visual-CoT: share of boxes with IoU ≥ 0.5."},
    place=2,
    ways=(
        Way("named-object", "named", "v1: name the object, ground it, look again"),
        Way("whole-question", "phrase", "v2: ground the whole question, look again"),
        Way(PLAIN_WAY.name, PLAIN_WAY.grounds, "v3: no chain of thought"),
    ),
    count_ways=count_ways,
    gains=("exact", "contained", "judge"),
)
