"""What an LMM has said, as phrases and what a head needs of each."""

from collections.abc import Callable, Sequence

import torch

from flmm.backbones.base import HeadInput, Observation
from flmm.keywords import KeywordSelector
from flmm.phrases import Span, phrase_spans, tokens_of


def ends_of(tokens: Sequence[int], decode: Callable[[Sequence[int]], str]) -> list[int]:
    """Where in the text of some tokens each of them ends."""
    return [len(decode(tokens[: count + 1])) for count in range(len(tokens))]


def phrases_of(
    keywords: KeywordSelector | None,
    text: str,
    ends: Sequence[int],
    observation: Observation | None,
    size: tuple[int, int],
) -> tuple[tuple[Span, ...], list[HeadInput]]:
    """The phrases of an answer whose tokens were read, and a head's input of each.

    ``keywords`` says which words are grounded; without it the rule of ``flmm.phrases`` does. ``ends``: where in the
    text each token ends. ``size``: of the picture, height and width.
    """
    read = len(observation.texts) if observation else 0
    spans, inputs = [], []
    for start, end in _grounded(keywords, text, ends, observation):
        tokens = tokens_of((start, end), ends)
        if observation is not None and tokens and tokens[-1] < read:
            spans.append((start, end))
            inputs.append(observation.joined(tokens).head_input(size))
    return tuple(spans), inputs


def _grounded(
    keywords: KeywordSelector | None, text: str, ends: Sequence[int], observation: Observation | None
) -> list[Span]:
    if keywords is None or observation is None:
        return phrase_spans(text)
    return keywords.spans(text, ends, torch.cat([states[-1] for states in observation.hidden]))
