"""Describe, then ground: the frozen LMM describes a picture, and the phrases of its own description make the masks.

Which words are phrases says the keyword selector, or without one the rule of ``flmm.phrases``. Each phrase goes into a
head alone, as in ``flmm chat``.
Legend: P phrases, h w pixels of the picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from flmm.backbones.base import Backbone, HeadInput
from flmm.benchmarks import Benchmark, benchmark
from flmm.benchmarks.base import Short
from flmm.cache.reader import CachedAnswer
from flmm.data.images import ImageStore
from flmm.data.sample import Sample, encode_rle, read_samples
from flmm.device import resolve_device
from flmm.evaluation.engine import head_masks
from flmm.evaluation.live import live_answer
from flmm.evaluation.pairs import Picture, ious, paired
from flmm.evaluation.participants import fitting, frozen
from flmm.evaluation.predictions import prediction_rows, table_of
from flmm.evaluation.select import read_selection
from flmm.evaluation.tables import DESCRIPTION_SCHEMA, DESCRIPTIONS, PREDICTIONS
from flmm.files import write_json, write_table
from flmm.heads.batches import together
from flmm.heads.evaluated import Materials, build_heads, facts
from flmm.heads.model import MaskHead
from flmm.heads.names import refined
from flmm.heads.segmenter import Segmenter, load_segmenter
from flmm.keywords import KeywordSelector
from flmm.params import Params
from flmm.progress import tracked
from flmm.protocols import GROUNDING_PROMPT
from flmm.said import ends_of, phrases_of


def evaluate(
    params: Params,
    backbone: str,
    benchmark_name: str,
    *,
    head: Path,
    keywords: Path | None,
    samples: Mapping[str, Path],
    selected: Path | None,
    raw: Path,
    out: Path,
) -> None:
    """Write ``descriptions.parquet``, ``predictions.parquet`` and ``facts.json``.

    ``head``, ``selected``: as ``flmm.evaluation.run.evaluate``. ``keywords``: the file of the step ``keywords``, or
    None where there is none. ``samples``: by part.

    Raises:
        InputError: an input is absent, damaged or of another backbone.
        StepError: a head's logits are not finite, or a file cannot be written.
    """
    chosen, config = benchmark(benchmark_name), fitting(head, backbone)
    device = resolve_device(params.evaluate.device, "evaluate.device")
    segmenter = load_segmenter(params.active.segmenter, raw).to(device)
    channels = None if selected is None else read_selection(selected, config.lmm_channels)
    heads = build_heads(Materials(head, segmenter, device, params.seed, channels))
    selector = None if keywords is None else KeywordSelector.load(keywords)
    speaker = _Speaker(frozen(params, backbone), heads, segmenter, selector, chosen)
    described, predicted = speaker.describe(
        [sample for path in samples.values() for sample in read_samples(path)],
        ImageStore(raw),
        max_new_tokens=params.evaluate.description_tokens,
        description=f"{chosen.name} {backbone}",
    )
    write_table(out / DESCRIPTIONS, described)
    write_table(out / PREDICTIONS, predicted)
    ways = {"phrases_by": "rule" if selector is None else "linear"}
    write_json(out / "facts.json", facts(predicted, heads, channels) | ways)


@dataclass(frozen=True)
class _Speaker:
    """All that describes and grounds."""

    backbone: Backbone
    heads: Mapping[str, MaskHead]
    segmenter: Segmenter
    keywords: KeywordSelector | None
    benchmark: Benchmark

    def describe(
        self, samples: Sequence[Sample], images: ImageStore, *, max_new_tokens: int, description: str
    ) -> tuple[pa.Table, pa.Table]:
        """A row per picture, and a row per head and phrase."""
        prompt = self.benchmark.prompt(Short(GROUNDING_PROMPT))
        told: list[dict[str, Any]] = []
        rows: list[dict[str, object]] = []
        for sample in tracked(samples, description):
            image = images.of(sample)
            said = self.backbone.generate(image, prompt, max_new_tokens=max_new_tokens, tap=True)
            text = self.backbone.decode(said.tokens)
            ends = ends_of(said.tokens, self.backbone.decode)
            size = (sample.height, sample.width)
            spans, inputs = phrases_of(self.keywords, text, ends, said.observation, size)
            told.append(_row(sample, text, [each for name in self.heads for each in (name, refined(name))]))
            texts = [text[start:end] for start, end in spans]
            for head, masks in self._masks(image, inputs, f"sample {sample.sample_id}").items():
                answer = grounded(sample, texts, masks, self.benchmark.protocols[0])
                rows += prediction_rows(answer, masks, dataset=sample.dataset, split=sample.split, head=head)
        return pa.Table.from_pylist(told, schema=DESCRIPTION_SCHEMA), table_of(rows)

    @torch.inference_mode()
    def _masks(self, image: Image.Image, inputs: Sequence[HeadInput], where: str) -> dict[str, np.ndarray]:
        """Masks (P, h, w) under the heads' names in the tables; none where nothing was said."""
        if not inputs:
            return {}
        embedding = self.segmenter.embed(image)
        made: dict[str, list[np.ndarray]] = {}
        for name, head in self.heads.items():
            for some in together(inputs, len):
                places, seen = [where] * len(some), [embedding] * len(some)
                for variants in head_masks(name, head, some, seen, places):
                    for variant, masks in variants.items():
                        made.setdefault(variant, []).append(masks)
        return {variant: np.concatenate(masks) for variant, masks in made.items()}


def _row(sample: Sample, text: str, heads: list[str]) -> dict[str, Any]:
    return {
        "sample_id": sample.sample_id,
        "dataset": sample.dataset,
        "split": sample.split,
        "archive": sample.archive,
        "image": sample.image,
        "height": sample.height,
        "width": sample.width,
        "text": text,
        "captions": [piece.text for piece in sample.narrative],
        "phrases": [target.sentences[0] for target in sample.targets],
        "rles": [target.rle for target in sample.targets],
        "heads": heads,
    }


def grounded(sample: Sample, texts: Sequence[str], masks: np.ndarray, protocol: str) -> CachedAnswer:
    """What was said, for the predictions table: each phrase beside the true mask that its own is paired with.

    ``masks``: (P, h, w). One without a partner stands beside an empty mask.
    """
    size = [sample.height, sample.width]
    mine = [{"size": size, "counts": encode_rle(mask).encode("ascii")} for mask in masks]
    true = [{"size": size, "counts": target.rle.encode("ascii")} for target in sample.targets]
    partner = dict(paired(ious(Picture(mine, true))))
    return live_answer(sample, [(text, partner.get(n, -1)) for n, text in enumerate(texts)], protocol)
