"""The step ``count``: from the tables of one backbone's predictions and answers to its records, in seconds.

No model is loaded, and neither torch nor transformers is imported: a metric can change without a GPU at hand. (But for
a text model, where ``count.text_model`` names one.)
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from flmm.benchmarks import Benchmark, benchmark
from flmm.benchmarks.base import ANSWERS_EQUAL, Columns
from flmm.benchmarks.metrics import mean
from flmm.errors import InputError
from flmm.evaluation.count_ways import way_records
from flmm.evaluation.description_count import description_records
from flmm.evaluation.pictures import pictures
from flmm.evaluation.records import Record, records_of
from flmm.evaluation.similarity import Similarity, by_model
from flmm.evaluation.tables import ANSWERS, DESCRIPTIONS, LOOKS, PREDICTIONS, THOUGHTS
from flmm.files import read_table, write_json
from flmm.heads.names import ATTACHED, PLAIN
from flmm.params import Params

_KEY = ("dataset", "split", "protocol", "head")
_MASK_COLUMNS = (
    *_KEY,
    "archive",
    "image",
    "iou",
    "intersection",
    "area_union",
    "is_thing",
    "is_plural",
    "category",
)
_ANSWER_COLUMNS = ("label", "options", "group", "category")
_ANSWERED_BY = {PLAIN: "answer_plain", ATTACHED: "answer_attached"}
_TOKENS = ("tokens_plain", "tokens_attached")


def count(
    params: Params, backbone: str, tables: Mapping[str, Path], questions: Mapping[str, Path], out: Path
) -> None:
    """Write ``out/metrics.json``: flat records of every benchmark whose folder of tables is given.

    ``tables``: by benchmark the folder that `evaluate` wrote. ``questions``: by part (``<dataset>-<split>``) the
    file of `prepare`, for the benchmarks without masks: it tells which questions are about one picture.

    Raises:
        InputError: a table is absent or damaged, or a benchmark is unknown.
    """
    records: list[Record] = []
    for name, folder in tables.items():
        chosen = benchmark(name)
        if chosen.words == "asked":
            columns = ["question_id", *_KEY[:2], *_ANSWER_COLUMNS, *_ANSWERED_BY.values(), *_TOKENS]
            table = read_table(folder / ANSWERS, columns=columns)
            records += answer_records(
                chosen, table, _pictures(table, questions), suite=params.suite, backbone=backbone, seed=params.seed
            )  # fmt: skip
        elif chosen.words == "described":
            said = read_table(folder / PREDICTIONS, columns=["sample_id", "head", "phrase", "text", "rle"])
            records += description_records(
                chosen, read_table(folder / DESCRIPTIONS), said, text_model(params), suite=params.suite,
                backbone=backbone, seed=params.seed,
            )  # fmt: skip
        else:
            table = read_table(folder / PREDICTIONS, columns=list(_MASK_COLUMNS))
            protocols = chosen.counted(params.evaluate.protocols)
            records += mask_records(
                chosen, table, suite=params.suite, backbone=backbone, protocols=protocols, seed=params.seed
            )
        records += _of_ways(params, backbone, chosen, folder)
    write_json(out / "metrics.json", [record.model_dump() for record in records])


def _of_ways(params: Params, backbone: str, chosen: Benchmark, folder: Path) -> list[Record]:
    """Records of a benchmark's chain of thought, where its tables were made."""
    if not chosen.ways or params.evaluate.thoughts.questions == 0:
        return []
    place = {"suite": params.suite, "backbone": backbone}
    records = way_records(chosen, read_table(folder / THOUGHTS), **place, seed=params.seed)
    if chosen.words != "answered":
        return records
    looks = read_table(folder / LOOKS, columns=list(_MASK_COLUMNS))
    ways = [way.name for way in chosen.ways]
    return records + mask_records(chosen, looks, **place, protocols=ways, seed=params.seed)


def text_model(params: Params) -> Similarity | None:
    """The model of ``count.text_model``, the one thing that makes counting import torch; None where none is given."""
    return None if params.count.text_model is None else by_model(params.count.text_model)


