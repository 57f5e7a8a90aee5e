"""The mirror: the same bytes every time, and files that read as the upstream ones do."""

import base64
import csv
import io
import json
import pickle
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle
from typer.testing import CliRunner

from flmm.data.reasonseg import ReasonSeg
from flmm.data.viscot import VisualCoT
from flmm.errors import InputError
from flmm.shapes.cli import app
from flmm.shapes.mirror import generate
from flmm.shapes.mirror.reasoning import asked_about
from flmm.shapes.mirror.viscot import MARK_RADIUS, details
from flmm.shapes.world.photographs import ROUND, box_of
from flmm.shapes.world.scenes import make_scene

FILES = {
    "train2014.zip",
    "train2017.zip",
    "val2017.zip",
    "val2014.zip",
    "panoptic_annotations_trainval2017.zip",
    "refcoco.zip",
    "png_coco_train2017.json",
    "png_coco_val2017.json",
    "coco_pope_random.json",
    "coco_pope_popular.json",
    "coco_pope_adversarial.json",
    "MMBench_DEV_EN.tsv",
    "ReasonSeg_val.zip",
    "viscot_shapes.json",
    "viscot_details.json",
    "cot.zip",
    "val_gcg_coco_caption_gt.json",
    "val_gcg_coco_mask_gt.json",
    "GranDf_HA_images.zip",
}


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mirror")
    generate(out, train_images=40, evaluation_images=40, seed=7)
    return out


@pytest.fixture(scope="module")
def refcoco(mirror: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    with zipfile.ZipFile(mirror / "refcoco.zip") as archive:
        refs = pickle.loads(archive.read("refcoco/refs(unc).p"))
        return refs, json.loads(archive.read("refcoco/instances.json"))


@pytest.fixture(scope="module")
def panoptic(mirror: Path) -> tuple[dict[str, Any], dict[int, np.ndarray]]:
    """The JSON of val2017 and the segment id of each pixel (H, W) per image id."""
    with zipfile.ZipFile(mirror / "panoptic_annotations_trainval2017.zip") as archive:
        document = json.loads(archive.read("annotations/panoptic_val2017.json"))
        inner = archive.read("annotations/panoptic_val2017.zip")
    ids = {}
    with zipfile.ZipFile(io.BytesIO(inner)) as archive:
        for annotation in document["annotations"]:
            name = f"panoptic_val2017/{annotation['file_name']}"
            rgb = np.asarray(Image.open(io.BytesIO(archive.read(name)))).astype(int)
            ids[annotation["image_id"]] = rgb @ [1, 256, 65536]
    return document, ids


def _numbers(path: Path) -> set[int]:
    with zipfile.ZipFile(path) as archive:
        return {int(Path(name).stem[-12:]) for name in archive.namelist()}


def test_all_files_and_nothing_else(mirror: Path) -> None:
    assert {path.name for path in mirror.iterdir()} == FILES


def test_same_arguments_same_bytes(mirror: Path, tmp_path: Path) -> None:
    generate(tmp_path, train_images=40, evaluation_images=40, seed=7)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (mirror / name).read_bytes(), name


def test_another_seed_is_another_mirror(mirror: Path, tmp_path: Path) -> None:
    generate(tmp_path, train_images=1, evaluation_images=20, seed=8)
    assert not _numbers(tmp_path / "val2017.zip") & _numbers(mirror / "val2017.zip")


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="evaluation_images 3"):
        generate(tmp_path, train_images=1, evaluation_images=3, seed=0)
    assert not list(tmp_path.iterdir())


def test_photographs(mirror: Path) -> None:
    with zipfile.ZipFile(mirror / "train2014.zip") as archive:
        names = archive.namelist()
        assert len(names) == 40 + 24
        assert names[0].startswith("train2014/COCO_train2014_") and len(Path(names[0]).stem) == 27
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        picture = Image.open(io.BytesIO(archive.read(names[0])))
        assert picture.format == "JPEG" and picture.mode == "RGB" and max(picture.size) == 192


def test_the_same_photograph_has_the_same_number_everywhere(mirror: Path) -> None:
    assert _numbers(mirror / "val2014.zip") == _numbers(mirror / "val2017.zip")
    with zipfile.ZipFile(mirror / "train2014.zip") as old, zipfile.ZipFile(mirror / "train2017.zip") as new:
        for name in new.namelist()[:5]:
            assert old.read(f"train2014/COCO_train2014_{Path(name).name}") == new.read(name)


