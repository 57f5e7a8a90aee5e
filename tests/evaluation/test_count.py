"""Counting works on tables alone: no model, no torch, and the same numbers for whoever made the tables."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flmm.benchmarks import benchmark, benchmarks, names
from flmm.cache.schema import Manifest
from flmm.data.question import Question, write_questions
from flmm.errors import InputError
from flmm.evaluation.count import answer_columns, answer_records, count
from flmm.evaluation.engine import Part, predict
from flmm.evaluation.records import read_records
from flmm.evaluation.tables import ANSWER_SCHEMA, THOUGHT_SCHEMA, dataset_and_split
from flmm.files import write_table
from flmm.params import load_params
from flmm.pipeline.code import modules
from flmm.pipeline.hashes import Hashes
from tests.evaluation.conftest import SHIFTED, NoEmbeddings

PROJECT = Path(__file__).resolve().parents[2]
# Runs Python code where importing a model library is an error.
BLOCKED = """
import sys
for name in ("torch", "transformers", "segment_anything", "accelerate", "torchvision"):
    sys.modules[name] = None
"""


def without_models(code: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED + code, *arguments], capture_output=True, text=True, cwd=PROJECT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def question(name: str, image: str = "1.jpg") -> Question:
    return Question(name, name, "?", "", (), "yes", "", "val2014", image, b"")


def answers(**changes: Any) -> list[dict[str, Any]]:
    plain = {
        "question_id": "1", "group": "1", "category": "c", "dataset": "pope", "split": "random", "text": "?",
        "options": [], "label": "yes", "answer_plain": "yes", "answer_attached": "yes", "tokens_plain": [1],
        "tokens_attached": [1], "masks": 1,
    }  # fmt: skip
    return [{**plain, **changes}]


def thoughts(split: str = "random") -> pa.Table:
    """One question's answers without and after a second look."""
    made = {
        "question_id": "1", "dataset": "pope", "split": split, "archive": "val2014", "image": "1.jpg", "text": "",
        "label": "yes", "phrase": "", "box": [], "crop": [], "pictures": 1, "problem": "", "grade": None,
    }  # fmt: skip
    said = (("plain", "no"), ("look-first", "yes"))
    rows = [made | {"protocol": way, "answer": answer} for way, answer in said]
    return pa.Table.from_pylist(rows, schema=THOUGHT_SCHEMA)


def test_counting_and_scoring_load_no_model_library(refcoco: Manifest, tmp_path: Path) -> None:
    table = predict([Part("refcoco", "val", refcoco)], {"unet": SHIFTED}, NoEmbeddings(), ["paper"])
    write_table(tmp_path / "res" / "predictions.parquet", table)
    asked = pa.Table.from_pylist(answers(), schema=ANSWER_SCHEMA)
    write_table(tmp_path / "pope" / "answers.parquet", asked)
    write_table(tmp_path / "pope" / "thoughts.parquet", thoughts())
    tables = {name: tmp_path / name for name in ("res", "pope")}
    write_questions(tmp_path / "pope-random.parquet", [question("1")])
    questions = {"pope-random": tmp_path / "pope-random.parquet"}
    count(load_params(PROJECT / "params.yaml"), "shapes-llava", tables, questions, tmp_path / "here")
    without_models(
        """
from pathlib import Path
from flmm.evaluation.count import count
from flmm.params import load_params
from flmm.pipeline.code import modules
from flmm.pipeline.hashes import Hashes
import flmm.evaluation.score_cli, flmm.evaluation.overlays, flmm.report
root = Path(sys.argv[1])
tables = {name: root / name for name in ("res", "pope")}
questions = {"pope-random": root / "pope-random.parquet"}
count(load_params(Path("params.yaml")), "shapes-llava", tables, questions, root / "there")
""",
        str(tmp_path),
    )
    here, there = (tmp_path / name / "metrics.json" for name in ("here", "there"))
    assert here.read_bytes() == there.read_bytes()
    found = read_records(here)
    assert {(r.benchmark, r.protocol) for r in found} == {
        ("refcoco", "paper"), ("pope", "upstream"), ("pope", "plain"), ("pope", "look-first"),
    }  # fmt: skip


def test_the_benchmarks_are_light_and_names_import_none_of_them() -> None:
    told = without_models(
        """
from flmm.benchmarks import benchmarks, names
found = names()
imported = [name for name in found if f"flmm.benchmarks.{name}" in sys.modules]
benchmarks()
print(found, imported, [name for name in ("pyarrow", "PIL", "scipy") if name in sys.modules])
"""
    )
    assert told.strip() == f"{names()} [] []"


