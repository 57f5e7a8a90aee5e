"""How alike two phrases are, 0-1: by their words, or by a text model that the user gives.

Legend: D said phrases, G true ones, T tokens, W width of the model.
"""

from collections.abc import Callable, Sequence

import numpy as np

from flmm.errors import InputError
from flmm.phrases import phrase_spans, words

Similarity = Callable[[Sequence[str], Sequence[str]], np.ndarray]  # said and true phrases -> (D, G)
_LONGEST = 512  # tokens of a phrase, as upstream


def by_words(said: Sequence[str], true: Sequence[str]) -> np.ndarray:
    """Share of the shorter phrase's words that the other one has too, function words left out; (D, G)."""
    mine, theirs = [_content(text) for text in said], [_content(text) for text in true]
    return np.array([[_shared(a, b) for b in theirs] for a in mine]).reshape(len(mine), len(theirs))


def _content(text: str) -> frozenset[str]:
    small = text.lower()
    return frozenset(
        small[start:end]
        for first, last in phrase_spans(small)
        for start, end in words(small)
        if first <= start < last
    )


def _shared(first: frozenset[str], second: frozenset[str]) -> float:
    return len(first & second) / min(len(first), len(second)) if first and second else 0.0


def by_model(name: str) -> Similarity:
    """Cosine between the means of a text model's last hidden states, as upstream takes of bert-base-uncased.

    ``name``: a directory or a hub name that transformers loads.

    Raises:
        InputError: there is no such model, or it cannot be loaded.
    """
    import torch
    from transformers import AutoModel, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        model = AutoModel.from_pretrained(name, dtype=torch.float32).eval()
    except Exception as error:  # transformers and the hub raise many kinds
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"text model {name!r}: cannot be loaded ({reason}); see count.text_model") from error
    known: dict[str, np.ndarray] = {}

    @torch.inference_mode()
    def vector(text: str) -> np.ndarray:
        """(W,), of length 1; zeros for a phrase without a token."""
        if text not in known:
            read = tokenizer(text, return_tensors="pt", max_length=_LONGEST, truncation=True)
            mean = model(**read).last_hidden_state[0].mean(dim=0).numpy()  # (T, W) to (W,)
            known[text] = mean / max(float(np.linalg.norm(mean)), 1e-12)
        return known[text]

    def similarity(said: Sequence[str], true: Sequence[str]) -> np.ndarray:
        return np.array([[float(vector(a) @ vector(b)) for b in true] for a in said]).reshape(
            len(said), len(true)
        )

    return similarity
