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
from flmm.heads.model import HeadOutput


class Head(Protocol):
    """What turns an answer into masks (``flmm.heads.model.GroundingHead``)."""

    def __call__(self, answer: CachedAnswer, image_embedding: torch.Tensor, /) -> HeadOutput:
        """Coarse (P, H, W) and refined (P, h, w) logits of all phrases."""
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

    Each head gives coarse masks, under its own name, and refined ones, under ``<name>+sam``. Answers go
    through the heads one by one: the mask prompt's padding looks at all masks of an answer
    (``flmm.heads.refiner``), so that sentences which are scored alone must not share a pass.

    Raises:
        InputError: a shard or an embedding is absent or damaged.
        StepError: a head's logits are not finite (names sample, answer and head).
    """
    rows: list[dict[str, object]] = []
    with Progress() as progress:
        for part in parts:
            task = progress.add_task(f"evaluate {part.dataset} {part.split}", total=part.manifest.answers)
            for answer in read_answers(part.manifest):
                progress.advance(task)
                if answer.protocol not in (*protocols, "both"):
                    continue
                embedding = embeddings.lookup(answer.archive, answer.image)
                for name, head in heads.items():
                    for variant, masks in answer_masks(name, head, answer, embedding).items():
                        rows += prediction_rows(
                            answer, masks, dataset=part.dataset, split=part.split, head=variant
                        )
    return table_of(rows)


@torch.inference_mode()
def answer_masks(
    name: str, head: Head, answer: CachedAnswer, embedding: torch.Tensor
) -> dict[str, np.ndarray]:
    """Coarse and refined masks (P, h, w) bool of one answer, under the heads' names in the tables.

    Raises:
        StepError: a logit is not finite.
    """
    output = head(answer, embedding)
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
