"""A conversation as a zip: what ``flmm chat --save`` writes of each turn, and the picture."""

import base64
import io
import tempfile
import zipfile
from pathlib import Path

from flmm.app.sessions import Session
from flmm.errors import InputError
from flmm.grounded import facts, save


def archive(session: Session) -> bytes:
    """The zip's bytes.

    Raises:
        InputError: nothing has been answered yet.
    """
    if session.picture is None or not session.turns:
        raise InputError("There is nothing to export yet; ask something first.")
    stream = io.BytesIO()
    with tempfile.TemporaryDirectory() as name, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        folder = Path(name)
        session.picture.save(folder / "picture.png")
        for number, turn in enumerate(session.turns, start=1):
            found = turn.answered.grounded
            told = {
                "question": turn.question,
                "answer": turn.answered.text,
                "phrases": facts(found, turn.answered.spans),
            }
            save(session.picture, found, told, folder, f"turn-{number}")
        for file in sorted(folder.iterdir()):
            packed.write(file, file.name)
    return stream.getvalue()


def in_text(content: bytes) -> str:
    """Bytes as base64: the browser makes the file."""
    return base64.b64encode(content).decode()
