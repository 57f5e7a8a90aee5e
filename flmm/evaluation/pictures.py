"""Which picture each question is about: its file, or, where a benchmark ships pictures as bytes, their hash."""

import hashlib
from pathlib import Path

from flmm.files import read_table


def picture(archive: str, image: str, content: bytes) -> str:
    """A name of a picture, equal for equal pictures."""
    return f"{archive}/{image}" if image else hashlib.sha256(content).hexdigest()


def pictures(path: Path) -> dict[str, str]:
    """By question the name of its picture, of a questions file of `prepare`.

    Raises:
        InputError: the file is absent or unreadable.
    """
    table = read_table(path, columns=["question_id", "archive", "image", "image_bytes"])
    rows = zip(*(table[name].to_pylist() for name in table.column_names), strict=True)
    return {question: picture(archive, image, content) for question, archive, image, content in rows}
