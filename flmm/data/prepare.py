"""Upstream files in, Parquet out: the samples or questions of one part, and a count of what was left out."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flmm.data.datasets import reader
from flmm.data.question import Question, write_questions
from flmm.data.readers import BEYOND_FIRST, EVALUATION_IMAGE, EXCLUDED, GroundingReader
from flmm.data.sample import SAMPLE_SCHEMA, Sample
from flmm.errors import InputError
from flmm.files import atomic_path, read_table, sha256_file, write_json
from flmm.params import Params
from flmm.progress import progress_bar

TRAIN = "train"
ROWS_PER_GROUP = 1000  # samples in memory at a time


def prepare(
    params: Params, dataset: str, split: str, *, raw: Path, out: Path, evaluation: Sequence[Path] = ()
) -> None:
    """Write the part ``<dataset>-<split>`` to ``out`` and what was counted to ``<out>.json`` beside it.

    Rows are in upstream order; equal input gives equal bytes. ``evaluation``, for a training part: the prepared
    evaluation parts; with ``prepare.exclude_evaluation_images`` training samples of their photographs are left
    out, and the overlap is counted either way. What ``prepare.exclude`` names is left out of every part.

    Raises:
        InputError: an upstream file is absent or malformed, or the part would be empty.
        StepError: ``out`` is not writable or full.
    """
    entry = params.active.datasets[dataset]
    module = reader(entry.reader)
    unwanted = frozenset(params.prepare.exclude)
    if hasattr(module, "read"):
        if entry.first is not None:
            raise InputError(
                f"params.yaml: datasets.{dataset}.first: {entry.reader} has questions without masks, and they are "
                "all asked; delete the key"
            )
        counts = _questions(module.read(raw, dataset, split), out, unwanted)
    else:
        opened: GroundingReader = module.open_reader(raw, dataset, entry)
        images = _images(evaluation)
        exclude = images if params.prepare.exclude_evaluation_images else set()
        counts = _samples(opened, split, out, exclude, unwanted, entry.first)
        if split == TRAIN:
            counts["overlap"] = _overlap(opened, images, counts)
    write_json(out.with_suffix(".json"), {**counts, "sha256": sha256_file(out)})


def _images(parts: Sequence[Path]) -> set[int]:
    return {
        image for part in parts for image in read_table(part, columns=["image_id"])["image_id"].to_pylist()
    }


def _overlap(opened: GroundingReader, evaluation: Set[int], counts: dict[str, Any]) -> dict[str, int]:
    shared = [image for image in opened.image_ids(TRAIN) if image in evaluation]
    excluded = counts["skipped"].get(EVALUATION_IMAGE, 0)
    return {"evaluation_images": len(set(shared)), "samples": len(shared), "excluded_samples": excluded}


def _samples(
    opened: GroundingReader, split: str, out: Path, exclude: Set[int], unwanted: Set[str], first: int | None
) -> dict[str, Any]:
    skipped: Counter[str] = Counter()
    images: set[int] = set()
    counts: Counter[str] = Counter()
    total = len(opened.image_ids(split))

    def counted() -> Iterator[Sample]:
        for sample in opened.samples(split, exclude, skipped):
            if not unwanted.isdisjoint((sample.sample_id, f"{sample.archive}/{sample.image}")):
                skipped[EXCLUDED] += 1
                continue
            if first is not None and counts["samples"] == first:
                skipped[BEYOND_FIRST] += 1
                continue
            images.add(sample.image_id)
            counts["samples"] += 1
            counts["targets"] += len(sample.targets)
            counts["sentences"] += sum(len(target.sentences) for target in sample.targets)
            yield sample

    with progress_bar() as progress:
        task = progress.add_task(out.stem, total=total)
        _write_streamed(out, counted(), skipped, lambda count: progress.advance(task, count))
    return {
        "images": len(images),
        **{key: counts[key] for key in ("samples", "targets", "sentences")},
        "skipped": _nonzero(skipped),
    }


def _write_streamed(
    path: Path, samples: Iterator[Sample], skipped: Counter[str], advance: Callable[[int], None]
) -> None:
    """As ``sample.write_samples``, by row groups, so that memory stays bounded."""
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, SAMPLE_SCHEMA, compression="zstd") as writer,
    ):
        rows = 0
        while batch := [asdict(sample) for sample in islice(samples, ROWS_PER_GROUP)]:
            writer.write_table(pa.Table.from_pylist(batch, schema=SAMPLE_SCHEMA))
            rows += len(batch)
            advance(len(batch))
        if not rows:
            raise _empty(path.stem, skipped)


def _questions(questions: list[Question], out: Path, unwanted: Set[str]) -> dict[str, Any]:
    kept = [
        question
        for question in questions
        if unwanted.isdisjoint((question.question_id, f"{question.archive}/{question.image}"))
    ]
    skipped = Counter({EXCLUDED: len(questions) - len(kept)})
    if not kept:
        raise _empty(out.stem, skipped)
    write_questions(out, kept)
    return {
        "images": len({question.image or question.image_bytes for question in kept}),
        "questions": len(kept),
        "skipped": _nonzero(skipped),
    }


def _empty(part: str, skipped: Counter[str]) -> InputError:
    reasons = "; ".join(f"{reason} ({number})" for reason, number in _nonzero(skipped).items())
    hint = "; prepare.exclude_evaluation_images: false keeps them" if skipped[EVALUATION_IMAGE] else ""
    return InputError(f"{part}: no sample is left: {reasons or 'the source is empty'}{hint}")


def _nonzero(skipped: Counter[str]) -> dict[str, int]:
    return {reason: number for reason, number in sorted(skipped.items()) if number}
