"""MMBench's TSV, read as pandas reads it: cells without a value, marks, gaps between options."""

import csv
import io
import math
from pathlib import Path
from typing import Any

import pandas
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flmm.benchmarks.mmbench import option_letter, prompt
from flmm.data.mmbench import read_mmbench
from flmm.data.question import Question
from flmm.errors import InputError
from tests.data.coco_files import mmbench, mmbench_tsv

FILE = "MMBench_DEV_EN.tsv"
PICTURE = mmbench()[0]["image"]
CELLS = st.one_of(
    st.sampled_from(
        ["", "nan", "NaN", "NA", "N/A", "None", "null", "NULL", "#N/A", "n/a", "<NA>", "0", "1.0", "no"]
    ),
    st.text(st.characters(blacklist_categories=("Cc", "Cs")), min_size=1, max_size=8).map(str.strip),
)


def read(raw: Path, data: bytes) -> list[Question]:
    (raw / FILE).write_bytes(data)
    return read_mmbench(raw, FILE)


def row(**cells: str) -> dict[str, str]:
    plain = {
        "index": "7",
        "question": "What?",
        "hint": "",
        "A": "dog",
        "B": "cat",
        "C": "",
        "D": "",
        "answer": "A",
    }
    return {**plain, "category": "scene", "image": PICTURE, **cells}


@settings(deadline=None)
@given(
    cells=st.fixed_dictionaries(dict.fromkeys(("hint", "A", "B", "C", "D", "category"), CELLS)),
    answer=st.sampled_from("ABCD"),
    mark=st.sampled_from(["", "\ufeff"]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_cells_are_read_as_pandas_reads_them(
    tmp_path_factory: pytest.TempPathFactory, cells: dict[str, str], answer: str, mark: str, end: str
) -> None:
    stream = io.StringIO(newline="")
    given_row = row(**cells, answer=answer)
    writer = csv.writer(stream, delimiter="\t", lineterminator=end)
    writer.writerows([given_row.keys(), given_row.values()])
    data = (mark + stream.getvalue()).encode()
    (seen,) = pandas.read_csv(io.BytesIO(data), sep="\t", dtype=str).to_dict("records")

    def value(key: str) -> str:
        return "" if isinstance(seen[key], float) and math.isnan(seen[key]) else str(seen[key]).strip()

    expected = {letter: value(letter) for letter in "ABCD"}
    expected[answer] = cells[answer]  # the right answer is an option, whatever its words
    filled = [letter for letter in "ABCD" if expected[letter]]
    try:
        (question,) = read(tmp_path_factory.mktemp("raw"), data)
    except InputError as error:
        assert FILE in str(error) and "index 7" in str(error)
        assert len(filled) < 2 or not expected[answer]
        return
    assert [letter for letter, option in zip("ABCD", question.options, strict=False) if option] == filled
    assert all(expected[letter] == option for letter, option in zip("ABCD", question.options, strict=False))
    assert (question.hint, question.category, question.answer) == (value("hint"), value("category"), answer)
    shown = [line[0] for line in prompt(question).splitlines() if line[1:3] == ". "]
    assert shown == filled
    assert all((option_letter(letter, question.options) == letter) == (letter in filled) for letter in "ABCD")


def test_a_gap_keeps_its_letter(tmp_path: Path) -> None:
    (question,) = read(tmp_path, mmbench_tsv([row(B="", C="one", D="three", answer="C")]))
    assert question.options == ("dog", "", "one", "three")
    assert prompt(question).startswith("What?\nA. dog\nC. one\nD. three\n")
    assert option_letter("B", question.options) is None and option_letter("one", question.options) == "C"


def test_more_than_four_options(tmp_path: Path) -> None:
    (question,) = read(tmp_path, mmbench_tsv([row(E="fox", answer="E")]))
    assert question.options == ("dog", "cat", "", "", "fox")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a readable TSV"),
        (b"index\tquestion\n1\t2\t3\n", "not a readable TSV"),
        (b'index\tquestion\n"1\t2\n', "not a readable TSV"),
        (b"\xff\xfei\0n\0", "not a readable TSV"),
        (b"index\tquestion\n1\t2\n", "lacks the column 'A'"),
        (mmbench_tsv([row(index="nan")]), "row 1: index 'nan' is no number"),
        (mmbench_tsv([row(), row(index="7.0")]), "row 2: index '7.0' is no number or occurs twice"),
        (mmbench_tsv([row(index="7.5")]), "index '7.5' is no number"),
        (mmbench_tsv([row(question="nan")]), "index 7: has no question"),
        (mmbench_tsv([row(answer="nan")]), "index 7: answer '' is not the letter of an option"),
        (mmbench_tsv([row(image="nan")]), "index 7: its image cell '' is neither"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(tmp_path, data)


def test_equal_files_give_equal_questions_whatever_wrote_them(tmp_path: Path) -> None:
    plain: Any = read(tmp_path, mmbench_tsv([row(), row(index="1000007", image="7")]))
    stored = b"\xef\xbb\xbf" + mmbench_tsv(
        [row(index="7.0", C="NaN"), row(index="1000007.0", image="7.0", D="NA")]
    )
    assert read(tmp_path, stored) == plain
