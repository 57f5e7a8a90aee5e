"""`flmm score` on answers: the template, the count of our own step, and no answer dropped in silence."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from flmm.benchmarks import benchmark
from flmm.cli import app
from flmm.data.question import Question, write_questions
from flmm.errors import InputError
from flmm.evaluation.count import answer_records
from flmm.evaluation.score_answers import score_answers
from flmm.evaluation.tables import ANSWER_SCHEMA

RUN = CliRunner()


def question(number: int, name: str) -> Question:
    options = ("a star", "a dog") if name == "mmbench" else ()
    answer = "AB"[number % 2] if name == "mmbench" else ("yes", "no")[number % 2]
    return Question(
        str(number),
        str(number // 2),
        f"Is it {number}?",
        "",
        options,
        answer,
        "shape",
        "val2014",
        "a.jpg",
        b"",
    )


QUESTIONS = {name: [question(number, name) for number in range(6)] for name in ("pope", "mmbench")}
SAID = {
    "pope": ["yes", "No.", "no", "not at all", "", "maybe"],
    "mmbench": ["A", "b.", "(B)", "a dog", "", "who knows"],
}


def lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def given_answers(name: str) -> list[dict[str, Any]]:
    return [{"question_id": str(number), "text": text} for number, text in enumerate(SAID[name])]


def scored(path: Path, name: str = "pope") -> dict[str, float]:
    found = score_answers(QUESTIONS[name], path, "mine", benchmark(name), dataset=name, split="x")
    return {record.metric: record.value for record in found.records}


@pytest.mark.parametrize("name", ["pope", "mmbench"])
def test_answers_are_counted_as_the_step_counts_ours(tmp_path: Path, name: str) -> None:
    rows = [
        {
            "question_id": q.question_id, "group": q.group, "category": q.category, "dataset": name, "split": "x",
            "text": q.text, "options": list(q.options), "label": q.answer, "answer_plain": text,
            "answer_attached": text, "tokens_plain": [], "tokens_attached": [], "masks": 0,
        }
        for q, text in zip(QUESTIONS[name], SAID[name], strict=True)
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows, schema=ANSWER_SCHEMA)
    pictures = [q.image or q.question_id for q in QUESTIONS[name]]
    ours = answer_records(benchmark(name), table, pictures, suite="s", backbone="b", seed=7)
    path = lines(tmp_path / "a.jsonl", given_answers(name)[::-1])  # in any order
    assert scored(path, name) == {r.metric: r.value for r in ours if r.head == "none"}
    assert 0 < scored(path, name)[benchmark(name).headline.metric] < 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (given_answers("pope")[1:], "1 of 6 questions have no answer, such as 0; an answer without words is"),
        ([{**row, "text": None} for row in given_answers("pope")], "6 of 6 questions have no answer, such as 0, 1"),
        (given_answers("pope") * 2, "6 questions are answered more than once, such as 0, 1, 2"),
        ([*given_answers("pope"), {"question_id": 9, "text": "x"}], "1 answers belong to no question, such as 9"),
        ([{"id": 1}], r"a\.jsonl:1: no question_id and text"),
        ([[1]], r"a\.jsonl:1: no question_id and text"),
        ([{"question_id": 1.5, "text": "x"}], "question_id is neither"),
        ([{"question_id": 1, "text": 7}], "text is no text: 7"),
    ],
)  # fmt: skip
def test_wrong_answers_are_named(tmp_path: Path, rows: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        scored(lines(tmp_path / "a.jsonl", rows))


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_or_scored(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.jsonl"):
        scored(path)


@pytest.mark.parametrize(("name", "file"), [("pope", "pope-random"), ("mmbench", "mmbench-dev")])
def test_the_command_writes_a_template_and_scores_it(tmp_path: Path, name: str, file: str) -> None:
    questions, template = tmp_path / f"{file}.parquet", tmp_path / "t.jsonl"
    write_questions(questions, QUESTIONS[name])
    made = RUN.invoke(app, ["score", str(questions), "--template", str(template)])
    assert made.exit_code == 0, made.output
    rows = [json.loads(line) for line in template.read_text().splitlines()]
    assert rows[0]["prompt"] == benchmark(name).prompt(QUESTIONS[name][0])
    for row, text in zip(rows, SAID[name], strict=True):
        row["text"] = text
    out = tmp_path / "r.json"
    arguments = ["score", str(questions), str(lines(template, rows)), "--system", "mine", "--out", str(out)]
    result = RUN.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    records = json.loads(out.read_text())
    dataset, split = file.split("-")
    assert {(r["backbone"], r["benchmark"], r["split"]) for r in records} == {("mine", dataset, split)}
    assert {r["metric"]: r["value"] for r in records} == scored(template, name)


def test_whose_counting_applies_has_to_be_known(tmp_path: Path) -> None:
    path = tmp_path / "somebodys.parquet"
    write_questions(path, QUESTIONS["pope"])
    answers = lines(tmp_path / "a.jsonl", given_answers("pope"))
    refused = RUN.invoke(app, ["score", str(path), str(answers)]).exception
    assert isinstance(refused, InputError) and "--benchmark (" in str(refused) and "mmbench" in str(refused)
    told = RUN.invoke(app, ["score", str(path), str(answers), "--benchmark", "pope"])
    assert told.exit_code == 0 and "somebodys" in told.output
    wrong = RUN.invoke(app, ["score", str(path), str(answers), "--benchmark", "res"]).exception
    assert isinstance(wrong, InputError) and "RES is about masks" in str(wrong)
    (tmp_path / "x.parquet").write_text("nothing")
    damaged = RUN.invoke(app, ["score", str(tmp_path / "x.parquet"), str(answers)]).exception
    assert isinstance(damaged, InputError) and "x.parquet" in str(damaged)
