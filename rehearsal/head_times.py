"""What the cache, a training step of the head and its predictions cost at real sizes, on made-up answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from benchmarks.loader import Sizes, observed, rows_of, write
from flmm.cache import embeddings, reader
from flmm.cache.embeddings import EmbeddingStore
from flmm.cache.reader import read_manifest
from flmm.cache.writer import write_shard
from flmm.evaluation.engine import Part, predict
from flmm.heads import names
from flmm.heads.model import GroundingHead, build_head
from flmm.heads.sam import SamSegmenter, build_sam
from flmm.params import Train
from flmm.training.images import Batch, TrainingImages
from flmm.training.trainer import Trainer, make_accelerator
from rehearsal.clock import Clock

ANSWERS = 2  # in a shard; a head predicts those of both at once


@dataclass(frozen=True)
class HeadTimes:
    """Seconds of a phrase written, an answer read, an answer trained on, a phrase's masks predicted."""

    write: float
    read: float
    train: float
    evaluate: float


def head_times(
    sizes: Sizes, sam: Mapping[str, Any], settings: Train, phrases: int, folder: Path, clock: Clock
) -> HeadTimes:
    """Everything after the LMM, answers of ``phrases`` each; ``folder``: an empty one for shards."""
    written = writing(sizes, phrases, folder / "written.parquet", clock)
    attention, embedded = write(folder, ANSWERS, phrases, sizes)
    # Nothing that was read is kept, as where a set does not fit into memory.
    with patch.object(reader, "MEMORY_BYTES", 1), patch.object(embeddings, "MEMORY_BYTES", 1):
        images = TrainingImages([attention], [embedded], "random")
        read = clock.seconds(lambda: [images.stored(number) for number in range(ANSWERS)]) / ANSWERS
        head = _head(sizes, sam, settings)
        trained = training(head, images, settings, clock)
        head = head.to(clock.device).eval()
        part, store = Part("png", "train", read_manifest(attention)), EmbeddingStore([embedded])
        predicted = clock.seconds(lambda: predict([part], {names.TRAINED: head}, store, ["train"]))
    return HeadTimes(written, read, trained, predicted / (ANSWERS * phrases))


def writing(sizes: Sizes, phrases: int, shard: Path, clock: Clock) -> float:
    """Seconds of a phrase that is quantised and written into a shard."""
    answer = observed(0, phrases, torch.Generator().manual_seed(0), sizes)

    def run() -> None:
        write_shard(shard, (rows_of(*answer) for _ in range(ANSWERS)))

    return clock.seconds(run) / (ANSWERS * phrases)


def training(head: GroundingHead, images: TrainingImages, settings: Train, clock: Clock) -> float:
    """Seconds of an answer in an optimiser step, its decoding included and its reading not.

    A CPU sees one answer in a step, so that a step takes seconds; a GPU as many as ``settings`` says.
    """
    count = settings.batch_size if clock.device.type == "cuda" else 1
    batch = Batch(step=1, epoch=1, images=tuple(number % ANSWERS for number in range(count)))
    read = [images.stored(number) for number in batch.images]
    trainer = Trainer(settings, 0, head, images, make_accelerator(settings))
    return clock.seconds(lambda: trainer._step(batch, iter(read))) / count


def _head(sizes: Sizes, sam: Mapping[str, Any], settings: Train) -> GroundingHead:
    """The head before training; of SAM's image encoder, which it does not use, there is one block."""
    encoder = {**sam["encoder"], "depth": 1, "global_attn_indexes": []}
    return build_head(
        settings.head,
        channels=sizes.channels,
        layers=sizes.layers,
        hidden_width=sizes.width,
        segmenter=SamSegmenter(build_sam({**sam, "encoder": encoder})),
        seed=0,
    )