def test_some_refcoco_evaluation_images_are_train2017_images(
    mirror: Path, refcoco: tuple[list[dict[str, Any]], dict[str, Any]]
) -> None:
    evaluation = {ref["image_id"] for ref in refcoco[0] if ref["split"] != "train"}
    shared = evaluation & _numbers(mirror / "train2017.zip")
    assert shared and len(shared) < len(evaluation)
    assert not evaluation & _numbers(mirror / "val2017.zip")


def test_refs(refcoco: tuple[list[dict[str, Any]], dict[str, Any]]) -> None:
    refs, instances = refcoco
    annotations = {a["id"]: a for a in instances["annotations"]}
    names = {c["id"]: c["name"] for c in instances["categories"]}
    assert {ref["split"] for ref in refs} == {"train", "val", "testA", "testB"}
    assert [ref["ref_id"] for ref in refs] == list(range(len(refs)))
    sentence_ids = [i for ref in refs for i in ref["sent_ids"]]
    assert sentence_ids == list(range(len(sentence_ids)))
    for ref in refs:
        annotation = annotations[ref["ann_id"]]
        assert annotation["image_id"] == ref["image_id"]
        assert annotation["category_id"] == ref["category_id"]
        assert ref["file_name"] == f"COCO_train2014_{ref['image_id']:012d}_{ref['ann_id']}.jpg"
        shape = names[ref["category_id"]].split()[1]
        if ref["split"] in ("testA", "testB"):
            assert (shape in ROUND) == (ref["split"] == "testA")
        for sentence, sent_id in zip(ref["sentences"], ref["sent_ids"], strict=True):
            assert sentence["sent_id"] == sent_id
            assert sentence["tokens"] == sentence["raw"].split() and shape in sentence["tokens"]


def test_instances_describe_their_pixels(refcoco: tuple[list[dict[str, Any]], dict[str, Any]]) -> None:
    instances = refcoco[1]
    sizes = {image["id"]: (image["height"], image["width"]) for image in instances["images"]}
    kinds: Counter[str] = Counter()
    for a in instances["annotations"]:
        kinds[type(a["segmentation"]).__name__] += 1
        encoded = a["segmentation"]
        if isinstance(encoded, list):
            encoded = rle.merge(rle.frPyObjects(encoded, *sizes[a["image_id"]]))
        mask = rle.decode(encoded)
        assert mask.shape == sizes[a["image_id"]]
        assert abs(int(mask.sum()) - a["area"]) <= 0.05 * a["area"]
        assert np.abs(rle.toBbox(encoded) - a["bbox"]).max() <= 2
    assert kinds["list"] > 20 and kinds["dict"] > 20


def test_panoptic_segments(panoptic: tuple[dict[str, Any], dict[int, np.ndarray]]) -> None:
    document, ids = panoptic
    isthing = {c["id"]: c["isthing"] for c in document["categories"]}
    assert Counter(isthing.values()) == {1: 48, 0: 5}
    for image, annotation in zip(document["images"], document["annotations"], strict=True):
        pixels = ids[annotation["image_id"]]
        assert image["id"] == annotation["image_id"]
        assert pixels.shape == (image["height"], image["width"])
        assert set(np.unique(pixels)) == {segment["id"] for segment in annotation["segments_info"]}
        for segment in annotation["segments_info"]:
            mask = pixels == segment["id"]
            x, y, width, height = segment["bbox"]
            assert mask.sum() == segment["area"] == mask[y : y + height, x : x + width].sum()
            assert mask[y].any() and mask[:, x].any() and segment["category_id"] in isthing


def test_narratives(mirror: Path, panoptic: tuple[dict[str, Any], dict[int, np.ndarray]]) -> None:
    document, _ = panoptic
    known = {str(a["image_id"]): {str(s["id"]) for s in a["segments_info"]} for a in document["annotations"]}
    narratives = json.loads((mirror / "png_coco_val2017.json").read_text())
    assert {n["image_id"] for n in narratives} == set(known)
    for n in narratives:
        assert n["caption"] == " ".join(s["utterance"] for s in n["segments"])
        for segment in n["segments"]:
            assert set(segment["segment_ids"]) <= known[n["image_id"]]
            assert segment["noun"] == bool(segment["segment_ids"])
            assert segment["plural"] == (len(segment["segment_ids"]) > 1)


