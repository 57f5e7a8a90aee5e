"""The keyword selector: which words of an answer are grounded, read off the frozen LMM's own hidden states.

One linear layer and a sigmoid over the last hidden state (after the final norm) of each token, at the token's own
place: so it is known as soon as the token has been fed back, while the answer goes on. A word is chosen where the mean
probability of its tokens passes the threshold; chosen words in a row are one phrase. Fitted by the step ``keywords``
(``flmm.evaluation.keywords``).

Legend: T tokens, D hidden width.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Self

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import save_file

from flmm.errors import InputError
from flmm.files import atomic_path
from flmm.heads.weights import entry_of, read_metadata, read_weights
from flmm.phrases import Span, joined, tokens_of, words
from flmm.sections import PositiveInt, Section

FILE = "keywords.safetensors"
METADATA_KEY = "flmm_keywords"


class KeywordConfig(Section):
    """What a selector was fitted for: the backbone, its hidden width, the threshold, and the key of the run."""

    backbone: str
    hidden_width: PositiveInt
    threshold: Annotated[float, Field(gt=0, lt=1)]
    key: str


class KeywordSelector:
    """``weight`` (D,) and ``bias`` () of the linear layer."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, config: KeywordConfig) -> None:
        self.weight, self.bias, self.config = weight, bias, config

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file of the step ``keywords``.

        Raises:
            InputError: the file is absent, cut short, or no keyword selector.
        """
        config, weights = _config(path), read_weights(path)
        shapes = {name: tuple(value.shape) for name, value in weights.items()}
        if shapes != {"weight": (config.hidden_width,), "bias": ()}:
            raise InputError(
                f"{path}: expected weight ({config.hidden_width},) and bias (), found {shapes}; run keywords again"
            )
        if not all(torch.isfinite(value).all() for value in weights.values()):
            raise InputError(f"{path}: holds values that are not finite; run keywords again")
        return cls(weights["weight"], weights["bias"], config)

    def save(self, path: Path) -> None:
        """Write it; equal selectors are equal bytes.

        Raises:
            StepError: the disk is full or not writable.
        """
        metadata = {METADATA_KEY: json.dumps(self.config.model_dump(), sort_keys=True)}
        with atomic_path(path) as temporary:
            try:
                save_file({"weight": self.weight, "bias": self.bias}, temporary, metadata=metadata)
            except SafetensorError as error:  # how the library reports a full disk
                raise OSError(str(error)) from error

    def check_fits(self, path: Path, backbone: str, width: int) -> None:
        """Refuse a selector that was fitted on the states of another backbone than that of a head.

        Raises:
            InputError: names both.
        """
        if (self.config.backbone, self.config.hidden_width) != (backbone, width):
            raise InputError(
                f"{path}: was fitted for {self.config.backbone} of hidden width {self.config.hidden_width}, but the "
                f"head is for {backbone} of {width}; delete it, or take the one of the head's backbone"
            )

    def probabilities(self, states: torch.Tensor) -> torch.Tensor:
        """Of each token, that it belongs to a phrase: ``states`` (T, D) to (T,)."""
        return (states.float().cpu() @ self.weight + self.bias).sigmoid()

    def spans(self, text: str, ends: Sequence[int], states: torch.Tensor) -> list[Span]:
        """The phrases of an answer: whole words, in the form of ``flmm.phrases.phrase_spans``; often none.

        ``ends``: where in the text each token ends. ``states`` (T, D): of the tokens that were read, the first T; a
        word with a token that was not read yet is not chosen.
        """
        found = self.probabilities(states)
        chosen = []
        for word in words(text):
            tokens = tokens_of(word, ends)
            if tokens and tokens[-1] < len(found) and found[tokens].mean() > self.config.threshold:
                chosen.append(word)
        return joined(text, chosen)


def _config(path: Path) -> KeywordConfig:
    if not path.is_file():
        raise InputError(f"{path}: no such file; run keywords first")
    found = entry_of(read_metadata(path), METADATA_KEY, KeywordConfig, path)
    if found is None:
        raise InputError(f"{path}: no keyword selector (no {METADATA_KEY!r} in its metadata)")
    return found
