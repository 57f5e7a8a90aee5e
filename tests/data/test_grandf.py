"""GranD-f's evaluation files: a target per phrase, damaged files named, what is left out counted."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flmm.data.grandf import GranDf, upstream_id
from flmm.data.prepare import prepare
from flmm.data.readers import BEYOND_FIRST, NO_CAPTION, NO_TARGET, UNPAIRED, ZERO_AREA
from flmm.data.sample import Sample, encode_rle, read_samples
from flmm.errors import InputError
from flmm.files import read_json
from flmm.params import parse_params
from flmm.shapes.mirror.grandf import write_grandf
from flmm.shapes.world.narratives import narrative
from flmm.shapes.world.photographs import Photograph
from flmm.shapes.world.scenes import scene_seed
from tests.test_params import RAW

HEIGHT, WIDTH = 20, 30
Files = tuple[dict[str, Any], dict[str, Any]]


def upstream(*images: tuple[Any, list[str], list[np.ndarray]]) -> Files:
    """Captions and masks of images: id, phrases, masks."""
    captions = [
        {"id": n, "image_id": i, "caption": " and ".join(p), "labels": p}
        for n, (i, p, _) in enumerate(images)
    ]
    masks = [
        {
            "image_id": i,
            "category_id": 1,
            "segmentation": {"size": [HEIGHT, WIDTH], "counts": encode_rle(mask)},
        }
        for i, _, found in images
        for mask in found
    ]
    return {"images": [{"id": i} for i, _, _ in images], "annotations": captions}, {"annotations": masks}


def read(raw: Path, files: Files) -> tuple[list[Sample], Counter[str]]:
    (raw / "val_gcg_coco_caption_gt.json").write_text(json.dumps(files[0]))
    (raw / "val_gcg_coco_mask_gt.json").write_text(json.dumps(files[1]))
    skipped: Counter[str] = Counter()
    return list(GranDf(raw, "grandf").samples("val", set(), skipped)), +skipped


def box(left: int, right: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[2:9, left:right] = True
    return mask


def test_a_phrase_has_the_mask_of_its_place(tmp_path: Path) -> None:
    samples, skipped = read(tmp_path, upstream(("sa_7", ["a dog", "grass"], [box(0, 4), box(5, 9)])))
    (sample,) = samples
    assert (upstream_id(sample), sample.image, skipped) == ("sa_7", "val_test/sa_7.jpg", Counter())
    assert [target.sentences for target in sample.targets] == [("a dog",), ("grass",)]
    assert (sample.targets[1].mask(HEIGHT, WIDTH) == box(5, 9)).all()
    assert [piece.text for piece in sample.narrative] == ["a dog and grass"]


def test_what_cannot_be_used_is_counted(tmp_path: Path) -> None:
    files = upstream(
        (1, ["a", "b"], [box(0, 4)]),
        (2, [], []),
        (3, ["a"], [box(4, 4)]),
        (4, ["a"], [box(0, 4)]),
    )
    files[0]["annotations"][1]["caption"] = "nothing here"
    files[0]["annotations"][3]["caption"] = " "
    samples, skipped = read(tmp_path, files)
    assert not samples
    assert skipped == {UNPAIRED: 1, NO_TARGET: 2, ZERO_AREA: 1, NO_CAPTION: 1}


def test_damage_is_named(tmp_path: Path) -> None:
    files = upstream(("a", ["x", "y"], [box(0, 4), box(0, 4)]))
    files[1]["annotations"][1]["segmentation"] = {"size": [HEIGHT + 1, WIDTH], "counts": "0"}
    with pytest.raises(InputError, match="image a: its masks are of 2 sizes"):
        read(tmp_path, files)
    del files[0]["annotations"][0]["labels"]
    with pytest.raises(InputError, match=r"caption_gt\.json: annotations\.0\.labels"):
        read(tmp_path, files)


def test_the_shapes_version_says_what_its_scenes_show(tmp_path: Path) -> None:
    write_grandf(tmp_path, 3, seed=7)
    samples = list(GranDf(tmp_path, "grandf").samples("val", set(), Counter()))
    scene = Photograph(0, scene_seed("mirror-grandf", 7, 1))
    pieces = narrative(scene.scene, scene.words("narrative"))
    assert len(samples) == 3
    assert samples[1].narrative[0].text == " ".join(piece.text for piece in pieces)
    assert [t.sentences[0] for t in samples[1].targets] == [p.text for p in pieces if p.is_phrase]


def test_the_first_pictures_of_a_split_are_kept(tmp_path: Path) -> None:
    write_grandf(tmp_path, 3, seed=7)
    raw = json.loads(json.dumps(RAW))
    raw["suites"]["shapes"]["datasets"]["grandf"]["first"] = 2
    out = tmp_path / "grandf-val.parquet"
    prepare(parse_params(raw), "grandf", "val", raw=tmp_path, out=out)
    assert len(read_samples(out)) == 2
    assert read_json(out.with_suffix(".json"))["skipped"] == {BEYOND_FIRST: 1}
    raw["suites"]["shapes"]["datasets"]["pope"]["first"] = 2
    with pytest.raises(InputError, match=r"datasets\.pope\.first"):
        prepare(parse_params(raw), "pope", "random", raw=tmp_path, out=out)
