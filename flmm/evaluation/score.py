"""Our protocols for anybody's masks: predictions of any system against a samples file.

A unit is what a protocol counts: one phrase of one answer (``flmm.protocols``). Its key is ``answer_id`` and
``phrase``, the position of the phrase in the answer; ``units`` lists them all.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pycocotools import mask as coco_mask

from flmm.benchmarks import Benchmark
from flmm.data.sample import Sample
from flmm.data.segmentation import segmentation_mask
from flmm.errors import InputError
from flmm.evaluation.count import mask_records
from flmm.evaluation.predictions import areas, counts, iou, unit_id
from flmm.evaluation.records import Record
from flmm.evaluation.tables import PREDICTION_SCHEMA
from flmm.files import read_json
from flmm.protocols import Protocol, answers

Key = tuple[str, int]
SUITE = "scored"  # in the records of what no pipeline made
SEED = 7  # of the intervals' draws
_SHOWN = 3


@dataclass(frozen=True)
class Unit:
    """One phrase to be segmented in the image ``image`` of ``archive``; ``target`` indexes the sample's targets."""

    key: Key
    text: str
    sample: Sample
    target: int


@dataclass(frozen=True)
class Score:
    """The records, and how many units had no prediction or an unfilled one: those count as empty masks."""

    records: list[Record]
    units: int
    missing: int


def units(samples: Sequence[Sample], protocol: Protocol) -> list[Unit]:
    """Everything that a protocol counts, in the order of the samples; a question's one region under every protocol."""
    asked = [Unit((unit_id(sample), 0), sample.question, sample, 0) for sample in samples if sample.question]
    return asked + [
        Unit((answer.answer_id, number), piece.text, sample, piece.target)
        for sample in samples
        if not sample.question
        for answer in answers(sample, protocol)
        for number, piece in enumerate(piece for piece in answer.pieces if piece.target >= 0)
    ]


def template(samples: Sequence[Sample], protocol: Protocol) -> list[dict[str, object]]:
    """The units as JSON records whose ``segmentation`` is to be filled in: COCO run lengths ``{size, counts}``.

    ``counts`` is None until then, and a record left so counts as missing.
    """
    return [
        {
            "answer_id": unit.key[0],
            "phrase": unit.key[1],
            "text": unit.text,
            "image": unit.sample.image,
            "archive": unit.sample.archive,
            "segmentation": {"size": [unit.sample.height, unit.sample.width], "counts": None},
        }
        for unit in units(samples, protocol)
    ]


def score(
    samples: Sequence[Sample], predictions: Path, protocol: Protocol, system: str, benchmark: Benchmark
) -> Score:
    """Every metric of the masks in ``predictions`` (Parquet or JSON) under one protocol; ``system`` names their maker.

    The benchmark's own counting, as in ``flmm.evaluation.count``; a benchmark of questions has one protocol.

    Raises:
        InputError: a file is damaged, a prediction is twice there, of no unit, or not of its image's size (names
        file and keys).
    """
    wanted = units(samples, protocol)
    given = _read(predictions, {unit.key: unit.sample for unit in wanted})
    spoken = protocol if benchmark.words == "spoken" else benchmark.protocols[0]
    rows = [_row(unit, given.get(unit.key), spoken, system) for unit in wanted]
    table = pa.Table.from_pylist(rows, schema=PREDICTION_SCHEMA)
    records = mask_records(benchmark, table, suite=SUITE, backbone=system, protocols=[spoken], seed=SEED)
    return Score(records, len(wanted), sum(unit.key not in given for unit in wanted))


def _row(unit: Unit, mine: Any, protocol: str, system: str) -> dict[str, object]:
    sample, target = unit.sample, unit.sample.targets[unit.target]
    size = [sample.height, sample.width]
    truth = {"counts": target.rle.encode("ascii"), "size": size}
    if mine is None:
        intersection, union = 0, int(coco_mask.area(truth))
    else:
        intersection, union = areas(mine, truth)
    return {
        "sample_id": sample.sample_id,
        "answer_id": unit.key[0],
        "phrase": unit.key[1],
        "target_id": target.target_id,
        "text": unit.text,
        "dataset": sample.dataset,
        "split": sample.split,
        "protocol": protocol,
        "head": system,
        "archive": sample.archive,
        "image": sample.image,
        "height": sample.height,
        "width": sample.width,
        "iou": iou(intersection, union),
        "intersection": intersection,
        "area_union": union,
        "rle": "" if mine is None else mine["counts"].decode("ascii"),
        "rle_truth": target.rle,
        "is_thing": target.is_thing,
        "is_plural": target.is_plural,
        "category": target.category,
    }


def _read(path: Path, known: Mapping[Key, Sample]) -> dict[Key, Any]:
    """Run lengths by key, each of its image's size; rows of a template that nobody has filled in are left out."""
    rows = _parquet(path) if path.suffix == ".parquet" else _json(path)
    keys = [key for key, _ in rows]
    twice = [key for key, count in Counter(keys).items() if count > 1]
    if twice:
        raise InputError(f"{path}: {len(twice)} units are there more than once, such as {_name(twice)}")
    unknown = [key for key in keys if key not in known]
    if unknown:
        raise InputError(
            f"{path}: {len(unknown)} predictions belong to no unit of the samples under this protocol, such as "
            f"{_name(unknown)}; --template lists the units"
        )
    return {
        key: _checked(path, key, segmentation, known[key])
        for key, segmentation in rows
        if not _unfilled(segmentation)
    }


def _unfilled(segmentation: Any) -> bool:
    """Whether a row is as the template has it: without run lengths. It is as good as no row."""
    return segmentation is None or (
        isinstance(segmentation, dict) and segmentation.get("counts", "absent") in (None, "")
    )


def _checked(path: Path, key: Key, segmentation: Any, sample: Sample) -> Any:
    """The run lengths again, by way of a mask: pycocotools itself reads past the end of a damaged string."""
    mask = segmentation_mask(segmentation, sample.height, sample.width, f"{path}: {_name([key])}")
    mask = counts(sample, mask) if sample.question else mask
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))


def _parquet(path: Path) -> list[tuple[Key, Any]]:
    columns = ["answer_id", "phrase", "height", "width", "rle"]
    try:
        table = pq.read_table(path, columns=columns)
    except (OSError, pa.ArrowException, KeyError) as error:
        raise InputError(f"{path}: not a Parquet file with columns {', '.join(columns)}") from error
    return [
        ((row["answer_id"], row["phrase"]), {"size": [row["height"], row["width"]], "counts": row["rle"]})
        for row in table.to_pylist()
    ]


def _json(path: Path) -> list[tuple[Key, Any]]:
    rows = read_json(path)
    if not isinstance(rows, list):
        raise InputError(f"{path}: not a list of predictions {{answer_id, phrase, segmentation}}")
    found = []
    for number, row in enumerate(rows):
        try:
            key = (str(row["answer_id"]), int(row["phrase"]))
            found.append((key, row["segmentation"]))
        except (KeyError, TypeError, ValueError) as error:
            what = json.dumps(row)[:80]
            raise InputError(
                f"{path}: prediction {number} has no answer_id, phrase and segmentation: {what}"
            ) from error
    return found


def _name(keys: Sequence[Key]) -> str:
    return ", ".join(f"{answer} phrase {phrase}" for answer, phrase in keys[:_SHOWN])
