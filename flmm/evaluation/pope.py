"""POPE: is there a …? Yes or no, scored by the upstream rule."""

from collections.abc import Mapping, Sequence
from typing import Any

from flmm.data.question import Question
from flmm.evaluation import metrics

SHORT_ANSWER = "{question}\nAnswer the question using a single word or phrase."
_NO = {"No", "not", "no"}


def prompt(question: Question) -> str:
    """The user text: the question in the wording in which LLaVA-1.5 is asked short questions."""
    return SHORT_ANSWER.format(question=question.text)


def says_yes(answer: str) -> bool:
    """Upstream's reading of an answer (``evaluate.py`` of AoiDragon/POPE).

    Of the text before the first full stop, commas removed, split at single spaces: no if a word is ``No``,
    ``not`` or ``no``, else yes. So an empty or evasive answer, and "NO", count as yes.
    """
    words = answer.split(".")[0].replace(",", "").split(" ")
    return not _NO.intersection(words)


def scores(rows: Sequence[Mapping[str, Any]], column: str) -> dict[str, float]:
    """accuracy, precision, recall, F1 and yes_ratio, as fractions, of one split's rows of the answers table.

    ``column``: ``answer_plain`` or ``answer_attached``. A label other than ``no`` is yes, as upstream.
    """
    return metrics.binary_scores(
        [says_yes(row[column]) for row in rows], [row["label"] != "no" for row in rows]
    )
