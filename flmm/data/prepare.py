"""Upstream files in, Parquet out: samples or questions per part, and a summary of what was left out."""

from collections import Counter
from collections.abc import Callable, Iterator, Set
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.progress import Progress

from flmm.data.mmbench import read_mmbench
from flmm.data.png import PNG
from flmm.data.pope import read_pope
from flmm.data.question import Question, write_questions
from flmm.data.readers import EVALUATION_IMAGE, GroundingReader
from flmm.data.reasonseg import ReasonSeg
from flmm.data.refcoco import RefCOCO
from flmm.data.sample import SAMPLE_SCHEMA, Sample
from flmm.data.viscot import VisualCoT
from flmm.errors import InputError
from flmm.files import atomic_path, sha256_file, write_json
from flmm.params import Dataset, Params
from flmm.paths import question_part
from flmm.progress import progress_bar

TRAIN = "train"
ROWS_PER_GROUP = 1000  # samples in memory at a time

_QUESTIONS: dict[str, Callable[[Path, str], list[Question]]] = {"pope": read_pope, "mmbench": read_mmbench}


def prepare(params: Params, raw: Path, out: Path) -> dict[str, Any]:
    """Write every part of the active suite to ``out`` and return the summary that ``summary.json`` holds.

    Grounding parts are ``<dataset>-<split>`` for the suite's datasets, question parts ``pope-<name>`` and
    ``mmbench-dev`` for its sources. Rows are in upstream order; equal input gives equal bytes. With
    ``prepare.exclude_evaluation_images``, training samples whose photograph is in any evaluation split of any
    dataset are left out; the overlap is counted either way.

    Raises:
        InputError: an upstream file is absent or malformed, or a part would be empty.
        StepError: ``out`` is not writable or full.
    """
    parts: dict[str, Any] = {}
    overlap: dict[str, Any] = {}
    with progress_bar() as progress:
        readers = {name: _reader(name, dataset, raw) for name, dataset in params.active.datasets.items()}
        evaluation: set[int] = set()
        for name, dataset in params.active.datasets.items():
            # A split that nothing is trained on and that shares no photograph is like any other.
            for split in (split for split in dataset.splits if split != TRAIN or not readers[name].on_coco):
                if readers[name].on_coco:
                    evaluation.update(readers[name].image_ids(split))
                parts[f"{name}-{split}"] = _grounding(name, split, readers[name], set(), out, progress)
        exclude = evaluation if params.prepare.exclude_evaluation_images else set()
        for name, dataset in params.active.datasets.items():
            if TRAIN in dataset.splits and readers[name].on_coco:
                part = f"{name}-{TRAIN}"
                shared = [image for image in readers[name].image_ids(TRAIN) if image in evaluation]
                parts[part] = _grounding(name, TRAIN, readers[name], exclude, out, progress)
                overlap[part] = {
                    "evaluation_images": len(set(shared)),
                    "samples": len(shared),
                    "excluded_samples": parts[part]["skipped"].get(EVALUATION_IMAGE, 0),
                }
        parts.update(_questions(params, raw, out, progress))
    summary = {"suite": params.suite, "parts": parts, "overlap": overlap}
    write_json(out / "summary.json", summary)
    return summary


def _reader(name: str, dataset: Dataset, raw: Path) -> GroundingReader:
    if dataset.reader == "png":
        return PNG(raw, name)
    if dataset.reader == "reasonseg":
        return ReasonSeg(raw, name)
    if dataset.reader == "viscot":
        return VisualCoT(raw, name)
    if dataset.refs is None:
        raise InputError(
            f"params.yaml: datasets.{name}.refs: the reader refcoco needs a file such as refs(unc).p"
        )
    return RefCOCO(raw, name, dataset.refs)


def _grounding(
    name: str, split: str, reader: GroundingReader, exclude: Set[int], out: Path, progress: Progress
) -> dict[str, Any]:
    part = f"{name}-{split}"
    skipped: Counter[str] = Counter()
    total = len(reader.image_ids(split))
    task = progress.add_task(part, total=total)
    images: set[int] = set()
    counts: Counter[str] = Counter()

    def counted() -> Iterator[Sample]:
        for sample in reader.samples(split, exclude, skipped):
            images.add(sample.image_id)
            counts["samples"] += 1
            counts["targets"] += len(sample.targets)
            counts["sentences"] += sum(len(target.sentences) for target in sample.targets)
            progress.update(task, completed=counts["samples"])
            yield sample

    path = out / f"{part}.parquet"
    _write_streamed(path, counted(), part, skipped)
    progress.update(task, completed=total)
    return {
        "images": len(images),
        **{key: counts[key] for key in ("samples", "targets", "sentences")},
        "skipped": {reason: number for reason, number in sorted(skipped.items()) if number},
        "sha256": sha256_file(path),
    }


def _write_streamed(path: Path, samples: Iterator[Sample], part: str, skipped: Counter[str]) -> None:
    """As ``sample.write_samples``, by row groups, so that memory stays bounded."""
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, SAMPLE_SCHEMA, compression="zstd") as writer,
    ):
        rows = 0
        while batch := [asdict(sample) for sample in islice(samples, ROWS_PER_GROUP)]:
            writer.write_table(pa.Table.from_pylist(batch, schema=SAMPLE_SCHEMA))
            rows += len(batch)
        if not rows:
            reasons = "; ".join(
                f"{reason} ({number})" for reason, number in sorted(skipped.items()) if number
            )
            hint = (
                "; prepare.exclude_evaluation_images: false keeps them" if skipped[EVALUATION_IMAGE] else ""
            )
            raise InputError(f"{part}: no sample is left: {reasons or 'the source is empty'}{hint}")


def _questions(params: Params, raw: Path, out: Path, progress: Progress) -> dict[str, Any]:
    """The question parts that the suite's sources name."""
    parts: dict[str, Any] = {}
    for file in params.active.sources:
        part = question_part(file)
        if part is None:
            continue
        if part in parts:
            raise InputError(f"params.yaml: sources: {file} is a second source of {part}")
        task = progress.add_task(part, total=1)
        questions = _QUESTIONS[part.split("-")[0]](raw, file)
        path = out / f"{part}.parquet"
        write_questions(path, questions)
        progress.update(task, completed=1)
        parts[part] = {
            "images": len({question.image or question.image_bytes for question in questions}),
            "questions": len(questions),
            "skipped": {},
            "sha256": sha256_file(path),
        }
    return parts
