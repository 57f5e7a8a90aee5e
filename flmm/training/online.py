"""Training without a cache: the frozen LMM and SAM see each image when its turn comes, as the authors do.

For those who have a GPU and no disk, and what a cached training is compared with. Every epoch pays for both models
again; no value goes through the cache's codes, so that the head is another one, of about the same quality.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from flmm import backbones
from flmm.backbones.base import Observation
from flmm.data.images import ImageStore
from flmm.data.sample import read_samples
from flmm.errors import InputError, StepError
from flmm.heads.segmenter import Segmenter
from flmm.params import Params
from flmm.protocols import GROUNDING_PROMPT, Answer, training_answers
from flmm.selection import Selection
from flmm.training.images import TrainingImage
from flmm.training.loop import train_on
from flmm.training.masks import drawn, runs_of


def train_online(
    params: Params,
    backbone_name: str,
    samples: Sequence[Path],
    selection: Selection | None,
    out: Path,
    **where: Any,
) -> None:
    """Train a head on the samples of the training parts; see ``flmm.training.loop.train_on``.

    ``selection``: the attention heads and layers that the head takes; None: all. Each process loads the models on the
    device that it trains on.

    Raises:
        InputError: no samples; an unusable photograph, model or segmenter; an answer that does not fit the model.
        StepError: a value is not finite, or the disk is full.
    """

    def online(device: torch.device) -> OnlineImages:
        return OnlineImages(params, backbone_name, samples, selection, where["raw"], device)

    train_on(params, backbone_name, online, out, **where)


@dataclass(frozen=True)
class Picture:
    """A photograph about which the answer ``index`` with so many ``phrases`` is to be spoken.

    Not the answer itself: what is a full stop of ours in it (``SEPARATOR``) is known by identity, which is lost on the
    way from a worker.
    """

    index: int
    phrases: int
    picture: Image.Image

    def __len__(self) -> int:
        return self.phrases


class OnlineImages:
    """The answers of the training parts in the order in which `extract` speaks them, with the models that see them."""

    def __init__(
        self,
        params: Params,
        backbone_name: str,
        samples: Sequence[Path],
        selection: Selection | None,
        raw: Path,
        device: torch.device,
    ) -> None:
        draws = params.extract.train_draws
        self._said = [
            (sample, answer)
            for path in samples
            for sample in read_samples(path)
            for answer, _ in training_answers(sample, draws, params.seed)
        ]
        if not self._said:
            raise InputError(f"{', '.join(map(str, samples))}: no answer to train on")
        entry = params.catalogue[backbone_name]
        self._backbone = backbones.load(entry, dtype=params.extract.dtype, device=str(device))
        self._device, self._precision = device, getattr(torch, params.embed.dtype)
        self.selection = selection
        self.phrases = sum(_phrases(answer) for _, answer in self._said)
        # Of another store: workers must not share an open archive with this process.
        first = self._observed(ImageStore(raw).of(self._said[0][0]), self._said[0][1])
        self.channels = sum(maps.shape[1] for maps in first.attention)
        self.layers, _, self.hidden_width = first.hidden[0].shape  # (L, D) of the hidden states
        self._pictures = ImageStore(raw)

    def __len__(self) -> int:
        return len(self._said)

    def use(self, segmenter: Segmenter) -> None:
        """Embed with this segmenter."""
        self._segmenter = segmenter.to(self._device, self._precision)

    def stored(self, index: int) -> Picture:
        """The photograph of an answer.

        Raises:
            InputError: the photograph is absent, damaged or of another size.
        """
        sample, answer = self._said[index]
        return Picture(index, _phrases(answer), self._pictures.of(sample))

    def ready(self, read: Picture, device: torch.device) -> TrainingImage:
        """Both models see the photograph.

        Raises:
            InputError: the model cannot read the photograph or the answer (names it).
            StepError: a value is not finite (names the answer).
        """
        sample, answer = self._said[read.index]
        size = (sample.height, sample.width)
        seen = self._observed(read.picture, answer)
        embedding = self._segmenter.embed(read.picture).to(device).float()
        if not all(torch.isfinite(values).all() for values in (*seen.attention, *seen.hidden, embedding)):
            raise StepError(
                f"{answer.answer_id}: a value of its attention, hidden states or embedding is not finite; try "
                "extract.dtype: float32 and embed.dtype: float32"
            )
        try:
            runs = runs_of((sample.targets[index].rle for index in seen.targets), size)
        except ValueError as error:
            raise InputError(f"sample {sample.sample_id}: {error}; run prepare again") from error
        said = replace(seen.head_input(size), selection=self.selection)
        return TrainingImage(said, drawn(runs.to(device), len(said), size), embedding)

    def _observed(self, picture: Image.Image, answer: Answer) -> Observation:
        seen = self._backbone.observe(picture, [answer], GROUNDING_PROMPT)[0]
        return seen if self.selection is None else seen.kept(self.selection)


def _phrases(answer: Answer) -> int:
    return sum(piece.target >= 0 for piece in answer.pieces)