def mask_records(
    chosen: Benchmark, table: pa.Table, *, suite: str, backbone: str, protocols: Sequence[str], seed: int
) -> list[Record]:
    """Records of every (dataset, split, protocol, head) of a predictions table; protocols are never pooled.

    ``protocols``: those to report. Rows of protocol ``both`` count once under each of them. ``seed``: of the intervals.
    """
    columns = {name: table[name].to_numpy(zero_copy_only=False) for name in _MASK_COLUMNS}
    records: list[Record] = []
    for dataset, split, spoken, head in sorted(set(zip(*(columns[name] for name in _KEY), strict=True))):
        wanted = np.ones(table.num_rows, dtype=bool)
        for name, value in zip(_KEY, (dataset, split, spoken, head), strict=True):
            wanted &= columns[name] == value
        rows = {name: column[wanted] for name, column in columns.items()}
        images = [f"{archive}/{image}" for archive, image in zip(rows["archive"], rows["image"], strict=True)]
        for protocol in _counted_as(spoken, protocols):
            records += records_of(
                chosen.count(rows, protocol), images, seed,
                suite=suite, backbone=backbone, head=head, benchmark=dataset, split=split, protocol=protocol,
            )  # fmt: skip
    return records


def answer_records(
    chosen: Benchmark, table: pa.Table, images: Sequence[str], *, suite: str, backbone: str, seed: int
) -> list[Record]:
    """Records of every data set and split of an answers table: the plain LMM, and the LMM with the head attached.

    ``images``: the picture of each row. ``seed``: of the intervals.
    ``answers_equal``: share of answers that are the same tokens without and with the head.
    """
    records: list[Record] = []
    rows = table.to_pylist()
    for dataset, split in sorted({(row["dataset"], row["split"]) for row in rows}):
        places = [i for i, row in enumerate(rows) if (row["dataset"], row["split"]) == (dataset, split)]
        mine, shown = [rows[place] for place in places], [images[place] for place in places]
        same = mean([row[_TOKENS[0]] == row[_TOKENS[1]] for row in mine])
        for head, column in _ANSWERED_BY.items():
            columns = answer_columns(mine, [row[column] for row in mine])
            for protocol in chosen.protocols:
                numbers = dict(chosen.count(columns, protocol))
                if head == ATTACHED:
                    numbers[ANSWERS_EQUAL.name] = same
                records += records_of(
                    numbers, shown, seed, suite=suite, backbone=backbone, head=head, benchmark=dataset, split=split,
                    protocol=protocol,
                )  # fmt: skip
    return records


def _pictures(table: pa.Table, questions: Mapping[str, Path]) -> list[str]:
    """The picture of each row of an answers table.

    Raises:
        InputError: a questions file is not given, absent or lacks a question.
    """
    rows = table.select(["dataset", "split", "question_id"]).to_pylist()
    parts = {f"{row['dataset']}-{row['split']}" for row in rows}
    if unknown := sorted(parts - questions.keys()):
        raise InputError(f"count: no questions file of {', '.join(unknown)}; run prepare")
    found = {part: pictures(questions[part]) for part in parts}
    shown = [found[f"{row['dataset']}-{row['split']}"].get(row["question_id"]) for row in rows]
    if None in shown:
        row = rows[shown.index(None)]
        path = questions[f"{row['dataset']}-{row['split']}"]
        raise InputError(
            f"{path}: question {row['question_id']} was answered but is not there; run evaluate again"
        )
    return [name for name in shown if name is not None]


def answer_columns(rows: Sequence[Mapping[str, object]], answers: Sequence[str]) -> Columns:
    """What a benchmark of questions counts: their columns, and one answer each."""
    return {"answer": list(answers)} | {name: [row[name] for row in rows] for name in _ANSWER_COLUMNS}


def _counted_as(spoken: str, protocols: Sequence[str]) -> Iterable[str]:
    return protocols if spoken == "both" else [protocol for protocol in protocols if protocol == spoken]
