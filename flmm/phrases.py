"""Which words of an answer are grounded together, by a rule that needs no parser (learned: ``flmm.keywords``)."""

import re
from collections.abc import Iterable, Sequence

# What can be pointed at is named between these: articles, pronouns, prepositions, auxiliary verbs.
_ARTICLES = "a an the this that these those there here"
_PRONOUNS = "it its they their he his she her i you your we our who whose what which where when"
_CONJUNCTIONS = "and or but nor so as if than then while not no yes"
_PREPOSITIONS = (
    "in on at of to from by with without for into onto over under near next beside behind between above below through "
    "across along around"
)
_VERBS = "is are was were be been being am has have had do does did can could will would may might"
_BETWEEN = frozenset(" ".join([_ARTICLES, _PRONOUNS, _CONJUNCTIONS, _PREPOSITIONS, _VERBS]).split())
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")

# The ways to choose words that the step `keywords` compares, and what people call them.
WAYS = {
    "linear": "keyword selector (a linear layer)",
    "rule": "rule without a parser",
    "spacy": "noun chunks (spaCy)",
}

Span = tuple[int, int]  # first character and one past the last


def phrase_spans(text: str) -> list[Span]:
    """Runs of words with nothing but spaces between them, cut at English function words.

    "The red circle is left of a star." has "red circle", "left" and "star". A text of function words alone ("Yes.") is
    one phrase, without the punctuation around it; a text without a word has none.
    """
    found = words(text)
    spans = joined(text, [(start, end) for start, end in found if text[start:end].lower() not in _BETWEEN])
    return spans or ([(found[0][0], found[-1][1])] if found else [])


def words(text: str) -> list[Span]:
    """The words of a text, punctuation left out; an apostrophe or a hyphen inside a word belongs to it."""
    return [word.span() for word in _WORD.finditer(text)]


def joined(text: str, chosen: Iterable[Span]) -> list[Span]:
    """Chosen words, in their order, as phrases: those with nothing but spaces between them are one."""
    spans: list[Span] = []
    for start, end in chosen:
        if spans and not text[spans[-1][1] : start].strip():
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return spans


def tokens_of(span: Span, ends: Sequence[int]) -> list[int]:
    """The tokens that a part of a text lies in; ``ends``: where in the text each token ends."""
    start, end = span
    return [at for at, stop in enumerate(ends) if stop > start and (ends[at - 1] if at else 0) < end]
