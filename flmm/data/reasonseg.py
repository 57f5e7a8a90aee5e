"""ReasonSeg: a question per photograph whose answer is a region, as labelme polygons beside the JPEG.

Upstream: ``utils/data_processing.py`` and ``utils/dataset.py`` (``ValDataset``) of dvlab-research/LISA. Every
split is an archive of ``<name>.jpg`` + ``<name>.json`` pairs, in any folder; only the first text is evaluated.
Photographs may also end in ``.jpeg`` or ``.png``, in any case, and are seen upright, as OpenCV reads them.
"""

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

import numpy as np
from PIL import Image, ImageDraw
from pydantic import Field, TypeAdapter

from flmm.data.archives import Tree, open_tree
from flmm.data.images import decode_image, shown_upright
from flmm.data.readers import (
    NO_ANNOTATION,
    NO_PHOTOGRAPH,
    NO_POINTS,
    NO_QUESTION,
    NOT_A_REGION,
    Files,
    GroundingReader,
)
from flmm.data.sample import Sample, Target, encode_rle
from flmm.data.upstream import parse_json
from flmm.errors import InputError
from flmm.params import Dataset

_Coordinate = Annotated[float, Field(allow_inf_nan=False)]
_ENDINGS = (".jpg", ".jpeg", ".png")
_NOTHING, _TARGET, _IGNORED = 0, 1, 2


@dataclass(frozen=True, slots=True)
class _Shape:
    label: str
    points: list[tuple[_Coordinate, _Coordinate]]


@dataclass(frozen=True, slots=True)
class _Annotation:
    text: list[str]
    is_sentence: bool
    shapes: list[_Shape]


_ANNOTATION = TypeAdapter(_Annotation)


class ReasonSeg(GroundingReader):
    """``<raw>/<archive>_<split>.zip`` or the folder of that name; ``archive`` is ``ReasonSeg``."""

    on_coco = False

    def __init__(self, raw: Path, name: str) -> None:
        """``name`` is the dataset's name in params.yaml; ``raw`` holds the upstream files."""
        self.raw = raw
        self.name = name

    def image_ids(self, split: str) -> list[int]:
        return list(range(len(_pairs(open_tree(self.raw, _archive(split)), Counter()))))

    def samples(self, split: str, exclude: Set[int], skipped: Counter[str]) -> Iterator[Sample]:
        tree = open_tree(self.raw, _archive(split))
        for number, (member, picture) in enumerate(_pairs(tree, skipped)):
            where = f"{tree.where}: {member}"
            annotation = parse_json(_ANNOTATION, _utf8(tree.read(member)), where)
            texts = tuple(annotation.text)
            if not texts or not texts[0].strip():
                skipped[NO_QUESTION] += 1
                continue
            data, place = tree.read(picture), f"{tree.where}: {picture}"
            width, height = decode_image(data, place, upright=shown_upright(_archive(split))).size
            yield Sample(
                sample_id=f"{self.name}-{split}-{number:06d}",
                dataset=self.name,
                split=split,
                image_id=number,
                archive=_archive(split),
                image=picture,
                height=height,
                width=width,
                targets=(_target(annotation, height, width, where, skipped),),
                narrative=(),
                question=question(texts[0], annotation.is_sentence),
            )


def question(text: str, is_sentence: bool) -> str:
    """What is asked: a long query is a sentence already, a short one is a phrase (LISA's wording)."""
    return text.strip() if is_sentence else f"What is {text.strip()} in this image?"


