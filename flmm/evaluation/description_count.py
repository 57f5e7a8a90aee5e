"""From described pictures to the columns that a benchmark of descriptions counts, and to its records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from flmm.benchmarks import Benchmark
from flmm.benchmarks.base import Columns
from flmm.evaluation import captions, pairs
from flmm.evaluation.records import Record, records_of
from flmm.evaluation.similarity import Similarity, by_words


@dataclass(frozen=True)
class Described:
    """One picture: its place, what was said and what people said, and the phrases of both with their masks."""

    image: str
    text: str
    captions: Sequence[str]
    phrases: Sequence[str]
    true_phrases: Sequence[str]
    masks: pairs.Picture


def columns(pictures: Sequence[Described], model: Similarity | None) -> Columns:
    """A value per picture in the order given, as ``flmm.benchmarks.gcg.count`` takes them.

    ``model``: says how alike phrases are, besides their words.
    """
    overlaps = [pairs.ious(each.masks) for each in pictures]
    found: dict[str, Any] = {
        "hits": pairs.hits([each.masks for each in pictures]),
        "truths": np.array([len(each.masks.true) for each in pictures]),
        "phrases": np.array([len(each.true_phrases) for each in pictures]),
        "miou": np.array([pairs.mean_iou(each) for each in overlaps]),
        "recalled_words": _recalled(pictures, overlaps, by_words),
    }
    return found if model is None else {**found, "recalled_model": _recalled(pictures, overlaps, model)}


def _recalled(
    pictures: Sequence[Described], overlaps: Sequence[np.ndarray], similarity: Similarity
) -> np.ndarray:
    return np.array(
        [
            pairs.recalled(overlap, similarity(each.phrases, each.true_phrases))
            for each, overlap in zip(pictures, overlaps, strict=True)
        ]
    )


def of_captions(pictures: Sequence[Described]) -> dict[str, np.ndarray]:
    """METEOR and CIDEr per picture; what has no library is left out, and printed."""
    said, told = [each.text for each in pictures], [each.captions for each in pictures]
    found = {"meteor": captions.meteor(said, told), "cider": captions.cider(said, told)}
    for name, scores in found.items():
        if isinstance(scores, str):
            print(f"{name}: left out, because {scores}")
    return {name: scores for name, scores in found.items() if not isinstance(scores, str)}


def description_records(
    chosen: Benchmark,
    descriptions: pa.Table,
    predictions: pa.Table,
    model: Similarity | None,
    *,
    suite: str,
    backbone: str,
    seed: int,
) -> list[Record]:
    """Records of every data set, split and head; ``seed``: of the intervals."""
    said: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in predictions.select(["sample_id", "head", "phrase", "text", "rle"]).to_pylist():
        said.setdefault((row["sample_id"], row["head"]), []).append(row)
    rows = sorted(descriptions.to_pylist(), key=lambda row: upstream_order(row["image"]))
    records = []
    for dataset, split in sorted({(row["dataset"], row["split"]) for row in rows}):
        mine = [row for row in rows if (row["dataset"], row["split"]) == (dataset, split)]
        told: dict[str, np.ndarray] | None = None
        for head in sorted({head for row in mine for head in row["heads"]}):
            pictures = [_described(row, said.get((row["sample_id"], head), [])) for row in mine]
            told = of_captions(pictures) if told is None else told  # what was said is the same for every head
            records += records_of_pictures(
                chosen, pictures, {**columns(pictures, model), **told}, seed,
                suite=suite, backbone=backbone, head=head, benchmark=dataset, split=split,
            )  # fmt: skip
    return records


def records_of_pictures(
    chosen: Benchmark, pictures: Sequence[Described], counted: Columns, seed: int, **place: str
) -> list[Record]:
    """The records of one system's pictures; ``place``: the other fields."""
    images = [each.image for each in pictures]
    return [
        record
        for protocol in chosen.protocols
        for record in records_of(chosen.count(counted, protocol), images, seed, protocol=protocol, **place)
    ]


def upstream_order(image: str) -> str:
    """COCO's evaluation takes the images in the order of their ids, which are the files' names."""
    return PurePosixPath(image).stem


def _described(row: Mapping[str, Any], said: Sequence[Mapping[str, Any]]) -> Described:
    size = [row["height"], row["width"]]
    ordered = sorted(said, key=lambda each: each["phrase"])
    return Described(
        image=f"{row['archive']}/{row['image']}",
        text=row["text"],
        captions=row["captions"],
        phrases=[each["text"] for each in ordered],
        true_phrases=row["phrases"],
        masks=pairs.Picture(
            [{"size": size, "counts": each["rle"].encode("ascii")} for each in ordered],
            [{"size": size, "counts": rle.encode("ascii")} for rle in row["rles"]],
        ),
    )
