"""The step ``keywords``: fit the keyword selector on PNG's training narratives, and count it on PNG's val.

The frozen LMM reads each narrative once, as its own answer to the grounding prompt. A word is to be found where its
piece of the narrative is a grounded noun phrase. The rule of ``flmm.phrases`` and spaCy's noun chunks are counted on
the same words.

Legend: N tokens of all training narratives, T tokens of one, D hidden width.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from flmm import backbones
from flmm.backbones.base import Backbone, Told
from flmm.data.images import ImageStore
from flmm.data.sample import Sample, read_samples
from flmm.device import resolve_device
from flmm.errors import InputError
from flmm.evaluation.chunks import noun_chunks
from flmm.files import write_json
from flmm.keywords import FILE, KeywordConfig, KeywordSelector
from flmm.params import Params
from flmm.phrases import Span, phrase_spans, tokens_of, words
from flmm.progress import tracked
from flmm.protocols import GROUNDING_PROMPT, answers

# The ways to choose words (`flmm.phrases.WAYS`); each gives the phrases of a narrative.
Chooser = Callable[[Told], list[Span]]


@dataclass(frozen=True)
class Narrative:
    """A narrative as the LMM read it; ``nouns`` (T,) bool: whether each token's piece is a grounded noun phrase."""

    told: Told
    nouns: torch.Tensor


def keywords(
    params: Params,
    backbone_name: str,
    training: Sequence[Path],
    evaluation: Sequence[Path],
    raw: Path,
    out: Path,
    key: str,
) -> None:
    """Write ``out/keywords.safetensors`` and ``out/scores.json``.

    ``training`` and ``evaluation``: samples with narratives, of which the first ones are read. ``scores.json``:
    precision, recall and F1 in percent of each way to choose words, and why a way was left out.

    Raises:
        InputError: there is no narrative or no noun in them; an unusable photograph or model; a narrative that does
            not fit the model.
        StepError: the disk is full.
    """
    settings = params.keywords
    device = str(resolve_device(params.extract.device, "extract.device"))
    backbone = backbones.load(params.catalogue[backbone_name], dtype=params.extract.dtype, device=device)
    reader = _Reader(backbone, ImageStore(raw), backbone_name)
    learned = reader.read(training, settings.narratives)
    weight, bias = fit(
        torch.cat([one.told.states for one in learned]),
        torch.cat([one.nouns for one in learned]),
        steps=settings.steps,
        weight_decay=settings.weight_decay,
    )
    config = KeywordConfig(
        backbone=backbone_name, hidden_width=len(weight), threshold=settings.threshold, key=key
    )
    selector = KeywordSelector(weight, bias, config)
    told = reader.read(evaluation, settings.evaluation_narratives)
    choosers, left_out = _choosers(selector)
    scores = {name: score(told, choose) for name, choose in choosers.items()}
    selector.save(out / FILE)
    facts = {"training_narratives": len(learned), "evaluation_narratives": len(told)}
    write_json(out / "scores.json", {"scores": scores, "left_out": left_out, **facts})
    for name, found in scores.items():
        print(f"{name}: {', '.join(f'{metric} {value:.1f}' for metric, value in found.items())}")
    for name, why in left_out.items():
        print(f"{name}: left out, because {why}")


def _choosers(selector: KeywordSelector) -> tuple[dict[str, Chooser], dict[str, str]]:
    """The ways to choose words by name, and why one is left out."""
    found: dict[str, Chooser] = {
        "linear": lambda told: selector.spans(told.text, told.ends, told.states),
        "rule": lambda told: phrase_spans(told.text),
    }
    chunks = noun_chunks()
    if isinstance(chunks, str):
        return found, {"spacy": chunks}
    return {**found, "spacy": lambda told: chunks(told.text)}, {}


class _Reader:
    """Lets the frozen LMM read narratives."""

    def __init__(self, backbone: Backbone, images: ImageStore, name: str) -> None:
        self._backbone, self._images, self._name = backbone, images, name

    def read(self, files: Sequence[Path], count: int) -> list[Narrative]:
        """The first ``count`` narratives of the files."""
        samples = list(_samples(files, count))
        if not samples:
            raise InputError(f"keywords: no narrative in {', '.join(map(str, files)) or 'any part'}")
        return [self._one(sample) for sample in tracked(samples, f"keywords {self._name}")]

    def _one(self, sample: Sample) -> Narrative:
        (answer,) = answers(sample, "standard")  # there a piece has a target where it is a noun
        told = self._backbone.tell(self._images.of(sample), answer, GROUNDING_PROMPT)
        nouns = torch.tensor([answer.pieces[piece].target >= 0 for piece in told.pieces])
        return Narrative(told, nouns)


def _samples(files: Sequence[Path], count: int) -> Iterator[Sample]:
    left = count
    for path in files:
        if left:
            found = read_samples(path)[:left]
            left -= len(found)
            yield from found


def fit(
    states: torch.Tensor, nouns: torch.Tensor, *, steps: int, weight_decay: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logistic regression of ``nouns`` (N,) on ``states`` (N, D): weight (D,) and bias ().

    The whole batch in each of at most ``steps`` steps of L-BFGS from zero, so that nothing is drawn and a run gives
    the bits of the last one. ``weight_decay``: of the weights of standardised states, which are folded back.

    Raises:
        InputError: the tokens are all nouns, or none is.
    """
    if not 0 < int(nouns.sum()) < len(nouns):
        raise InputError("keywords: the training narratives need words of grounded noun phrases and others")
    mean, deviation = states.mean(0), states.std(0).clamp_min(1e-6)
    standardised, labels = (states - mean) / deviation, nouns.float()
    weight = torch.zeros(states.shape[1], requires_grad=True)
    bias = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=steps, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = standardised @ weight + bias
        value = binary_cross_entropy_with_logits(logits, labels) + weight_decay / 2 * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)
    folded = weight.detach() / deviation
    return folded, bias.detach() - folded @ mean


def score(narratives: Sequence[Narrative], choose: Chooser) -> dict[str, float]:
    """Precision, recall and F1 in percent, over the words of all narratives together."""
    both = chosen = nouns = 0
    for one in narratives:
        spans = choose(one.told)
        for start, end in words(one.told.text):
            is_chosen = any(first < end and last > start for first, last in spans)
            is_noun = bool(one.nouns[tokens_of((start, end), one.told.ends)].any())
            both, chosen, nouns = both + (is_chosen and is_noun), chosen + is_chosen, nouns + is_noun
    return {
        "precision": 100 * both / max(chosen, 1),
        "recall": 100 * both / max(nouns, 1),
        "f1": 200 * both / max(chosen + nouns, 1),
    }
