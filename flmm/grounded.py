"""What was grounded, for people and programs: an overlay, a picture of each mask, and JSON with COCO run lengths."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from flmm.colours import painted
from flmm.data.sample import encode_rle
from flmm.files import atomic_path, write_json
from flmm.phrases import Span
from flmm.predictor import Grounded


def facts(found: Grounded, spans: Sequence[Span] = ()) -> list[dict[str, Any]]:
    """Per phrase its text, score, box (x0, y0, x1, y1, the last two exclusive), pixels and mask (COCO run lengths).

    ``spans``: where the phrases are in an answer, first character and one past the last; told where they are given.
    """
    told = []
    for number, (phrase, mask) in enumerate(zip(found.phrases, found.masks, strict=True)):
        each: dict[str, Any] = {
            "phrase": phrase,
            "score": round(float(found.scores[number]), 4),
            "box": found.boxes[number].tolist(),
            "pixels": int(mask.sum()),
            "segmentation": {"size": list(mask.shape), "counts": encode_rle(mask)},
        }
        told.append(each | ({"span": list(spans[number])} if spans else {}))
    return told


def overlay(picture: Image.Image, found: Grounded) -> Image.Image:
    """The picture with each mask in its phrase's colour."""
    return painted(picture, found.masks)


def save(picture: Image.Image, found: Grounded, content: Any, folder: Path, stem: str) -> Path:
    """Write ``<stem>-overlay.png``, ``<stem>-mask-1.png`` … and ``<stem>.json``; returns the overlay's path.

    Raises:
        StepError: a file cannot be written.
    """
    for number, mask in enumerate(found.masks, start=1):
        _write(Image.fromarray(mask.astype(np.uint8) * 255), folder / f"{stem}-mask-{number}.png")
    write_json(folder / f"{stem}.json", content)
    path = folder / f"{stem}-overlay.png"
    _write(overlay(picture, found), path)
    return path


def _write(picture: Image.Image, path: Path) -> None:
    with atomic_path(path) as temporary:
        picture.save(temporary, "PNG")
