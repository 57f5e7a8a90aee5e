"""The question: one row of a QA benchmark (POPE, MMBench), answered by the frozen LMM in words."""

from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa

from flmm.files import read_table, write_table


@dataclass(frozen=True)
class Question:
    """One question about one image.

    Either ``archive`` and ``image`` name a picture (POPE) or ``image_bytes`` holds it (MMBench). ``group``
    joins the rotations of one MMBench question (the upstream index modulo 1,000,000); POPE uses the question's own id.
    ``text`` is the upstream question without prompt wording; ``options`` is empty for yes/no questions;
    the first is A's, and an empty one is a letter that the question leaves out.
    ``answer`` is ``yes``/``no`` (POPE) or the option's letter (MMBench).
    """

    question_id: str
    group: str
    text: str
    hint: str
    options: tuple[str, ...]
    answer: str
    category: str
    archive: str
    image: str
    image_bytes: bytes


QUESTION_SCHEMA = pa.schema(
    [
        ("question_id", pa.string()),
        ("group", pa.string()),
        ("text", pa.string()),
        ("hint", pa.string()),
        ("options", pa.list_(pa.string())),
        ("answer", pa.string()),
        ("category", pa.string()),
        ("archive", pa.string()),
        ("image", pa.string()),
        ("image_bytes", pa.binary()),
    ]
)


def write_questions(path: Path, questions: list[Question]) -> None:
    """Write questions as one Parquet file with ``QUESTION_SCHEMA``."""
    write_table(
        path, pa.Table.from_pylist([asdict(question) for question in questions], schema=QUESTION_SCHEMA)
    )


def read_questions(path: Path) -> list[Question]:
    """Read what ``write_questions`` wrote.

    Raises:
        InputError: the file is absent or unreadable.
    """
    return [Question(**{**row, "options": tuple(row["options"])}) for row in read_table(path).to_pylist()]
