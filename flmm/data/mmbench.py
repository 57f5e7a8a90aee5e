"""MMBench: a TSV of multiple-choice questions with pictures in base64.

Format: VLMEvalKit's ``vlmeval/dataset/image_mcq.py``. Rotation r of question i has index i + r * 1,000,000; a
rotation's image cell may hold the index of the row that carries the picture.
"""

import base64
import binascii
import contextlib
import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from flmm.data.archives import read_file
from flmm.data.images import decode_image
from flmm.data.question import Question
from flmm.data.readers import Files
from flmm.errors import InputError
from flmm.params import Dataset

ROTATION = 1_000_000
LETTERS = "ABCD"
REQUIRED = ("index", "question", "A", "B", "answer", "image")
# VLMEvalKit's rule: a short image cell is another row's index, a long one is a picture.
REFERENCE_LENGTH = 64
FIELD_BYTES = 64 << 20


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
    rows: dict[int, dict[str, str]] = {}
    try:
        with _long_fields():
            # newline="" keeps line breaks inside quoted cells, as the csv module asks for.
            reader = csv.DictReader(io.StringIO(data.decode("utf-8"), newline=""), delimiter="\t", restval="")
            missing = [column for column in REQUIRED if column not in (reader.fieldnames or ())]
            if missing:
                raise InputError(f"{path}: lacks the column {missing[0]!r}")
            for row in reader:
                if None in row:
                    raise InputError(f"{path}: line {reader.line_num}: more cells than the header has")
                index = row["index"].strip()
                if not (index.isascii() and index.isdigit() and len(index) < 16) or int(index) in rows:
                    raise InputError(
                        f"{path}: line {reader.line_num}: index {index[:40]!r} is no number or occurs twice"
                    )
                rows[int(index)] = row
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a readable TSV ({error})") from error
    if not rows:
        raise InputError(f"{path}: holds no question")
    return rows


@contextlib.contextmanager
def _long_fields() -> Iterator[None]:
    """Pictures are longer than the csv module's default limit, which is a global."""
    before = csv.field_size_limit(FIELD_BYTES)
    try:
        yield
    finally:
        csv.field_size_limit(before)


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
        source = (
            index
            if len(cell) > REFERENCE_LENGTH
            else int(cell)
            if cell.isascii() and cell.isdigit()
            else None
        )
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
    cells = [(row.get(letter) or "").strip() for letter in LETTERS]
    options = tuple(cell for cell in cells if cell)
    # Letters are positions: a gap would shift them.
    if len(options) < 2 or any(cells[len(options) :]):
        raise InputError(f"{where}: needs options A, B and so on without a gap")
    answer = row["answer"].strip()
    if answer not in tuple(LETTERS[: len(options)]):
        raise InputError(f"{where}: answer {answer[:40]!r} is not the letter of an option")
    if not row["question"].strip():
        raise InputError(f"{where}: has no question")
    return Question(
        question_id=str(index),
        group=str(index % ROTATION),
        text=row["question"],
        hint=(row.get("hint") or "").strip(),
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
