"""POPE: is there a …? Yes or no, scored by the upstream rule."""

import re

from flmm.benchmarks import metrics
from flmm.benchmarks.base import (
    ANSWERS_EQUAL,
    PLAIN_WAY,
    Benchmark,
    Columns,
    Headline,
    Metric,
    Ratio,
    Way,
    short_answer,
)
from flmm.heads.names import ATTACHED

_NO = {"No", "not", "no"}
_ASKED = re.compile(
    r"\s*(?:is|are) there (?:(?:an?|any|the) )?(.+?)(?: in the (?:image|picture|photo))?\s*\?*\s*", re.I
)


def says_yes(answer: str) -> bool:
    """Upstream's reading of an answer (``evaluate.py`` of AoiDragon/POPE).

    Of the text before the first full stop, commas removed, split at single spaces: no if a word is ``No``,
    ``not`` or ``no``, else yes. So an empty or evasive answer, and "NO", count as yes.
    """
    words = answer.split(".")[0].replace(",", "").split(" ")
    return not _NO.intersection(words)


def object_of(question: str) -> str:
    """The words of the object that is asked for; the question itself where it has another form."""
    match = _ASKED.fullmatch(question)
    return match.group(1) if match else question


def count(columns: Columns, protocol: str) -> dict[str, Ratio]:
    """accuracy, precision, recall, F1 and yes_ratio, as fractions, of the answers of one split.

    A label other than ``no`` is yes, as upstream.
    """
    return metrics.binary_scores(
        [says_yes(answer) for answer in columns["answer"]], [label != "no" for label in columns["label"]]
    )


BENCHMARK = Benchmark(
    name="pope",
    title="POPE",
    reader="pope",
    datasets={"pope": "POPE"},
    splits=("random", "popular", "adversarial"),
    words="asked",
    protocols=("upstream",),
    metrics=(
        Metric("accuracy", "fraction"),
        Metric("precision", "fraction"),
        Metric("recall", "fraction"),
        Metric("F1", "fraction"),
        Metric("yes_ratio", "fraction", "yes ratio"),
        Metric("accuracy_gain", "fraction", "accuracy gain"),
        Metric("F1_gain", "fraction", "F1 gain"),
        Metric("yes_ratio_gain", "fraction", "yes ratio gain"),
        ANSWERS_EQUAL,
    ),
    headline=Headline("accuracy", "upstream", ATTACHED),
    count=count,
    prompt=short_answer,
    notes={"upstream": "POPE: a guess scores 0.5."},
    averaged=True,
    place=1,
    ways=(Way("look-first", "phrase", "look at the object first", object_of), PLAIN_WAY),
    count_ways=lambda columns: count(columns, "look-first"),
    gains=("accuracy", "F1", "yes_ratio"),
)