def test_pope(mirror: Path, panoptic: tuple[dict[str, Any], dict[int, np.ndarray]]) -> None:
    document, _ = panoptic
    names = {c["id"]: c["name"] for c in document["categories"]}
    present = {
        f"COCO_val2014_{a['image_id']:012d}.jpg": {names[s["category_id"]] for s in a["segments_info"]}
        for a in document["annotations"]
    }
    asked = []
    for split in ("random", "popular", "adversarial"):
        lines = [json.loads(line) for line in (mirror / f"coco_pope_{split}.json").read_text().splitlines()]
        assert [line["question_id"] for line in lines] == list(range(1, len(lines) + 1))
        assert set(Counter(line["image"] for line in lines).values()) == {6}
        assert Counter(line["label"] for line in lines) == {"yes": len(lines) // 2, "no": len(lines) // 2}
        for line in lines:
            name = line["text"].removeprefix("Is there a").removeprefix("n").removesuffix(" in the image?")
            assert (name.strip() in present[line["image"]]) == (line["label"] == "yes"), line
        asked.append([line["text"] for line in lines if line["label"] == "no"])
    assert asked[0] != asked[1] != asked[2]


def test_mmbench_rotations(mirror: Path) -> None:
    csv.field_size_limit(10**8)
    with (mirror / "MMBench_DEV_EN.tsv").open(newline="") as file:
        rows = {int(row["index"]): row for row in csv.DictReader(file, delimiter="\t")}
    bases = [index for index in rows if index < 1_000_000]
    assert len(bases) == 12 and len({rows[index]["category"] for index in bases}) == 5
    for index in bases:
        base = rows[index]
        assert Image.open(io.BytesIO(base64.b64decode(base["image"]))).format == "JPEG"
        options = [base[letter] for letter in "ABCD" if base[letter]]
        right = base[base["answer"]]
        assert len(options) >= 3
        for r in range(1, len(options)):
            row = rows.pop(index + r * 1_000_000)
            assert row["image"] == str(index) and row[row["answer"]] == right
            assert [row[letter] for letter in "ABCD"[: len(options)]] == options[-r:] + options[:-r]
    assert set(rows) == set(bases)


def test_reasonseg_questions_have_one_region_each(mirror: Path) -> None:
    """Read back, a polygon is the region that the picture's generator drew."""
    samples = list(ReasonSeg(mirror, "reasonseg").samples("val", set(), Counter()))
    asked = list(asked_about("mirror-reasonseg", len(samples), seed=7))
    assert len(samples) == 10 and {sample.question.split()[0] for sample in samples} == {"What", "Which"}
    for sample, one in zip(samples, asked, strict=True):
        target = sample.targets[0]
        counted = ~target.ignored(sample.height, sample.width)
        mine, true = target.mask(sample.height, sample.width), one.mask & counted
        assert (mine & true).sum() / (mine | true).sum() > 0.8, sample.question
        assert sample.question == one.question
    assert any(sample.targets[0].ignore for sample in samples)


def test_viscot_boxes_surround_the_answers_pixels(mirror: Path) -> None:
    samples = list(VisualCoT(mirror, "viscot").samples("shapes", set(), Counter()))
    asked = list(asked_about("mirror-viscot", len(samples), seed=7))
    assert len(samples) == 6
    for sample, one in zip(samples, asked, strict=True):
        box = sample.targets[0].mask(sample.height, sample.width)
        assert sample.targets[0].sentences == (one.answer,) and sample.targets[0].is_box
        x, y, width, height = box_of(one.mask)
        assert box.sum() == width * height and box[y : y + height, x : x + width].all()


def test_a_mark_is_on_the_region_that_helps_and_smaller_than_a_token(mirror: Path) -> None:
    samples = list(VisualCoT(mirror, "viscot").samples("details", set(), Counter()))
    asked = list(details("mirror-details", len(samples), seed=7))
    assert len(samples) == 6
    with zipfile.ZipFile(mirror / "cot.zip") as archive:
        for sample, one in zip(samples, asked, strict=True):
            things = one.photograph.scene.things
            (thing,) = [t for t in things if np.array_equal(t.mask, one.mask)]
            assert not any(f"the {t.shape}?" in sample.question for t in things)  # the mark is the only one
            assert sample.question == one.question and sample.targets[0].sentences == (one.answer,)
            assert one.answer != thing.colour
            picture = np.asarray(Image.open(io.BytesIO(archive.read(f"cot/{sample.image}"))), dtype=int)
            changed = np.abs(picture - make_scene(one.photograph.seed).image).max(axis=2) > 60
            rows, columns = np.nonzero(changed)
            assert changed.any() and thing.mask[changed].all()
            assert max(np.ptp(rows), np.ptp(columns)) <= 2 * MARK_RADIUS + 1 < 192 / 16


def test_generate_command(tmp_path: Path) -> None:
    arguments = ["generate", "--out", str(tmp_path), "--train-images", "2", "--evaluation-images", "20"]
    result = CliRunner().invoke(app, [*arguments, "--seed", "3"])
    assert result.exit_code == 0, result.output
    assert "train2014 14, train2017 2, val2017 8" in result.output
