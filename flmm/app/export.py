"""A conversation as a zip: the picture with all masks, each mask, and JSON with spans and COCO run lengths."""

import base64
import io
import json
import zipfile
from typing import Any

import numpy as np
from PIL import Image

from flmm.app.sessions import Session
from flmm.app.shown import Phrase
from flmm.data.sample import encode_rle
from flmm.errors import InputError


def archive(session: Session) -> bytes:
    """The zip's bytes.

    Raises:
        InputError: nothing has been answered yet.
    """
    if session.picture is None or not session.turns:
        raise InputError("There is nothing to export yet; ask something first.")
    stream, turns = io.BytesIO(), []
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("picture.png", _png(session.picture))
        for number, turn in enumerate(session.turns, start=1):
            packed.writestr(f"turn-{number}-overlay.png", _png(_overlay(session.picture, turn.phrases)))
            phrases = []
            for index, phrase in enumerate(turn.phrases, start=1):
                name = f"turn-{number}-mask-{index}.png"
                packed.writestr(name, _png(Image.fromarray(phrase.mask.astype(np.uint8) * 255)))
                phrases.append(_facts(phrase, name))
            turns.append({"question": turn.question, "answer": turn.text, "phrases": phrases})
        facts = {"model": session.model, "picture": "picture.png", "turns": turns}
        packed.writestr("conversation.json", json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    return stream.getvalue()


def in_text(content: bytes) -> str:
    """Bytes as base64: the browser makes the file, so that none is written here."""
    return base64.b64encode(content).decode()


def _facts(phrase: Phrase, name: str) -> dict[str, Any]:
    height, width = phrase.mask.shape
    return {
        "text": phrase.text,
        "span": [phrase.start, phrase.end],
        "score": round(phrase.score, 4),
        "mask": name,
        "segmentation": {"size": [height, width], "counts": encode_rle(phrase.mask)},
    }


def _overlay(picture: Image.Image, phrases: tuple[Phrase, ...]) -> Image.Image:
    shown = np.asarray(picture, np.float32).copy()
    for phrase in phrases:
        shown[phrase.mask] = 0.55 * shown[phrase.mask] + 0.45 * np.array(phrase.colour, np.float32)
    return Image.fromarray(shown.astype(np.uint8))


def _png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()
