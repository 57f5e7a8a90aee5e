"""COCO masks: every upstream form gives pycocotools' mask, and every malformed one an InputError."""

import io
import random
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from pycocotools import mask as coco_mask

from flmm.data.archives import Folder
from flmm.data.coco import Instances, Panoptic, segment_ids, segment_union
from flmm.data.sample import decode_rle, encode_rle
from flmm.data.segmentation import segmentation_mask, segmentation_rle
from flmm.errors import InputError
from tests.data.coco_files import (
    HEIGHT,
    WIDTH,
    instances,
    panoptic,
    panoptic_png,
    segment_map,
    write_folder,
)

MASKS = hnp.arrays(bool, st.tuples(st.integers(1, 24), st.integers(1, 24)))


def runs_of(mask: np.ndarray) -> list[int]:
    """Column-major run lengths, zeros first."""
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flat, [not flat[-1]]])))
    return [int(n) for n in np.diff(np.concatenate([[0], edges]))]


@given(mask=MASKS)
def test_compressed_and_uncompressed_run_lengths_round_trip(mask: np.ndarray) -> None:
    height, width = mask.shape
    size = [height, width]
    for counts in (encode_rle(mask), runs_of(mask)):
        assert np.array_equal(
            segmentation_mask({"size": size, "counts": counts}, height, width, "here"), mask
        )
    rle = segmentation_rle({"size": size, "counts": encode_rle(mask)}, height, width, "here")
    assert (rle is None) == (not mask.any())
    assert rle is None or np.array_equal(decode_rle(rle, height, width), mask)


def test_long_runs_round_trip() -> None:
    mask = np.zeros((700, 900), dtype=bool)
    mask[3:600, 50:880] = True
    mask[100:200:7, 60:70] = False
    counts = encode_rle(mask)
    assert np.array_equal(segmentation_mask({"size": [700, 900], "counts": counts}, 700, 900, "here"), mask)


COORDINATES = st.lists(st.floats(-1, 31, width=32), min_size=6, max_size=12).filter(lambda p: len(p) % 2 == 0)


@given(polygons=st.lists(COORDINATES, min_size=1, max_size=3))
def test_polygons_are_united_as_pycocotools_does(polygons: list[list[float]]) -> None:
    expected = coco_mask.decode(coco_mask.frPyObjects(polygons, 30, 30)).any(axis=2)
    assert np.array_equal(segmentation_mask(polygons, 30, 30, "here"), expected)


@given(
    polygons=st.lists(COORDINATES, max_size=2),
    slivers=st.lists(st.lists(st.floats(-1, 31, width=32), max_size=5), max_size=3),
    order=st.randoms(),
)
def test_slivers_are_dropped_and_counted(
    polygons: list[list[float]], slivers: list[list[float]], order: random.Random
) -> None:
    mixed = [*polygons, *slivers]
    order.shuffle(mixed)
    skipped: Counter[str] = Counter()
    assert np.array_equal(
        segmentation_mask(mixed, 30, 30, "here", skipped), segmentation_mask(polygons, 30, 30, "here")
    )
    assert skipped["polygon: fewer than three corners"] == len(slivers)
    if slivers:
        with pytest.raises(InputError, match="here: a polygon has fewer than three corners"):
            segmentation_mask(mixed, 30, 30, "here")


@given(
    masks=st.tuples(st.integers(1, 24), st.integers(1, 24)).flatmap(
        lambda size: st.lists(hnp.arrays(bool, size), min_size=1, max_size=3)
    )
)
def test_run_lengths_may_be_a_list_and_floats(masks: list[np.ndarray]) -> None:
    height, width = masks[0].shape
    parts = [{"size": [height, width], "counts": [float(run) for run in runs_of(mask)]} for mask in masks]
    united = segmentation_mask(parts, height, width, "here")
    assert np.array_equal(united, np.logical_or.reduce(masks))


@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=130), max_size=30))
def test_made_up_run_lengths_never_reach_c_code(text: str) -> None:
    try:
        mask = segmentation_mask({"size": [8, 8], "counts": text}, 8, 8, "here")
    except InputError as error:
        assert str(error).startswith("here")
    else:
        assert mask.shape == (8, 8)


