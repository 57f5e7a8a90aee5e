"""MMBench: multiple choice, right when every rotation of the options is answered right (circular)."""

import re
import string
from collections.abc import Mapping, Sequence
from typing import Any

from flmm.data.question import Question
from flmm.evaluation import metrics

_REQUEST = "Answer with the option's letter from the given choices directly."
# "B", "b.", "(B)", "B)", "B:" alone, or decorated so in front of the option's text. An undecorated letter in
# front of words is none: "A red circle" starts with an article.
_ALONE = re.compile(r"\(?([A-Za-z])\)?[.,:]?")
_BEFORE_TEXT = re.compile(r"(?:\(([A-Z])\)|([A-Z])[.):])\s.*", re.DOTALL)


def prompt(question: Question) -> str:
    """The user text in LLaVA-1.5's wording: hint if there is one, question, lettered options, request."""
    options = [
        f"{letter}. {option}"
        for letter, option in zip(string.ascii_uppercase, question.options, strict=False)
    ]
    return "\n".join([*([question.hint] if question.hint else []), question.text, *options, _REQUEST])


def option_letter(answer: str, options: Sequence[str]) -> str | None:
    """The letter that an answer chooses, or None where it cannot be told (which counts as wrong).

    In this order: a letter alone (``B``, ``b.``, ``(B)``), an option's whole text (without regard to case and
    a full stop at its end), a decorated letter in front of other text (``B. red``). The letter must be one of
    the options'. Upstream (``vlmeval/utils/matching_util.py`` of VLMEvalKit) also accepts letters and texts
    inside longer sentences, and asks a language model about the rest; this rule is stricter and needs none.
    """
    text, letters = answer.strip(), string.ascii_uppercase[: len(options)]
    if (alone := _ALONE.fullmatch(text)) and alone[1].upper() in letters:
        return alone[1].upper()
    same = [
        letter
        for letter, option in zip(letters, options, strict=True)
        if _plain(option) == _plain(text) and text
    ]
    if len(same) == 1:
        return same[0]
    before = _BEFORE_TEXT.fullmatch(text)
    letter = (before[1] or before[2]) if before else None
    return letter if letter and letter in letters else None


def _plain(text: str) -> str:
    return text.strip().removesuffix(".").casefold()


def scores(rows: Sequence[Mapping[str, Any]], column: str) -> dict[str, float]:
    """circular_accuracy, overall and ``circular_accuracy/<category>``, and plain_accuracy, as fractions.

    ``rows``: one split of the answers table; ``column``: ``answer_plain`` or ``answer_attached``. Plain
    accuracy counts every row as a question. A question's category is that of its group's first row
    (``vlmeval/dataset/utils/multiple_choice.py`` of VLMEvalKit).
    """
    correct = [option_letter(row[column], row["options"]) == row["label"] for row in rows]
    groups = [row["group"] for row in rows]
    category: dict[str, str] = {}
    for row in rows:
        category.setdefault(row["group"], row["category"])
    found = {"circular_accuracy": metrics.circular_accuracy(groups, correct)}
    for name in sorted(set(category.values())):
        members = [index for index, group in enumerate(groups) if category[group] == name]
        found[f"circular_accuracy/{name}"] = metrics.circular_accuracy(
            [groups[index] for index in members], [correct[index] for index in members]
        )
    return {**found, "plain_accuracy": sum(correct) / len(correct)}
