"""What one training step reads, and in which order.

Legend: P phrases, h w image size in pixels, C channels and E side of SAM's embedding.
"""

import os
from collections.abc import Iterator, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch.utils.data import DataLoader, Dataset

from flmm.backbones.base import HeadInput
from flmm.cache.embeddings import EmbeddingStore
from flmm.cache.reader import AnswerDataset, read_manifest
from flmm.cache.stored import CPU, StoredAnswer
from flmm.errors import InputError
from flmm.heads.segmenter import Segmenter
from flmm.selection import Selection
from flmm.training.masks import drawn, runs_of

MOST_WORKERS = 8
READ_AHEAD = 8  # images of each worker, 4 MB each for LLaVA-1.5-7B with SAM ViT-L


@dataclass(frozen=True)
class TrainingImage:
    """What was said about one image, its ``masks`` (P, h, w) uint8 0/1 and its ``embedding`` (1, C, E, E)."""

    said: HeadInput
    masks: torch.Tensor
    embedding: torch.Tensor


@dataclass(frozen=True)
class StoredImage:
    """The same as a reader leaves it: a coded answer, masks as ``runs`` (R,), a float16 embedding, all on the CPU."""

    answer: StoredAnswer
    runs: torch.Tensor
    embedding: torch.Tensor

    def __len__(self) -> int:
        return len(self.answer.phrases)

    def on(self, device: torch.device) -> TrainingImage:
        """Decoded on the device: a byte per value goes there."""
        said = self.answer.head_input(device)
        return TrainingImage(
            said=said,
            masks=drawn(self.runs.to(device), len(self), said.image_size),
            embedding=self.embedding.to(device).float(),
        )


class Read(Sized, Protocol):
    """What a reader hands over of one image; its length: phrases."""


class Images(Protocol):
    """What a training is made of: answers by index, each read by one process and made ready on a trainer's device.

    ``channels`` of attention, ``layers`` and ``hidden_width`` of the hidden states; ``phrases`` of all answers.
    """

    channels: int
    layers: int
    hidden_width: int
    phrases: int
    selection: Selection | None

    def __len__(self) -> int: ...

    def use(self, segmenter: Segmenter) -> None:
        """Take the segmenter whose embeddings the head is trained on; InputError: it is not that of the cache."""

    def stored(self, index: int) -> Any:
        """A ``Read``: what a worker can have ready; it needs no model."""

    def ready(self, read: Any, device: torch.device) -> TrainingImage:
        """The image for the head."""


class TrainingImages:
    """All answers of the training parts of one backbone, each with its masks and its image's embedding.

    Raises:
        InputError: no answers; a cache of another backbone; parts with different channels; a damaged file.
    """

    def __init__(self, manifests: Sequence[Path], embed_manifests: Sequence[Path], backbone: str) -> None:
        parts = [read_manifest(path) for path in manifests]
        for part in parts:
            if part.backbone != backbone:
                raise InputError(f"{part.path}: attention of {part.backbone}, not of {backbone}")
            if part.channels != parts[0].channels:
                raise InputError(
                    f"{part.path}: {part.channels} channels, but {parts[0].path} has {parts[0].channels}; "
                    "run extract again"
                )
            if part.selection != parts[0].selection:
                raise InputError(
                    f"{part.path}: other attention heads or layers than {parts[0].path} has; run extract again"
                )
        self.answers = AnswerDataset(parts)
        if not len(self.answers):
            raise InputError(f"{', '.join(map(str, manifests))}: no answer to train on")
        self.embeddings = EmbeddingStore(embed_manifests)
        self.channels, self.selection = parts[0].channels, parts[0].selection
        self.phrases = sum(part.rows for part in parts)
        # (L, D) of the frozen LMM's hidden states
        self.layers, _, self.hidden_width = self.answers[0].phrases[0].hidden.shape

    def __len__(self) -> int:
        return len(self.answers)

    def __getitem__(self, index: int) -> TrainingImage:
        return self.stored(index).on(CPU)

    def use(self, segmenter: Segmenter) -> None:
        """Compare the embeddings' sizes with the segmenter's.

        Raises:
            InputError: they differ.
        """
        found = (self.embeddings.channels, self.embeddings.side)
        wanted = (segmenter.channels, segmenter.embedding_side)
        if found != wanted:
            raise InputError(
                f"{self.embeddings.where}: embeddings of {found[0]} channels, side {found[1]}, but the segmenter has "
                f"{wanted[0]}, {wanted[1]}; run embed again"
            )

    def ready(self, read: StoredImage, device: torch.device) -> TrainingImage:
        """An image decoded on the device."""
        return read.on(device)

    def stored(self, index: int) -> StoredImage:
        """An image's answer as it is read, without the arithmetic."""
        answer = self.answers.stored(index)
        first = answer.phrases[0]
        try:
            runs = runs_of((row["rle"] for row in answer.phrases), (first["height"], first["width"]))
        except ValueError as error:
            raise InputError(
                f"answer {first['answer_id']}: {error}; run prepare and extract again"
            ) from error
        return StoredImage(answer, runs, self.embeddings.stored(first["archive"], first["image"]))


@dataclass(frozen=True)
class Batch:
    """The images of one optimiser step, by index; ``step`` (over all epochs) and ``epoch`` count from 1."""

    step: int
    epoch: int
    images: tuple[int, ...]


def plan(images: int, *, epochs: int, batch_size: int, seed: int) -> list[Batch]:
    """Every step of a training: each epoch a permutation of all images; its last batch may be smaller.

    The order is a function of the arguments alone, so that a resumed run knows what it has seen.
    """
    batches: list[Batch] = []
    for epoch in range(1, epochs + 1):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
        order = torch.randperm(images, generator=generator).tolist()
        for start in range(0, images, batch_size):
            batches.append(Batch(len(batches) + 1, epoch, tuple(order[start : start + batch_size])))
    return batches


def share(batch: Batch, process: int, processes: int) -> tuple[tuple[int, ...], float]:
    """The images of a batch that one process sees, and the weight of each image's loss there.

    Data-parallel gradients are averaged over the processes: the weights make that the mean over the batch. A
    process without an image (a small last batch) repeats one with weight 0, because all must take part.
    """
    mine = batch.images[process::processes]
    return (mine, processes / len(batch.images)) if mine else (batch.images[:1], 0.0)


def workers_of(asked: int | Literal["auto"], processes: int) -> int:
    """How many processes read for each of so many trainers on a machine; neither order nor bytes depend on it.

    ``auto``: a quarter of a trainer's share of the cores, ``MOST_WORKERS`` at most. On fewer than four that is none:
    there, the trainer itself needs them.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(MOST_WORKERS, cores // processes // 4) if asked == "auto" else asked


def read_ahead(images: Images, order: Sequence[int], workers: int) -> Iterator[Read]:
    """Images in ``order``, read by this process (``workers`` 0) or by others in advance."""
    # A generator of its own: making a loader must not draw from the global random state.
    return iter(
        DataLoader(
            _Reads(images),
            batch_size=None,
            sampler=order,  # type: ignore[arg-type]  # any sized iterable of indices
            num_workers=workers,
            prefetch_factor=READ_AHEAD if workers else None,
            collate_fn=_unchanged,
            generator=torch.Generator(),
        )
    )


class _Reads(Dataset[Read]):
    """What a worker does: read and hand over."""

    def __init__(self, images: Images) -> None:
        self._images = images

    def __getitem__(self, index: int) -> Read:
        read: Read = self._images.stored(index)
        return read


def _unchanged(image: Any) -> Any:
    return image
