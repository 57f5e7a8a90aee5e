"""A conversation as a zip: what ``flmm chat --save`` writes."""

import base64
import io
import tempfile
import zipfile
from pathlib import Path

from flmm.app.sessions import Session
from flmm.errors import InputError


def archive(session: Session) -> str:
    """The zip as base64, because the browser makes the file.

    Raises:
        InputError: nothing has been answered yet.
    """
    if session.picture is None or not session.turns:
        raise InputError("There is nothing to export yet; ask something first.")
    stream = io.BytesIO()
    with (
        tempfile.TemporaryDirectory() as folder,
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        _write(session, Path(folder))
        for file in sorted(Path(folder).rglob("*")):
            if file.is_file():
                packed.write(file, file.relative_to(folder))
    return base64.b64encode(stream.getvalue()).decode()


def _write(session, folder):
    (folder / "a.txt").write_text("stub")
