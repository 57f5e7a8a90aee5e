"""Faulty upstream files: an InputError that names file and id, nothing half-written, a rerun repairs it."""

from pathlib import Path
from typing import Any

import pytest

from flmm.errors import InputError
from tests.data.coco_files import (
    prepare_all,
    small_params,
    upstream,
    write_folder,
)


def edit(name: str, *path: Any, value: Any = None, drop: bool = False) -> dict[str, Any]:
    """The files with one place of one of them changed."""
    files = upstream()
    place = files[name]
    for step in path[:-1]:
        place = place[step]
    if drop:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return files


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            edit("png_coco_val2017.json", 0, "segments", 3, "segment_ids", value=["4"]),
            r"png_coco_val2017\.json: narrative 0: segment 4 is not one of image 3",
        ),
        (
            edit("png_coco_val2017.json", 0, "segments", 3, "segment_ids", drop=True),
            r"png_coco_val2017\.json: 0\.segments\.3\.segment_ids: Field required",
        ),
        (edit("png_coco_val2017.json", 0, "image_id", value=8), r"panoptic_val2017\.json: has no .*image 8"),
        (
            edit("annotations/panoptic_val2017.json", "images", 0, "id", value=77),
            r"panoptic_val2017\.json: has no image 3",
        ),
        (
            edit(
                "annotations/panoptic_val2017.json",
                "annotations",
                0,
                "segments_info",
                0,
                "category_id",
                value=5,
            ),
            r"panoptic_val2017\.json: has no category 5",
        ),
        (
            edit("annotations/panoptic_val2017.json", "annotations", 0, "file_name", value="../../x.png"),
            r"unsafe file name|has no member",
        ),
        (
            edit("annotations/panoptic_val2017.json", "images", 0, "height", value=13),
            r"mask of 12x16 pixels for an image of 13x16",
        ),
        (edit("refcoco/refs(unc).p", 2, "ann_id", value=99), r"instances\.json: has no annotation 99"),
        (
            edit("refcoco/refs(unc).p", 2, "image_id", value=3),
            r"ref 2 is about image 3, but its annotation 21",
        ),
        (edit("refcoco/refs(unc).p", 2, "ref_id", value=1), r"refs\(unc\)\.p: ref 1 occurs twice"),
        (
            edit("refcoco/refs(unc).p", 2, "sentences", 0, "raw", drop=True),
            r"refs\(unc\)\.p: 2\.sentences\.0\.raw",
        ),
        (
            edit(
                "refcoco/instances.json",
                "annotations",
                4,
                "segmentation",
                value={"counts": [1], "size": [1, 1]},
            ),
            r"instances\.json: annotation 21: mask of 1x1 pixels for an image of 12x16",
        ),
        (
            edit("refcoco/instances.json", "images", 1, "file_name", value="cat.jpg"),
            r"'cat\.jpg' is not a COCO",
        ),
        (edit("refcoco/instances.json", "images", value=[]), r"instances\.json: has no image"),
        (edit("coco_pope_random.json", 1, "label", value="maybe"), r"coco_pope_random\.json: line 2: label"),
        (edit("coco_pope_random.json", 1, "question_id", value=1), r"line 2: question 1 occurs twice"),
        (edit("coco_pope_random.json", 1, "image", value="x"), r"line 2: 'x' is not a COCO file name"),
        (edit("MMBench_DEV_EN.tsv", 1, "image", value="8"), r"index 1000007: its image cell '8'"),
        (edit("MMBench_DEV_EN.tsv", 0, "image", value="?" * 80), r"index 7: its image is not base64"),
        (
            edit("MMBench_DEV_EN.tsv", 0, "image", value="aGVs" * 30),
            r"index 7: its image: not a readable picture",
        ),
        (edit("MMBench_DEV_EN.tsv", 1, "answer", value="C"), r"index 1000007: answer 'C'"),
        (edit("MMBench_DEV_EN.tsv", 1, "A", value=""), r"index 1000007: needs options"),
        (edit("MMBench_DEV_EN.tsv", 1, "index", value="7"), r"index '7' is no number or occurs twice"),
    ],
)
def test_a_fault_is_an_input_error_that_names_file_and_id(
    tmp_path: Path, files: dict[str, Any], message: str
) -> None:
    raw = write_folder(tmp_path / "raw", files)
    with pytest.raises(InputError, match=message):
        prepare_all(small_params(exclude=False), raw, tmp_path / "out")
    assert not any(path.name.startswith(".") for path in (tmp_path / "out").glob("*"))
    write_folder(raw, upstream())
    prepare_all(small_params(exclude=False), raw, tmp_path / "out")


@pytest.mark.parametrize("name", sorted(name for name in upstream() if not name.endswith(".jpg")))
def test_an_absent_or_empty_annotation_is_named(tmp_path: Path, name: str) -> None:
    raw = write_folder(tmp_path / "raw", upstream())
    (raw / name).write_bytes(b"")
    with pytest.raises(InputError, match=Path(name).name.replace("(", r"\(").replace(")", r"\)")):
        prepare_all(small_params(exclude=False), raw, tmp_path / "out")
    (raw / name).unlink()
    with pytest.raises(InputError, match="no such file"):
        prepare_all(small_params(exclude=False), raw, tmp_path / "out")


def test_an_unknown_split_lists_the_known_ones(tmp_path: Path) -> None:
    dataset = {"reader": "refcoco", "refs": "refs(unc).p", "splits": ["testC"]}
    with pytest.raises(InputError, match=r"has no split 'testC'; its splits: train, val"):
        prepare_all(
            small_params(datasets={"refcoco": dataset}), write_folder(tmp_path, upstream()), tmp_path / "out"
        )
