"""METEOR and CIDEr of descriptions, by libraries of the extra ``captions``: nltk and pycocoevalcap, neither with Java.

Not the numbers of GLaMM's evaluation to the digit, which runs Java: docs/protocols.md says what differs.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

# What COCO's caption evaluation drops of PTB's tokens.
_MARKS = frozenset(
    ["''", "'", "``", "`", "(", ")", "[", "]", "{", "}", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)
_STOP = re.compile(r"\.(?=\s|$)")  # nltk's tokenizer looks for the last one only
_EXTRA = "pip install 'flmm[captions]'"


class _NoSynonyms:
    """In place of WordNet, which is data and not in the package: no word has a synonym."""

    def synsets(self, word: str) -> list[Any]:
        return []


def meteor(said: Sequence[str], captions: Sequence[Sequence[str]]) -> np.ndarray | str:
    """METEOR per picture (N,) in 0-1, the best of its captions; or why there is none, as half a sentence."""
    try:
        from nltk.translate.meteor_score import meteor_score
    except ImportError:
        return f"nltk is not installed ({_EXTRA})"
    synonyms: Any = _NoSynonyms()
    return np.array(
        [
            meteor_score([tokens(one) for one in mine], tokens(text), wordnet=synonyms)
            for text, mine in zip(said, captions, strict=True)
        ]
    )


def cider(said: Sequence[str], captions: Sequence[Sequence[str]]) -> np.ndarray | str:
    """CIDEr per picture (N,), 0 to 10, words weighed by how rare they are in these captions; or why there is none."""
    try:
        from nltk.tokenize import TreebankWordTokenizer  # noqa: F401 (of `tokens`)
        from pycocoevalcap.cider.cider import Cider
    except ImportError:
        return f"nltk or pycocoevalcap is not installed ({_EXTRA})"
    if not said:
        return np.zeros(0)
    truth = {n: [" ".join(tokens(one)) for one in mine] for n, mine in enumerate(captions)}
    result = {n: [" ".join(tokens(text))] for n, text in enumerate(said)}
    scores: np.ndarray = np.asarray(Cider().compute_score(truth, result)[1])
    return scores


def tokens(text: str) -> list[str]:
    """The words of a text as COCO's caption evaluation has them: PTB's, in small letters, without punctuation."""
    from nltk.tokenize import TreebankWordTokenizer

    found = TreebankWordTokenizer().tokenize(_STOP.sub(" . ", text.lower()))
    return [token for token in found if token not in _MARKS]