def test_every_benchmark_is_whole() -> None:
    assert [each.name for each in benchmarks()] == [
        "res",
        "png",
        "phrases",
        "reasonseg",
        "viscot",
        "gcg",
        "pope",
        "mmbench",
    ]
    for each in benchmarks():
        assert each.headline.metric in {metric.name for metric in each.metrics}
        assert each.headline.protocol in each.protocols
        assert set(each.notes) <= set(each.protocols)
        ways = [way.name for way in each.ways]
        assert not set(ways) & set(each.protocols) and len(set(ways)) == len(ways)
        assert not ways or ("plain" in ways and each.count_ways is not None)
        assert {f"{name}_gain" for name in each.gains} <= {metric.name for metric in each.metrics}
    with pytest.raises(
        InputError, match=r"unknown benchmark 'vqa'; there are: gcg, mmbench, phrases, png, pope"
    ):
        benchmark("vqa")


def test_every_number_that_is_counted_has_a_name_and_a_unit(refcoco: Manifest, png: Manifest) -> None:
    params = load_params(PROJECT / "params.yaml")
    for name, manifest in (("res", refcoco), ("png", png)):
        dataset, split = dataset_and_split(manifest.part)
        heads: Any = {"unet": SHIFTED}
        table = predict([Part(dataset, split, manifest)], heads, NoEmbeddings(), params.evaluate.protocols)
        folder = manifest.folder / "out"
        write_table(folder / "predictions.parquet", table)
        count(params, "b", {name: folder}, {}, folder)
        counted = {record.metric for record in read_records(folder / "metrics.json")}
        assert {name.split("/")[0] for name in counted} == {metric.name for metric in benchmark(name).metrics}


def test_a_table_that_is_not_there_is_named(tmp_path: Path) -> None:
    params = load_params(PROJECT / "params.yaml")
    with pytest.raises(InputError, match=r"answers\.parquet: no such file"):
        count(params, "b", {"pope": tmp_path}, {}, tmp_path)


def test_a_picture_counts_once_however_many_questions_it_has(tmp_path: Path) -> None:
    params = load_params(PROJECT / "params.yaml")
    rows = [answers(question_id=str(n), answer_plain="yes" if n % 3 else "no")[0] for n in range(12)]
    write_table(tmp_path / "answers.parquet", pa.Table.from_pylist(rows, schema=ANSWER_SCHEMA))
    write_table(tmp_path / "thoughts.parquet", thoughts())
    file = tmp_path / "pope-random.parquet"
    write_questions(file, [question(str(n), f"{n // 3}.jpg") for n in range(12)])
    count(params, "b", {"pope": tmp_path}, {"pope-random": file}, tmp_path)
    found = {r.metric: r for r in read_records(tmp_path / "metrics.json") if r.protocol == "upstream"}
    assert (found["accuracy"].n, found["accuracy"].images) == (12, 4)
    # Every picture has two right answers of three, so that it does not matter which are drawn.
    assert found["accuracy"].low == pytest.approx(found["accuracy"].high, abs=1e-6)
    write_questions(file, [question("0")])
    with pytest.raises(InputError, match=r"pope-random\.parquet: question 1 was answered but is not there"):
        count(params, "b", {"pope": tmp_path}, {"pope-random": file}, tmp_path)
    with pytest.raises(InputError, match="no questions file of pope-random; run prepare"):
        count(params, "b", {"pope": tmp_path}, {}, tmp_path)


@given(st.lists(st.tuples(st.text(max_size=12), st.booleans()), min_size=1, max_size=12))
def test_whatever_the_categories_are_called_every_question_counts_once(
    questions: list[tuple[str, bool]],
) -> None:
    rows = [
        answers(
            group=str(number), category=category, options=["x", "y"], label="A", dataset="mmbench", split="dev",
            answer_plain="A" if right else "B",
        )[0]
        for number, (category, right) in enumerate(questions)
    ]  # fmt: skip
    numbers = benchmark("mmbench").count(answer_columns(rows, [r["answer_plain"] for r in rows]), "upstream")
    values = {name: number.value for name, number in numbers.items()}
    share = sum(right for _, right in questions) / len(questions)
    assert values["circular_accuracy"] == values["plain_accuracy"] == pytest.approx(share)
    named = {category.strip() for category, _ in questions} - {""}
    assert set(values) == {"circular_accuracy", "plain_accuracy"} | {
        f"circular_accuracy/{category}" for category in named
    }
    table = pa.Table.from_pylist(rows, schema=ANSWER_SCHEMA)
    pictures = [row["group"] for row in rows]
    records = answer_records(benchmark("mmbench"), table, pictures, suite="s", backbone="b", seed=7)
    assert json.loads(json.dumps([record.model_dump() for record in records]))


def test_predicting_does_not_depend_on_the_code_that_counts() -> None:
    """Or another metric would ask for new predictions: a step's key holds the code that its entry module imports."""
    found = set(modules(["flmm.evaluation.run"], Hashes()))
    assert {"flmm.evaluation.run", "flmm.evaluation.engine", "flmm.evaluation.tables"} <= found
    counting = {
        "flmm.evaluation.count",
        "flmm.benchmarks.metrics",
        *(f"flmm.benchmarks.{n}" for n in names()),
    }
    assert not counting & found and not any(name.startswith("flmm.report") for name in found)
