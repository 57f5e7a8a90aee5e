"""Which words of an answer are grounded together, by a rule that needs no parser."""

import re

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

Span = tuple[int, int]  # first character and one past the last


def phrase_spans(text: str) -> list[Span]:
    """Runs of words with nothing but spaces between them, cut at English function words.

    "The red circle is left of a star." has "red circle", "left" and "star". A text of function words alone ("Yes.") is
    one phrase, without the punctuation around it; a text without a word has none.
    """
    spans: list[Span] = []
    end = None  # of the phrase to which the next word belongs
    for word in _WORD.finditer(text):
        if word.group().lower() in _BETWEEN:
            end = None
        elif end is not None and not text[end : word.start()].strip():
            spans[-1] = (spans[-1][0], word.end())
            end = word.end()
        else:
            spans.append(word.span())
            end = word.end()
    words = [word.span() for word in _WORD.finditer(text)]
    return spans or ([(words[0][0], words[-1][1])] if words else [])
