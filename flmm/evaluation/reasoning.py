"""Answer, then ground: the frozen LMM answers a question, and its answer's own words make the mask.

ReasonSeg and Visual-CoT ask for a region without naming it. Nothing is spoken for the LMM here: it generates its answer
while the tap reads, and all tokens of the answer are one phrase.
Legend: P phrases, C channels of a grid, h w its size or pixels of the picture, L layers, T tokens, D hidden width.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from flmm.backbones.base import Backbone, HeadInput
from flmm.benchmarks import Benchmark
from flmm.benchmarks.base import Short
from flmm.cache.reader import CachedAnswer
from flmm.data.images import ImageStore
from flmm.data.sample import Sample
from flmm.evaluation.engine import head_masks
from flmm.evaluation.live import live_answer
from flmm.evaluation.predictions import counts, prediction_rows, table_of
from flmm.heads.model import MaskHead
from flmm.heads.names import refined
from flmm.heads.segmenter import Segmenter
from flmm.progress import tracked


def answer_then_ground(
    backbone: Backbone,
    heads: Mapping[str, MaskHead],
    segmenter: Segmenter,
    samples: Sequence[Sample],
    images: ImageStore,
    benchmark: Benchmark,
    *,
    max_new_tokens: int,
    description: str,
) -> pa.Table:
    """The predictions table of all samples and heads; ``text`` is the question followed by the answer.

    An answer without a token has empty masks.

    Raises:
        InputError: a photograph is absent, damaged or not of its annotation's size; a question is too long.
        StepError: a head's logits are not finite.
    """
    rows: list[dict[str, object]] = []
    protocol = benchmark.protocols[0]
    for sample in tracked(samples, description):
        image = images.of(sample)
        # All tokens of the answer are grounded, so that it should be short.
        asked = benchmark.prompt(Short(sample.question))
        spoken = backbone.generate(image, asked, max_new_tokens=max_new_tokens, tap=True)
        answer = described(sample, backbone.decode(spoken.tokens), protocol)
        if spoken.observation is None:
            masks = _no_masks(heads, answer)
        else:
            said = spoken.observation.joined().head_input((answer.height, answer.width))
            masks = _masks(
                heads, said, segmenter, image, f"sample {answer.sample_id} (answer {answer.answer_id})"
            )
        for head, predicted in masks.items():
            counted = np.stack([counts(sample, mask) for mask in predicted])
            rows += prediction_rows(answer, counted, dataset=sample.dataset, split=sample.split, head=head)
    return table_of(rows)


def _masks(
    heads: Mapping[str, MaskHead], said: HeadInput, segmenter: Segmenter, image: Image.Image, where: str
) -> dict[str, np.ndarray]:
    """Masks (1, h, w) under the heads' names in the tables."""
    with torch.inference_mode():
        embedding = segmenter.embed(image)
    made = (head_masks(name, head, [said], [embedding], [where])[0] for name, head in heads.items())
    return {variant: masks for each in made for variant, masks in each.items()}


def _no_masks(heads: Iterable[str], answer: CachedAnswer) -> dict[str, np.ndarray]:
    """The same where the LMM said nothing: empty."""
    nothing = np.zeros((1, answer.height, answer.width), dtype=bool)
    return {variant: nothing for name in heads for variant in (name, refined(name))}


def described(sample: Sample, text: str, protocol: str) -> CachedAnswer:
    """What the LMM said, for the predictions table: an answer of one phrase."""
    return live_answer(sample, [(f"{sample.question} {text}", 0)], protocol)
