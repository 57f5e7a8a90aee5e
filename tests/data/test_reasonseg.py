"""ReasonSeg: LISA's polygons become its masks, short queries its question, and damaged files a clear error."""

import copy
import io
import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from flmm.data.images import ImageStore
from flmm.data.reasonseg import ReasonSeg, _Shape, paint, question
from flmm.data.sample import Sample
from flmm.errors import InputError
from tests.data.test_mutations import mutate

HEIGHT, WIDTH = 30, 40
SQUARE = [[5, 5], [24, 5], [24, 24], [5, 24]]
INNER = [[10, 10], [14, 10], [14, 14], [10, 14]]


def jpeg() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (WIDTH, HEIGHT), (90, 120, 60)).save(stream, "JPEG")
    return stream.getvalue()


def annotation(**changes: Any) -> dict[str, Any]:
    shapes = [
        {"label": "ignore", "labels": ["ignore"], "shape_type": "polygon", "points": INNER},
        {"label": "target", "labels": ["target"], "shape_type": "polygon", "points": SQUARE},
        {"label": "flag", "labels": ["flag"], "shape_type": "polygon", "points": INNER},
    ]
    return copy.deepcopy(
        {"text": ["What is warm?", "Which is hot?"], "is_sentence": True, "shapes": shapes, **changes}
    )


def write(raw: Path, annotations: list[Any], folder: str = "val") -> Path:
    with zipfile.ZipFile(raw / "ReasonSeg_val.zip", "w") as archive:
        for number, each in enumerate(annotations):
            data = each if isinstance(each, bytes) else json.dumps(each).encode()
            archive.writestr(f"{folder}/{number}.json", data)
            archive.writestr(f"{folder}/{number}.jpg", jpeg())
        archive.writestr("explanatory/train.json", "[]")  # no photograph beside it
    return raw


def read(raw: Path) -> tuple[list[Sample], Counter[str]]:
    skipped: Counter[str] = Counter()
    return list(ReasonSeg(raw, "reasonseg").samples("val", set(), skipped)), skipped


def test_the_smaller_polygon_lies_on_top_and_flags_are_counted(tmp_path: Path) -> None:
    (sample,), skipped = read(write(tmp_path, [annotation()]))
    target = sample.targets[0]
    mask, ignored = target.mask(HEIGHT, WIDTH), target.ignored(HEIGHT, WIDTH)
    assert mask.sum() == 20 * 20 - 5 * 5 and ignored.sum() == 5 * 5  # the outline belongs to a polygon
    assert not (mask & ignored).any()
    assert (sample.question, target.category) == ("What is warm?", "long query")
    assert (sample.archive, sample.image) == ("ReasonSeg_val", "val/0.jpg")
    assert skipped["shape: a label that marks no region"] == 1


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["target", "ignore", "Ignore this"]),
            st.tuples(st.integers(0, 30), st.integers(0, 20), st.integers(1, 9), st.integers(1, 9)),
        ),
        max_size=5,
    )
)
def test_painting_boxes_is_what_a_plain_loop_paints(
    boxes: list[tuple[str, tuple[int, int, int, int]]],
) -> None:
    shapes = [
        _Shape(label, [(x, y), (x + w, y), (x + w, y + h), (x, y + h)]) for label, (x, y, w, h) in boxes
    ]
    canvas = np.zeros((HEIGHT, WIDTH), dtype=int)
    for label, (x, y, w, h) in sorted(boxes, key=lambda box: (box[1][2] + 1) * (box[1][3] + 1))[::-1]:
        canvas[y : y + h + 1, x : x + w + 1] = 255 if "ignore" in label.lower() else 1
    target, ignored = paint(shapes, HEIGHT, WIDTH, "here")
    assert (target == (canvas == 1)).all() and (ignored == (canvas == 255)).all()


def test_the_outline_belongs_to_a_polygon() -> None:
    """OpenCV draws it of its own; a polygon of two corners is a line, of one a pixel."""
    line, _ = paint([_Shape("target", [(5, 5), (20, 12)])], HEIGHT, WIDTH, "here")
    assert line.sum() == 16 and line[5, 5] and line[12, 20]
    dot, _ = paint([_Shape("target", [(3, 4)])], HEIGHT, WIDTH, "here")
    assert dot.sum() == 1 and dot[4, 3]


def test_a_short_query_is_asked_as_lisa_asks_it() -> None:
    assert question("the warm thing ", is_sentence=False) == "What is the warm thing in this image?"
    assert question("What is warm?", is_sentence=True) == "What is warm?"


def test_windows_text_a_folder_and_an_empty_target(tmp_path: Path) -> None:
    raw = json.dumps(annotation(text=["What is caf\u00e9?"], shapes=[]), ensure_ascii=False).encode("cp1252")
    (sample,), _ = read(write(tmp_path, [raw]))
    assert sample.question == "What is caf\u00e9?"
    assert not sample.targets[0].mask(HEIGHT, WIDTH).any()
    with zipfile.ZipFile(tmp_path / "ReasonSeg_val.zip") as archive:
        archive.extractall(tmp_path / "ReasonSeg_val")
    (tmp_path / "ReasonSeg_val.zip").unlink()
    assert read(tmp_path)[0] == [sample]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([b"{"], "0.json: "),
        ([annotation(shapes=[{"label": "target", "points": [[900, 1]]}])], "far outside"),
        ([annotation(shapes=[{"label": "target"}])], "points"),
        ([], "holds no pair"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, content: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(write(tmp_path, content))


def test_an_annotation_without_a_question_is_counted(tmp_path: Path) -> None:
    samples, skipped = read(write(tmp_path, [annotation(text=[" "]), annotation()]))
    assert len(samples) == 1 and skipped["sample: no question"] == 1


def shown(orientation: int) -> tuple[bytes, np.ndarray]:
    """A photograph with a red corner, stored so that EXIF's orientation shows it 40 wide and 30 high."""
    upright = np.full((HEIGHT, WIDTH, 3), (60, 120, 60), dtype=np.uint8)
    upright[18:, :16] = (230, 20, 20)
    back: dict[int, Any] = {
        1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1), 6: lambda a: a.swapaxes(0, 1)[::-1],
        7: lambda a: a.swapaxes(0, 1)[::-1, ::-1], 8: lambda a: a.swapaxes(0, 1)[:, ::-1],
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(back[orientation](upright))).save(
        stream, "JPEG", quality=95, exif=exif
    )
    return stream.getvalue(), upright[..., 0] > 128


