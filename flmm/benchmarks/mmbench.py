"""MMBench: multiple choice, right when every rotation of the options is answered right (circular)."""

import re
import string
from collections.abc import Mapping, Sequence

import numpy as np

from flmm.benchmarks import metrics
from flmm.benchmarks.base import ANSWERS_EQUAL, Asked, Benchmark, Columns, Headline, Metric, Ratio
from flmm.heads.names import ATTACHED

_REQUEST = "Answer with the option's letter from the given choices directly."
# A letter alone, or marked as one in front of other words: "B", "b.", "(B)"; "B. red", "(B) red".
_ALONE = re.compile(r"\(?([A-Za-z])\)?[.,:]?")
_BEFORE_TEXT = re.compile(r"(?:\(([A-Z])\)|([A-Z])[.):])\s.*", re.DOTALL)
# What VLMEvalKit takes for blanks around a letter, how far from the end a letter may stand, in words, and the one
# wording in which it may stand anywhere.
_BLANKS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_LAST_WORDS = 4
_STATED = re.compile(r"(?i:answer is) \**([A-Z])\b")
_REFUSALS = (
    "can't help with images of people",
    "can't process this file",
    "without the image provided",
    "cannot determine the answer",
)
# "A" where a sentence begins, in front of a word: an article, unless the word says something of option A.
_A = r"A[ \t]+(?!(?:is|was|because|since|as|seems|or|and|nor|[A-Z])\b)(?=\w)"
_OPENING = re.compile(rf"\W*(?:(?i:(?:the )?(?:\w+ )?answer(?: is)?)\s*:?\s*\**)?{_A}")
_LATER = re.compile(rf"(?<=[.!?:\n])(\s*){_A}")


def prompt(question: Asked) -> str:
    """The user text in LLaVA-1.5's wording: hint if there is one, question, lettered options, request."""
    options = [f"{letter}. {option}" for letter, option in _choices(question.options).items()]
    return "\n".join([*([question.hint] if question.hint else []), question.text, *options, _REQUEST])


def option_letter(answer: str, options: Sequence[str]) -> str | None:
    """The letter that an answer chooses, or None where it cannot be told (which counts as wrong).

    A letter alone or marked in front of other words, an option's whole text, and else by VLMEvalKit's rules
    (``vlmeval/utils/matching_util.py``) without its language model: the only option's letter among the words is one of
    the last four, or follows "answer is"; else the answer holds the text of exactly one option and is not more than
    twice as long as all options together. Stricter than upstream in one thing: an answer that begins with an article
    ("A red circle"), or with the marked letter of no option, names none.
    """
    text, choices = answer.strip(), _choices(options)
    if not text or any(refusal in text.lower() for refusal in _REFUSALS):
        return None
    if (alone := _ALONE.fullmatch(text)) and alone[1].upper() in choices:
        return alone[1].upper()
    same = [letter for letter, option in choices.items() if _plain(option) == _plain(text)]
    if len(same) == 1:
        return same[0]
    before = _BEFORE_TEXT.fullmatch(text)
    marked = (before[1] or before[2]) if before else None
    if marked and not _named(text, choices) - {marked}:
        return marked if marked in choices else None
    return _spoken(text, choices)


def _spoken(text: str, choices: Mapping[str, str]) -> str | None:
    """The letter of an answer in a sentence, by VLMEvalKit's rules."""
    stated = _STATED.search(text)
    letter = stated[1] if stated and stated[1] in choices else None
    if _OPENING.match(text):
        return letter if letter != "A" else None
    named, words = sorted(_named(text, choices)), _words(text)
    if len(named) == 1 and words.index(named[0]) >= len(words) - _LAST_WORDS:
        return named[0]
    if not named and "Z" in words:  # upstream's letter for none of them
        return None
    if letter:
        return letter
    held = [letter for letter, option in choices.items() if option.lower() in text.lower()]
    short = len(text) <= 2 * sum(map(len, choices.values()))
    return held[0] if short and len(held) == 1 else None


def _named(text: str, choices: Mapping[str, str]) -> set[str]:
    """The letters of options among an answer's words."""
    return set(_words(text)) & set(choices)


def _words(text: str) -> list[str]:
    """An answer's words without the signs around them, and without articles that begin its sentences."""
    return _LATER.sub(r"\1", text).translate(_BLANKS).split()


def _choices(options: Sequence[str]) -> dict[str, str]:
    """Options by letter; an empty one is a letter that the question leaves out."""
    return {letter: option for letter, option in zip(string.ascii_uppercase, options, strict=False) if option}


def _plain(text: str) -> str:
    return text.strip().removesuffix(".").casefold()


def count(columns: Columns, protocol: str) -> dict[str, Ratio]:
    """circular_accuracy, overall and ``circular_accuracy/<category>``, and plain_accuracy, as fractions, of one split.

    Plain accuracy counts every row as a question. A question's category is that of the first of its rotations that has
    one (``vlmeval/dataset/utils/multiple_choice.py`` of VLMEvalKit takes the first row's); a question without any
    counts in the overall numbers only.
    """
    answered = zip(columns["answer"], columns["options"], columns["label"], strict=True)
    correct = [option_letter(answer, options) == label for answer, options, label in answered]
    groups = list(columns["group"])
    category: dict[str, str] = {}
    for group, name in zip(groups, columns["category"], strict=True):
        if name and name.strip():
            category.setdefault(group, name.strip())
    circular = metrics.circular_accuracy(groups, correct)
    found = {"circular_accuracy": circular}
    for name in sorted(set(category.values())):
        found[f"circular_accuracy/{name}"] = circular.of(np.array([category.get(g) == name for g in groups]))
    return {**found, "plain_accuracy": metrics.mean(correct)}


BENCHMARK = Benchmark(
    name="mmbench",
    title="MMBench",
    reader="mmbench",
    datasets={"mmbench": "MMBench"},
    splits=("dev",),
    words="asked",
    protocols=("upstream",),
    metrics=(
        Metric("circular_accuracy", "fraction", "circular accuracy"),
        Metric("plain_accuracy", "fraction", "plain accuracy"),
        ANSWERS_EQUAL,
    ),
    headline=Headline("circular_accuracy", "upstream", ATTACHED),
    count=count,
    prompt=prompt,
    place=2,
)
