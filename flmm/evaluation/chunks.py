"""Noun chunks by spaCy, an optional extra: ``pip install 'flmm[spacy]'`` and its English model."""

from collections.abc import Callable

from flmm.phrases import Span

MODEL = "en_core_web_sm"


def noun_chunks() -> Callable[[str], list[Span]] | str:
    """A function from a text to the spans of its noun chunks; or why there is none, as half a sentence."""
    try:
        import spacy
    except ImportError:
        return "spaCy is not installed (pip install 'flmm[spacy]')"
    try:
        parse = spacy.load(MODEL)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        return f"spaCy's model {MODEL} cannot be loaded (python -m spacy download {MODEL}): {reason[:200]}"
    return lambda text: [(chunk.start_char, chunk.end_char) for chunk in parse(text).noun_chunks]
