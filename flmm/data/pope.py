"""POPE: yes/no questions about objects, JSON lines (github.com/AoiDragon/POPE ``output/coco``)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from flmm.data.archives import read_file
from flmm.data.images import archive_of
from flmm.data.question import Question
from flmm.data.readers import Files
from flmm.data.upstream import Id, parse_json
from flmm.errors import InputError
from flmm.params import Dataset


@dataclass(frozen=True, slots=True)
class _Line:
    question_id: Id
    image: str
    text: str
    label: Literal["yes", "no"]


_LINE = TypeAdapter(_Line)


def read_pope(raw: Path, file: str) -> list[Question]:
    """The questions of ``<raw>/<file>`` (or ``<raw>/pope/<file>``), in the file's order.

    Raises:
        InputError: the file is absent or empty, or a line is malformed or repeats an id (names the line).
    """
    path, data = read_file(raw, file, f"pope/{file}")
    questions: dict[str, Question] = {}
    for number, line in enumerate(data.splitlines(), start=1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        record = parse_json(_LINE, line, where)
        name = str(record.question_id)
        if name in questions or not record.text.strip():
            raise InputError(f"{where}: question {name} occurs twice or has no text")
        questions[name] = Question(
            question_id=name,
            group=name,
            text=record.text,
            hint="",
            options=(),
            answer=record.label,
            category="",
            archive=archive_of(record.image, where),
            image=record.image,
            image_bytes=b"",
        )
    if not questions:
        raise InputError(f"{path}: holds no question")
    return list(questions.values())


def files(name: str, dataset: Dataset, split: str) -> Files:
    """The questions of one kind of negatives; all photographs are of COCO's val2014."""
    return Files((f"coco_pope_{split}.json",), ("val2014.zip",))


def read(raw: Path, name: str, split: str) -> list[Question]:
    """The questions of a split (``random``, ``popular`` or ``adversarial``)."""
    return read_pope(raw, f"coco_pope_{split}.json")
