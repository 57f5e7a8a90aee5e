"""The grounding engine: cached attention and embeddings through the heads to the predictions table.

RES and PNG share it; what differs between them and between protocols is which answers were spoken
(``extract``) and how rows are counted (``res``, ``png``).
Legend: P phrases, H W logits, h w pixels of the ground truth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import torch
from rich.progress import Progress
from torch.nn import functional

from flmm.cache.reader import CachedAnswer, read_answers
from flmm.cache.schema import Manifest
from flmm.errors import StepError
from flmm.evaluation.predictions import prediction_rows, table_of
from flmm.heads.batches import together
from flmm.heads.model import HeadOutput


class Head(Protocol):
    """What turns an answer into masks (``flmm.heads.model.GroundingHead``)."""

    def __call__(
        self, answers: Sequence[CachedAnswer], image_embeddings: Sequence[torch.Tensor], /
    ) -> list[HeadOutput]:
        """Per answer coarse (P, H, W) and refined (P, h, w) logits of all its phrases."""
        ...


class Embeddings(Protocol):
    """Where SAM's image embeddings come from (``flmm.embed.EmbeddingStore``)."""

    def lookup(self, archive: str, image: str) -> torch.Tensor:
        """(1, C, E, E) float32."""
        ...


@dataclass(frozen=True)
class Part:
    """One evaluation part: the attention of ``<dataset>-<split>``."""

    dataset: str
    split: str
    manifest: Manifest


def predict(
    parts: Sequence[Part], heads: Mapping[str, Head], embeddings: Embeddings, protocols: Sequence[str]
) -> pa.Table:
    """Run every head over every answer of the protocols.

    Each head gives coarse masks, under its own name, and refined ones, under ``<name>+sam``. Several answers go
    through a head at once, and none knows of the others: the mask prompt's padding looks at the masks of one answer
    only (``flmm.heads.refiner``).

    Raises:
        InputError: a shard or an embedding is absent or damaged.
        StepError: a head's logits are not finite (names sample, answer and head).
    """
    rows: list[dict[str, object]] = []
    with Progress() as progress:
        for part in parts:
            task = progress.add_task(f"evaluate {part.dataset} {part.split}", total=part.manifest.answers)
            answers = progress.track(read_answers(part.manifest), task_id=task)
            wanted = (answer for answer in answers if answer.protocol in (*protocols, "both"))
            for batch in together(wanted, lambda answer: len(answer.phrases)):
                rows += _rows(part, heads, batch, embeddings)
    return table_of(rows)


def _rows(
    part: Part, heads: Mapping[str, Head], answers: Sequence[CachedAnswer], embeddings: Embeddings
) -> list[dict[str, object]]:
    found = [embeddings.lookup(answer.archive, answer.image) for answer in answers]
    by_head = [answer_masks(name, head, answers, found) for name, head in heads.items()]
    return [
        row
        for answer, *made in zip(answers, *by_head, strict=True)
        for variants in made
        for variant, masks in variants.items()
        for row in prediction_rows(answer, masks, dataset=part.dataset, split=part.split, head=variant)
    ]


@torch.inference_mode()
def answer_masks(
    name: str, head: Head, answers: Sequence[CachedAnswer], embeddings: Sequence[torch.Tensor]
) -> list[dict[str, np.ndarray]]:
    """Per answer coarse and refined masks (P, h, w) bool, under the heads' names in the tables.

    Raises:
        StepError: a logit is not finite.
    """
    outputs = head(answers, embeddings)
    return [_masks(name, *each) for each in zip(answers, outputs, strict=True)]


def _masks(name: str, answer: CachedAnswer, output: HeadOutput) -> dict[str, np.ndarray]:
    size = (answer.height, answer.width)
    where = f"sample {answer.sample_id} (answer {answer.answer_id})"
    return {
        name: to_masks(output.coarse, size, f"{where}: head {name}"),
        f"{name}+sam": to_masks(output.refined, size, f"{where}: head {name}+sam"),
    }


def to_masks(logits: torch.Tensor, size: tuple[int, int], where: str) -> np.ndarray:
    """(P, H, W) logits -> (P, h, w) bool: probabilities resized bilinearly, then > 0.5, as the authors do.

    Raises:
        StepError: a logit is not finite (``where`` says whose).
    """
    if not torch.isfinite(logits).all():
        raise StepError(
            f"{where}: the mask logits are not finite; the head or the cached attention is damaged"
        )
    probabilities = logits.float().sigmoid()
    if tuple(logits.shape[-2:]) != size:
        probabilities = functional.interpolate(probabilities[None], size=size, mode="bilinear")[0]
    masks: np.ndarray = (probabilities > 0.5).cpu().numpy()
    return masks
