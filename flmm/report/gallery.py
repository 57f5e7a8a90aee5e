"""The gallery: what `overlays` drew, embedded into the page: phrases, as many worst as median and best ones, and whole
conversations.
"""

import base64
import io
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TypeVar

from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from flmm.errors import InputError
from flmm.files import read_json
from flmm.heads.names import COARSE, REFINED
from flmm.params import Params
from flmm.pipeline import paths
from flmm.report import labels

Entry = TypeVar("Entry")
PHRASES, CONVERSATIONS = "overlays.json", "conversations.json"

KINDS = {"worst": "worst", "median": "median", "best": "best"}
_WIDEST = 1120  # pixels; a picture is never shown wider
_QUALITY = 86


class Overlay(BaseModel):
    """One entry of ``overlays.json`` (``flmm.evaluation.overlays``); ``ious``: fractions per head.

    ``rank``: of all ``of`` phrases by refined IoU; 1 is the worst.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    file: str
    kind: str
    rank: int
    of: int
    phrase: str
    sample: str
    dataset: str
    split: str
    protocol: str
    ious: dict[str, float]

    @property
    def coarse(self) -> float:
        """IoU of the coarse mask, 0-1."""
        return self.ious[COARSE]

    @property
    def refined(self) -> float:
        """IoU of the refined mask, 0-1."""
        return self.ious[REFINED]


@dataclass(frozen=True)
class Picture:
    """One embedded picture; ``source`` is a data URI, ``width`` and ``height`` are pixels."""

    source: str
    width: int
    height: int
    alt: str
    overlay: Overlay
    backbone: str
    benchmark: str


class Conversation(BaseModel):
    """One entry of ``conversations.json`` (``flmm.evaluation.conversations``); ``score``: mean refined IoU, 0-1."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    file: str
    rank: int
    of: int
    text: str
    answer: str
    sample: str
    dataset: str
    split: str
    score: float


@dataclass(frozen=True)
class Exchange:
    """One embedded picture of a conversation, as ``Picture``."""

    source: str
    width: int
    height: int
    alt: str
    conversation: Conversation
    backbone: str


_OVERLAYS = TypeAdapter(list[Overlay])
_CONVERSATIONS = TypeAdapter(list[Conversation])


def gallery(params: Params) -> list[Picture]:
    """At most ``report.gallery`` pictures, shared evenly by backbones, benchmarks, and worst, median and best ones."""
    groups: list[list[tuple[str, str, Path, Overlay]]] = []
    for number, backbone in enumerate(params.backbones):
        for place, benchmark in enumerate(params.evaluate.benchmarks):
            folder = paths.overlays(params, backbone, benchmark)
            if (folder / PHRASES).exists():
                # Each begins with another kind, so that few pictures show all three kinds of a benchmark, too.
                shown = _turns(_read(folder / PHRASES, _OVERLAYS), number + place)
                groups.append([(backbone, benchmark, folder, overlay) for overlay in shown])
    # Typed by hand: zip_longest of unpacked lists is one of anything.
    turns: list[tuple[str, str, Path, Overlay]] = [
        entry for turn in zip_longest(*groups) for entry in turn if entry is not None
    ]
    chosen = turns[: params.report.gallery]
    order = tuple(KINDS)
    chosen.sort(
        key=lambda e: (
            params.backbones.index(e[0]), params.evaluate.benchmarks.index(e[1]),
            labels.rank(order, e[3].kind), e[3].rank, e[3].sample, e[3].phrase,
        )
    )  # fmt: skip
    return [_picture(*entry) for entry in chosen]


def conversations(params: Params) -> list[Exchange]:
    """The conversations of every backbone and benchmark that has some, from the worst to the best of each."""
    found = []
    for backbone in params.backbones:
        for benchmark in params.evaluate.benchmarks:
            folder = paths.overlays(params, backbone, benchmark)
            if (folder / CONVERSATIONS).exists():
                found += [
                    _exchange(backbone, folder, each)
                    for each in _read(folder / CONVERSATIONS, _CONVERSATIONS)
                ]
    return found


def _exchange(backbone: str, folder: Path, conversation: Conversation) -> Exchange:
    alt = (
        f"A conversation, and the masks of its phrases. The user: “{conversation.text}”. "
        f"The model: “{conversation.answer}”."
    )
    return Exchange(*embed(_inside(folder, CONVERSATIONS, conversation.file)), alt, conversation, backbone)


def _read(path: Path, kind: TypeAdapter[list[Entry]]) -> list[Entry]:
    try:
        return kind.validate_python(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: {where}: {first['msg']}; run overlays again") from error


def _turns(overlays: list[Overlay], first: int) -> list[Overlay]:
    """Overlays in the order worst, median, best, worst, … from the ``first``-th kind on."""
    kinds = sorted({overlay.kind for overlay in overlays}, key=lambda kind: labels.rank(tuple(KINDS), kind))
    piles = [[overlay for overlay in overlays if overlay.kind == kind] for kind in kinds]
    first = first % max(1, len(piles))
    piles = piles[first:] + piles[:first]
    return [overlay for turn in zip_longest(*piles) for overlay in turn if overlay is not None]


def _picture(backbone: str, benchmark: str, folder: Path, overlay: Overlay) -> Picture:
    source, width, height = embed(_inside(folder, PHRASES, overlay.file))
    alt = (
        f"Image, ground truth, coarse mask and refined mask for “{overlay.phrase}”: "
        f"IoU {100 * overlay.coarse:.1f} coarse, {100 * overlay.refined:.1f} refined, "
        f"rank {overlay.rank} of {overlay.of} from the worst."
    )
    return Picture(source, width, height, alt, overlay, backbone, benchmark)


def _inside(folder: Path, listed: str, file: str) -> Path:
    path = folder / file
    if path.resolve().parent != folder.resolve():
        raise InputError(f"{folder / listed}: {file!r} lies outside its folder")
    return path


def embed(path: Path) -> tuple[str, int, int]:
    """A picture as a small JPEG data URI with its width and height in pixels.

    Raises:
        InputError: the file is absent or no picture.
    """
    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except (FileNotFoundError, UnidentifiedImageError, OSError) as error:
        raise InputError(f"{path}: not a readable picture ({error}); run overlays again") from error
    if picture.width > _WIDEST:
        picture = picture.resize((_WIDEST, round(picture.height * _WIDEST / picture.width)))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/jpeg;base64,{encoded}", picture.width, picture.height
