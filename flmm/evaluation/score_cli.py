"""`flmm score`: files in, a table and a file of records out."""

from pathlib import Path
from typing import cast, get_args

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from flmm.benchmarks import Benchmark, benchmark, names, of_dataset
from flmm.data.question import read_questions
from flmm.data.sample import Sample, read_samples
from flmm.errors import InputError
from flmm.evaluation.score import Score, score, template
from flmm.evaluation.score_answers import answer_template, score_answers, write_lines
from flmm.evaluation.score_descriptions import score_descriptions
from flmm.evaluation.similarity import by_model
from flmm.evaluation.tables import dataset_and_split
from flmm.files import write_json
from flmm.protocols import Protocol

NOTHING = "nothing to score: flmm score FILE PREDICTIONS (or --template FILE)"


def run(
    samples_path: Path,
    predictions: Path | None,
    protocol: str,
    system: str,
    out: Path | None,
    template_path: Path | None,
    benchmark_name: str | None = None,
    text_model: str | None = None,
) -> None:
    """Score masks (of a samples file) or answers (of a questions file), or write what has to be predicted.

    ``benchmark_name``: whose counting applies; None: that of the samples' data set. ``text_model``: says how alike
    phrases of descriptions are.

    Raises:
        InputError: neither is given, an unknown protocol or benchmark, or a file that cannot be used.
    """
    known = [name for name in get_args(Protocol) if name != "train"]
    if protocol not in known:
        raise InputError(f"--protocol {protocol}: there are {' and '.join(known)}")
    asked = _holds_questions(samples_path)
    if asked:
        found = _answers(samples_path, predictions, system, template_path, benchmark_name)
    else:
        found = _masks(
            samples_path,
            predictions,
            cast(Protocol, protocol),
            system,
            template_path,
            benchmark_name,
            text_model,
        )
    if found is not None:
        _show(found, digits=3 if asked else 2)
        if out is not None:
            write_json(out, [record.model_dump() for record in found.records])


def _holds_questions(path: Path) -> bool:
    try:
        return "question_id" in pq.read_schema(path).names
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a samples or questions file of `flmm prepare` ({error})") from error


def _masks(
    path: Path,
    predictions: Path | None,
    protocol: Protocol,
    system: str,
    fill: Path | None,
    name: str | None,
    text_model: str | None,
) -> Score | None:
    samples = read_samples(path)
    known = benchmark(name) if name else of_dataset(samples[0].dataset) if samples else None
    if known is not None and known.words == "described":
        return _descriptions(samples, predictions, system, fill, known, text_model)
    if fill is not None:
        write_json(fill, template(samples, protocol))
        return None
    if predictions is None:
        raise InputError(NOTHING)
    found = score(samples, predictions, protocol, system, _of_samples(samples, path, name))
    print(
        f"{found.units} units, {found.missing} without a prediction or not filled in (counted as empty masks)"
    )
    return found


def _descriptions(
    samples: list[Sample],
    predictions: Path | None,
    system: str,
    fill: Path | None,
    chosen: Benchmark,
    text_model: str | None,
) -> Score:
    if fill is not None:
        raise InputError(
            f"--template: {chosen.title} has none; it takes a JSON file per picture (docs/protocols.md)"
        )
    if predictions is None:
        raise InputError(NOTHING)
    model = None if text_model is None else by_model(text_model)
    found = score_descriptions(samples, predictions, system, chosen, model)
    print(f"{found.units} pictures, {found.missing} without a file (counted as described by nothing)")
    return found


def _of_samples(samples: list[Sample], path: Path, name: str | None) -> Benchmark:
    datasets = sorted({sample.dataset for sample in samples})
    if not datasets:
        raise InputError(f"{path}: no sample, so that there is nothing to score")
    chosen = _chosen(name, datasets[0], path)
    if chosen.words == "asked":
        raise InputError(f"{path}: holds masks, but {chosen.title} is about answers")
    return chosen


def _answers(
    path: Path, answers: Path | None, system: str, fill: Path | None, name: str | None
) -> Score | None:
    questions = read_questions(path)
    if not questions:
        raise InputError(f"{path}: no question, so that there is nothing to score")
    dataset, split = dataset_and_split(path.stem)
    chosen = _chosen(name, dataset, path)
    if chosen.words != "asked":
        raise InputError(f"{path}: holds questions without masks, but {chosen.title} is about masks")
    if of_dataset(dataset) is not chosen:
        dataset, split = chosen.name, path.stem
    if fill is not None:
        write_lines(fill, answer_template(questions, chosen))
        return None
    if answers is None:
        raise InputError(NOTHING)
    found = score_answers(questions, answers, system, chosen, dataset=dataset, split=split)
    print(f"{found.units} questions, all answered")
    return found


def _chosen(name: str | None, dataset: str, path: Path) -> Benchmark:
    if name is not None:
        return benchmark(name)
    found = of_dataset(dataset)
    if found is None:
        raise InputError(
            f"{path}: data set {dataset!r} is of no known benchmark; say whose counting applies with --benchmark "
            f"({', '.join(names())})"
        )
    return found


def _show(found: Score, digits: int) -> None:
    table = Table("benchmark", "split", "protocol", "metric", "value", "95 % interval", "n", "images")
    for record in found.records:
        names = (record.benchmark, record.split, record.protocol, record.metric)
        interval = f"{record.low:.{digits}f} to {record.high:.{digits}f}"
        table.add_row(*names, f"{record.value:.{digits}f}", interval, str(record.n), str(record.images))
    Console().print(table)
