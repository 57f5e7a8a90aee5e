"""Anybody's answers to POPE and MMBench under our rules: JSON lines of question id and text."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flmm.benchmarks import Benchmark
from flmm.data.question import Question
from flmm.errors import InputError
from flmm.evaluation.count import answer_columns
from flmm.evaluation.pictures import picture
from flmm.evaluation.records import records_of
from flmm.evaluation.score import SEED, SUITE, Score
from flmm.files import write_text

_SHOWN = 3


def answer_template(questions: Sequence[Question], benchmark: Benchmark) -> list[dict[str, object]]:
    """What has to be answered, one record per question, whose ``text`` is to be filled in.

    ``prompt`` is the wording that the benchmark prescribes. A question without ``image`` has its picture in the
    questions file, column ``image_bytes``.
    """
    return [
        {
            "question_id": question.question_id,
            "prompt": benchmark.prompt(question),
            "archive": question.archive,
            "image": question.image,
            "text": None,
        }
        for question in questions
    ]


def write_lines(path: Path, records: Sequence[Mapping[str, object]]) -> None:
    """One JSON record per line."""
    write_text(path, "".join(f"{json.dumps(record, ensure_ascii=False)}\n" for record in records))


def score_answers(
    questions: Sequence[Question],
    answers: Path,
    system: str,
    benchmark: Benchmark,
    *,
    dataset: str,
    split: str,
) -> Score:
    """Every metric of the answers in a JSON lines file; ``system`` names who gave them.

    Every question needs an answer: to leave one out would count as an answer to POPE, where silence means yes.

    Raises:
        InputError: the file is damaged, or a question has no answer, or two, or an answer has no question (names
        the file and the line or the questions).
    """
    said = _one_per_question(answers, questions)
    rows = [
        {"label": q.answer, "options": list(q.options), "group": q.group, "category": q.category}
        for q in questions
    ]
    columns = answer_columns(rows, said)
    images = [picture(q.archive, q.image, q.image_bytes) for q in questions]
    records = [
        record
        for protocol in benchmark.protocols
        for record in records_of(
            benchmark.count(columns, protocol), images, SEED,
            suite=SUITE, backbone=system, head=system, benchmark=dataset, split=split, protocol=protocol,
        )
    ]  # fmt: skip
    return Score(records, len(questions), 0)


def _one_per_question(answers: Path, questions: Sequence[Question]) -> list[str]:
    """The texts of a file in the questions' order."""
    given = _read(answers)
    twice = [key for key, count in Counter(key for key, _ in given).items() if count > 1]
    if twice:
        raise InputError(
            f"{answers}: {len(twice)} questions are answered more than once, such as {_few(twice)}"
        )
    texts, known = dict(given), {question.question_id for question in questions}
    unknown = [key for key in texts if key not in known]
    if unknown:
        raise InputError(
            f"{answers}: {len(unknown)} answers belong to no question, such as {_few(unknown)}; "
            "--template lists the questions"
        )
    missing = [question.question_id for question in questions if texts.get(question.question_id) is None]
    if missing:
        raise InputError(
            f"{answers}: {len(missing)} of {len(questions)} questions have no answer, such as {_few(missing)}; "
            'an answer without words is an empty text, ""'
        )
    return [texts[question.question_id] or "" for question in questions]


def _read(path: Path) -> list[tuple[str, str | None]]:
    """Question ids and texts; a text that is null was not filled in."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable text file ({error})") from error
    return [_answer(line, f"{path}:{number}") for number, line in enumerate(lines, start=1) if line.strip()]


def _answer(line: str, where: str) -> tuple[str, str | None]:
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not a JSON record; one per line is expected") from error
    if not isinstance(row, dict) or not {"question_id", "text"} <= row.keys():
        raise InputError(f"{where}: no question_id and text: {line.strip()[:80]}")
    key, text = row["question_id"], row["text"]
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise InputError(f"{where}: question_id is neither a text nor a whole number: {key!r}")
    if text is not None and not isinstance(text, str):
        raise InputError(f"{where}: text is no text: {str(text)[:80]}")
    return str(key), text


def _few(keys: Sequence[str]) -> str:
    return ", ".join(keys[:_SHOWN])