@pytest.mark.parametrize(
    "segmentation",
    [
        None,
        7,
        "text",
        {},
        {"size": [8, 8]},
        {"size": [8], "counts": "0"},
        {"size": [8, 9], "counts": [72]},
        {"size": [8, 8], "counts": [65]},
        {"size": [8, 8], "counts": [70, -6]},
        {"size": [8, 8], "counts": [1 << 70]},
        {"size": [8, 8], "counts": [1.5, 62.5]},
        {"size": [8, 8], "counts": [True, 63]},
        {"size": [8, 8], "counts": ["64"]},
        {"size": [8, 8], "counts": [float("inf")]},
        {"size": [8, 8], "counts": [float("nan")]},
        {"size": [8, 8], "counts": {"a": 1}},
        [{"size": [8, 8], "counts": [64]}, [1, 2, 3, 4, 5, 6]],
        {"size": [8, 8], "counts": "o"},
        {"size": [8, 8], "counts": "PPPPPPPPPPPPPPPP"},
        {"size": [8, 8], "counts": "\N{PILE OF POO}"},
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, 6, 7]],
        [[0, 0, 5, 0, float("nan"), 5]],
        [[0, 0, 5, 0, float("inf"), 5]],
        [[0, 0, 5, 0, 1e12, 5]],
        [["a", "b", 1, 2, 3, 4]],
        [1, 2, 3, 4, 5, 6],
    ],
)
def test_a_malformed_segmentation_is_an_input_error(segmentation: Any) -> None:
    with pytest.raises(InputError, match=r"^here"):
        segmentation_mask(segmentation, 8, 8, "here")


@given(
    ids=hnp.arrays(
        np.int64, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 2**24 - 1)
    )
)
@settings(deadline=None)
def test_segment_ids_survive_the_colour_code_of_panoptic_pngs(ids: np.ndarray) -> None:
    colours = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
    decoded = segment_ids(colours)
    assert np.array_equal(decoded, ids)
    chosen = list(np.unique(ids)[::2])
    assert np.array_equal(segment_union(decoded, chosen), np.isin(ids, chosen))


def test_instances_of_every_form_are_read(tmp_path: Path) -> None:
    write_folder(tmp_path, {"refcoco/instances.json": instances([4])})
    read = Instances(Folder(tmp_path), "refcoco/instances.json", {40, 41, 42})
    polygon, right, lower = (read.rle(read.annotation(40 + k)) for k in range(3))
    assert polygon and decode_rle(polygon, HEIGHT, WIDTH)[2:8, 2:10].all()
    assert right and decode_rle(right, HEIGHT, WIDTH)[:, 8:].all()
    assert lower is not None
    with pytest.raises(InputError, match=r"instances\.json: has no annotation 43"):
        read.annotation(43)


def test_a_panoptic_mask_of_another_size_is_an_input_error(tmp_path: Path) -> None:
    files = {
        "annotations/panoptic_val2017.json": panoptic(3),
        "annotations/panoptic_val2017/000000000003.png": panoptic_png(segment_map()[:-1]),
    }
    read = Panoptic(Folder(write_folder(tmp_path, files)), "panoptic_val2017")
    with pytest.raises(InputError, match=r"000000000003\.png: mask of 11x16 pixels for an image of 12x16"):
        read.segment_map(3)


@pytest.mark.parametrize("data", [b"", b"not a picture"])
def test_a_damaged_panoptic_mask_is_named(tmp_path: Path, data: bytes) -> None:
    files = {
        "annotations/panoptic_val2017.json": panoptic(3),
        "annotations/panoptic_val2017/000000000003.png": data,
    }
    read = Panoptic(Folder(write_folder(tmp_path, files)), "panoptic_val2017")
    with pytest.raises(InputError, match=r"panoptic_val2017/000000000003\.png: not a readable picture"):
        read.segment_map(3)


@pytest.mark.parametrize("mode", ["L", "P", "LA", "1", "I;16"])
def test_a_panoptic_mask_of_one_channel_is_named(tmp_path: Path, mode: str) -> None:
    ids = segment_map()
    picture = (
        Image.fromarray(ids.astype(np.uint16))
        if mode == "I;16"
        else Image.fromarray(ids.astype(np.uint8)).convert(mode)
    )
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    files = {
        "annotations/panoptic_val2017.json": panoptic(3),
        "annotations/panoptic_val2017/000000000003.png": stream.getvalue(),
    }
    read = Panoptic(Folder(write_folder(tmp_path, files)), "panoptic_val2017")
    with pytest.raises(InputError, match=r"panoptic_val2017/000000000003\.png: not an RGB id map"):
        read.segment_map(3)


@pytest.mark.parametrize("twice", ["images", "annotations", "categories"])
def test_an_id_that_occurs_twice_is_an_input_error(tmp_path: Path, twice: str) -> None:
    value = instances([4])
    value[twice].append(value[twice][0])
    write_folder(tmp_path, {"refcoco/instances.json": value})
    with pytest.raises(InputError, match=r"instances\.json: \w+ \d+ occurs twice"):
        Instances(Folder(tmp_path), "refcoco/instances.json", {40})
