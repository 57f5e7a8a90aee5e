"""MMBench: a TSV of multiple-choice questions with pictures in base64.

Format: VLMEvalKit's ``vlmeval/dataset/image_mcq.py``, which reads the file with pandas: a byte order mark is passed
over, and a cell that is empty or holds a word such as ``nan`` or ``NA`` is no value. Rotation r of question i has index
i + r * 1,000,000; a rotation's image cell may hold the index of the row that carries the picture.
"""

import base64
import binascii
import io
import re
import string
import warnings
from pathlib import Path
from typing import Any

from flmm.data.archives import read_file
from flmm.data.images import decode_image
from flmm.data.question import Question
from flmm.data.readers import Files
from flmm.errors import InputError
from flmm.params import Dataset

ROTATION = 1_000_000
LETTERS = tuple(string.ascii_uppercase)
REQUIRED = ("index", "question", "A", "B", "answer", "image")
# VLMEvalKit's rule: a short image cell is another row's index, a long one is a picture.
REFERENCE_LENGTH = 64
# An index; a data frame with empty cells in that column writes 7 as 7.0.
_INDEX = re.compile(r"([0-9]{1,15})(?:\.0)?")


def read_mmbench(raw: Path, file: str) -> list[Question]:
    """The questions of ``<raw>/<file>`` (or ``<raw>/mmbench/<file>``), one per rotation, in the file's order.

    Raises:
        InputError: the file is absent, lacks a column, or a row is malformed (names the row's index).
    """
    path, data = read_file(raw, file, f"mmbench/{file}")
    rows = _rows(data, path)
    pictures = _pictures(rows, path)
    return [
        _question(number, row, pictures[number], f"{path}: index {number}") for number, row in rows.items()
    ]


def _rows(data: bytes, path: str) -> dict[int, dict[str, str]]:
    """The rows by index; a cell without a value is empty, but for the option that the answer names.

    Raises:
        InputError: no table with the required columns and at least one row, or an index is none or there twice.
    """
    written, read = _table(data, path, words=True), _table(data, path, words=False)
    missing = [column for column in REQUIRED if column not in read.columns]
    if missing:
        raise InputError(f"{path}: lacks the column {missing[0]!r}")
    rows: dict[int, dict[str, str]] = {}
    pairs = zip(written.to_dict("records"), read.to_dict("records"), strict=True)
    for number, (said, row) in enumerate(pairs, start=1):
        if not any(row.values()):  # a row of tabs, as spreadsheets leave behind the last one
            continue
        index = _number(row["index"].strip())
        if index is None or index in rows:
            raise InputError(
                f"{path}: row {number}: index {said['index'][:40]!r} is no number or occurs twice"
            )
        # The right answer is an option, whatever its words: pandas would take "None" away.
        right = row["answer"].strip()
        rows[index] = {**row, right: said[right]} if right in LETTERS and right in row else row
    if not rows:
        raise InputError(f"{path}: holds no question")
    return rows


def _table(data: bytes, path: str, *, words: bool) -> Any:
    """The file as a frame of text; with ``words`` every cell as written, else cells without a value are empty."""
    import pandas  # takes a second, and only this reader wants it

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pandas.errors.ParserWarning)  # a row with too many cells
            frame = pandas.read_csv(
                io.BytesIO(data),
                sep="\t",
                dtype=str,
                encoding="utf-8",
                index_col=False,
                keep_default_na=not words,
            )
    except (ValueError, pandas.errors.ParserWarning) as error:
        raise InputError(f"{path}: not a readable TSV ({' '.join(str(error).split())})") from error
    return frame.fillna("")


def _number(cell: str) -> int | None:
    match = _INDEX.fullmatch(cell)
    return int(match[1]) if match else None


def _pictures(rows: dict[int, dict[str, str]], path: str) -> dict[int, bytes]:
    """Per row its encoded picture; each one is decoded once, to find damage here and not hours later."""
    own: dict[int, bytes] = {}
    for index, row in rows.items():
        cell = row["image"].strip()
        if len(cell) > REFERENCE_LENGTH:
            own[index] = _decode(cell, f"{path}: index {index}")
    pictures: dict[int, bytes] = {}
    for index, row in rows.items():
        cell = row["image"].strip()
        source = index if len(cell) > REFERENCE_LENGTH else _number(cell)
        if source not in own:
            raise InputError(
                f"{path}: index {index}: its image cell {cell[:40]!r} is neither a picture nor a row with one"
            )
        pictures[index] = own[source]
    return pictures


def _decode(cell: str, where: str) -> bytes:
    try:
        data = base64.b64decode(cell, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{where}: its image is not base64 ({error})") from error
    decode_image(data, f"{where}: its image")
    return data


def _question(index: int, row: dict[str, str], picture: bytes, where: str) -> Question:
    cells = {letter: row.get(letter, "").strip() for letter in LETTERS}
    letters = [letter for letter, cell in cells.items() if cell]
    if len(letters) < 2:
        raise InputError(f"{where}: needs options in two columns at least")
    answer = row["answer"].strip()
    if answer not in letters:
        raise InputError(f"{where}: answer {answer[:40]!r} is not the letter of an option")
    # Letters are columns: an empty cell between two options keeps its place.
    options = tuple(cells[letter] for letter in LETTERS if letter <= letters[-1])
    if not row["question"].strip():
        raise InputError(f"{where}: has no question")
    return Question(
        question_id=str(index),
        group=str(index % ROTATION),
        text=row["question"],
        hint=row.get("hint", "").strip(),
        options=options,
        answer=answer,
        category=(row.get("category") or row.get("l2-category") or "").strip(),
        archive="",
        image="",
        image_bytes=picture,
    )


def files(name: str, dataset: Dataset, split: str) -> Files:
    """One table with pictures."""
    return Files((file_of(split),), ())


def read(raw: Path, name: str, split: str) -> list[Question]:
    """The questions of a split: ``dev``, ``dev_v11``, ``dev_cn`` or ``dev_cn_v11``."""
    return read_mmbench(raw, file_of(split))


def file_of(split: str) -> str:
    """The upstream file of a split; English is the language where none is named.

    Raises:
        InputError: no split of MMBench's development set.
    """
    match = re.fullmatch(r"dev(_cn)?(_v11)?", split)
    if match is None:
        raise InputError(f"params.yaml: mmbench has no split {split!r}: there are dev, dev_v11, dev_cn and dev_cn_v11")
    return f"MMBench_DEV_{'CN' if match[1] else 'EN'}{'_V11' if match[2] else ''}.tsv"