def paint(shapes: Sequence[_Shape], height: int, width: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Target and ignored pixels, each (height, width) bool and disjoint.

    As upstream: corners are cut to whole pixels, the outline belongs to the polygon, and larger polygons are painted
    first, so that a smaller one lies on top whatever its label.

    Raises:
        InputError: a corner lies far outside the photograph (names ``where``).
    """
    painted = [(shape, _polygon(shape, height, width, where)) for shape in shapes]
    canvas = np.full((height, width), _NOTHING, dtype=np.uint8)
    # Upstream reverses an ascending sort: of equal areas the later polygon is painted first.
    for shape, mask in sorted(painted, key=lambda one: int(one[1].sum()))[::-1]:
        canvas[mask] = _IGNORED if "ignore" in shape.label.lower() else _TARGET
    return canvas == _TARGET, canvas == _IGNORED


def _polygon(shape: _Shape, height: int, width: int, where: str) -> np.ndarray:
    limits = np.array([width, height])
    points = np.array(shape.points)
    if (points < -limits).any() or (points > 2 * limits).any():
        raise InputError(f"{where}: a corner of a shape {shape.label!r} lies far outside the photograph")
    canvas = Image.new("1", (width, height))
    corners = [(int(x), int(y)) for x, y in shape.points]
    pen = ImageDraw.Draw(canvas)
    if len(corners) > 2:
        pen.polygon(corners, fill=1)
    pen.line(
        [*corners, corners[0]], fill=1
    )  # of its own: Pillow's polygon draws no outline in the filling's colour
    return np.asarray(canvas)


def _target(annotation: _Annotation, height: int, width: int, where: str, skipped: Counter[str]) -> Target:
    """The one target, possibly without pixels: then nothing is to be found (upstream gives IoU 1 for nothing)."""
    regions = [shape for shape in annotation.shapes if shape.label.lower() != "flag"]  # upstream drops these
    shapes = [shape for shape in regions if shape.points]
    skipped[NOT_A_REGION] += len(annotation.shapes) - len(regions)
    skipped[NO_POINTS] += len(regions) - len(shapes)
    target, ignored = paint(shapes, height, width, where)
    return Target(
        target_id="0",
        sentences=tuple(annotation.text),
        rle=encode_rle(target),
        category="long query" if annotation.is_sentence else "short query",
        is_thing=True,
        is_plural=False,
        ignore=encode_rle(ignored) if ignored.any() else "",
    )


def _archive(split: str) -> str:
    return f"ReasonSeg_{split}"


def _pairs(tree: Tree, skipped: Counter[str]) -> list[tuple[str, str]]:
    """Annotations with the photograph beside them, by the annotation's name; what has no partner is counted.

    Raises:
        InputError: there is no pair.
    """
    photographs: dict[str, list[str]] = {}
    annotations = {}
    for name in tree.names(""):
        path = PurePosixPath(name)
        stem = str(path.with_suffix(""))
        if path.suffix.lower() == ".json":
            annotations[stem] = name
        elif path.suffix.lower() in _ENDINGS:
            photographs.setdefault(stem, []).append(name)
    # Of several photographs of one name the first ending counts, which is upstream's.
    found = {stem: min(names, key=_place) for stem, names in photographs.items() if stem in annotations}
    skipped[NO_PHOTOGRAPH] += len(annotations) - len(found)
    skipped[NO_ANNOTATION] += sum(map(len, photographs.values())) - len(found)
    if not found:
        raise InputError(f"{tree.where}: holds no pair of a .json and a .jpg, .jpeg or .png of the same name")
    return sorted((annotations[stem], picture) for stem, picture in found.items())


def _place(name: str) -> tuple[int, str]:
    return _ENDINGS.index(PurePosixPath(name).suffix.lower()), name


def _utf8(data: bytes) -> bytes:
    """Upstream wrote some files with Windows' code page 1252."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace").encode("utf-8")
    return data


def files(name: str, dataset: Dataset, split: str) -> Files:
    """One archive holds the questions, the polygons and the photographs."""
    archive = f"{_archive(split)}.zip"
    return Files((archive,), (archive,))


def open_reader(raw: Path, name: str, dataset: Dataset) -> ReasonSeg:
    """A reader of ``<raw>``; files are opened when a split is asked for."""
    return ReasonSeg(raw, name)