@pytest.mark.parametrize("orientation", range(1, 9))
def test_polygons_lie_on_the_upright_photograph(tmp_path: Path, orientation: int) -> None:
    photograph, red = shown(orientation)
    corner = [[0, 18], [15, 18], [15, 29], [0, 29]]
    with zipfile.ZipFile(tmp_path / "ReasonSeg_val.zip", "w") as archive:
        archive.writestr("val/a.jpg", photograph)
        archive.writestr("val/a.json", json.dumps(annotation(shapes=[{"label": "target", "points": corner}])))
    (sample,), _ = read(tmp_path)
    assert (sample.height, sample.width) == (HEIGHT, WIDTH)
    assert np.array_equal(sample.targets[0].mask(HEIGHT, WIDTH), red)
    seen = np.asarray(ImageStore(tmp_path).of(sample)).astype(int)
    assert ((seen[..., 0] > 128) == red).mean() > 0.99


ENDINGS = st.lists(
    st.sampled_from(["jpg", "JPG", "jpeg", "Jpeg", "png", "PNG", "json", "JSON", "txt", "gif"]),
    max_size=3,
    unique=True,
)


@settings(max_examples=60, deadline=None)
@given(
    files=st.dictionaries(st.sampled_from(["a", "b.c", "d e", "f"]), ENDINGS, min_size=1),
    packed=st.booleans(),
)
def test_files_are_paired_or_counted(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, list[str]], packed: bool
) -> None:
    raw = tmp_path_factory.mktemp("raw")
    pairs = photographs = annotations = 0
    members: dict[str, bytes] = {"val/__MACOSX/._a.json": b"x", "val/._a.jpg": b"x"}
    for stem, endings in files.items():
        pictures = [ending for ending in endings if ending.lower() in ("jpg", "jpeg", "png")]
        texts = [ending for ending in endings if ending.lower() == "json"][:1]
        for ending in (*pictures, *texts, *(one for one in endings if one in ("txt", "gif"))):
            data = json.dumps(annotation()).encode() if ending in texts else jpeg()
            members[f"val/{stem}.{ending}"] = data
        pairs += bool(pictures and texts)
        photographs += len(pictures) - bool(pictures and texts)
        annotations += len(texts) - bool(pictures and texts)
    if packed:
        with zipfile.ZipFile(raw / "ReasonSeg_val.zip", "w") as archive:
            for name, data in members.items():
                archive.writestr(name, data)
    else:
        for name, data in members.items():
            (raw / "ReasonSeg_val" / name).parent.mkdir(parents=True, exist_ok=True)
            (raw / "ReasonSeg_val" / name).write_bytes(data)
    if not pairs:
        with pytest.raises(InputError, match="holds no pair"):
            read(raw)
        return
    samples, skipped = read(raw)
    assert len(samples) == pairs == len(ReasonSeg(raw, "reasonseg").image_ids("val"))
    assert skipped["file: a photograph without an annotation of its name"] == photographs
    assert skipped["file: an annotation without a photograph of its name"] == annotations
    assert all(ImageStore(raw).of(sample).size == (WIDTH, HEIGHT) for sample in samples)


def test_shapes_beside_the_photograph_are_no_empty_truth(tmp_path: Path) -> None:
    beside = [[WIDTH + 3, 5], [WIDTH + 20, 5], [WIDTH + 20, 20]]
    covered = [{"label": "target", "points": INNER}, {"label": "ignore", "points": INNER}]
    samples, skipped = read(
        write(
            tmp_path,
            [
                annotation(shapes=[{"label": "target", "points": beside}]),
                annotation(shapes=[{"label": "ignore", "points": beside}]),
                annotation(shapes=[]),
                annotation(shapes=covered),
            ],
        )
    )
    assert len(samples) == 3 and skipped["sample: its shapes lie beside the photograph"] == 1


def test_a_shape_without_corners_is_counted(tmp_path: Path) -> None:
    empty = annotation(shapes=[{"label": "target", "points": SQUARE}, {"label": "target", "points": []}])
    (sample,), skipped = read(write(tmp_path, [empty]))
    assert sample.targets[0].mask(HEIGHT, WIDTH).sum() == 400
    assert skipped["shape: no corners"] == 1


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_mutated_file_is_an_error_or_a_sample(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    changed = mutate(data.draw, annotation(), rows=False)
    try:
        samples, skipped = read(write(tmp_path_factory.mktemp("raw"), [changed]))
    except InputError:
        return
    assert (
        len(samples) + sum(number for reason, number in skipped.items() if reason.startswith("sample:")) == 1
    )
