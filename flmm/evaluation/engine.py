"""The grounding engine: cached attention and embeddings through the heads to the predictions table.

RES and PNG share it; what differs between them and between protocols is which answers were spoken
(``extract``) and how rows are counted (``flmm.benchmarks``).
Legend: P phrases, H W logits, h w pixels of the ground truth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
import torch
from torch.nn import functional

from flmm.backbones.base import HeadInput
from flmm.cache.reader import CachedAnswer, read_answers
from flmm.cache.schema import Manifest
from flmm.errors import StepError
from flmm.evaluation.predictions import prediction_rows, table_of
from flmm.heads import names
from flmm.heads.batches import together
from flmm.heads.model import MaskHead
from flmm.progress import progress_bar


class Embeddings(Protocol):
    """Where SAM's image embeddings come from (``flmm.cache.embeddings.EmbeddingStore``)."""

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
    parts: Sequence[Part], heads: Mapping[str, MaskHead], embeddings: Embeddings, protocols: Sequence[str]
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
    with progress_bar() as progress:
        for part in parts:
            task = progress.add_task(f"evaluate {part.dataset} {part.split}", total=part.manifest.answers)
            answers = progress.track(read_answers(part.manifest), task_id=task)
            wanted = (answer for answer in answers if answer.protocol in (*protocols, "both"))
            for batch in together(wanted, lambda answer: len(answer.phrases)):
                rows += _rows(part, heads, batch, embeddings)
    return table_of(rows)


def _rows(
    part: Part, heads: Mapping[str, MaskHead], answers: Sequence[CachedAnswer], embeddings: Embeddings
) -> list[dict[str, object]]:
    found = [embeddings.lookup(answer.archive, answer.image) for answer in answers]
    inputs = [answer.head_input() for answer in answers]
    where = [f"sample {answer.sample_id} (answer {answer.answer_id})" for answer in answers]
    by_head = [head_masks(name, head, inputs, found, where) for name, head in heads.items()]
    return [
        row
        for answer, *made in zip(answers, *by_head, strict=True)
        for variants in made
        for variant, masks in variants.items()
        for row in prediction_rows(answer, masks, dataset=part.dataset, split=part.split, head=variant)
    ]


@torch.inference_mode()
def head_masks(
    name: str,
    head: MaskHead,
    inputs: Sequence[HeadInput],
    embeddings: Sequence[torch.Tensor],
    where: Sequence[str],
) -> list[dict[str, np.ndarray]]:
    """Per input coarse and refined masks (P, h, w) bool, under the heads' names in the tables.

    Raises:
        StepError: a logit is not finite (``where`` says of which input).
    """
    return [
        {
            name: to_masks(output.coarse, said.image_size, f"{place}: head {name}"),
            names.refined(name): to_masks(
                output.refined, said.image_size, f"{place}: head {names.refined(name)}"
            ),
        }
        for said, place, output in zip(inputs, where, head(inputs, embeddings), strict=True)
    ]


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
