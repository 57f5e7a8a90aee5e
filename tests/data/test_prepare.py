"""Upstream files to samples and questions: what comes out, and what is left out and counted."""

import hashlib
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flmm.data.images import ImageStore
from flmm.data.prepare import prepare
from flmm.data.question import read_questions
from flmm.data.readers import EXCLUDED
from flmm.data.sample import read_samples
from flmm.errors import InputError
from flmm.files import read_table
from tests.data.coco_files import (
    HEIGHT,
    WIDTH,
    instances,
    mmbench,
    panoptic_png,
    prepare_all,
    ref,
    segment_map,
    small_params,
    upstream,
    write_folder,
    write_zips,
)


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_a_folder_and_the_upstream_zips_give_the_same_bytes_twice(tmp_path: Path) -> None:
    params = small_params(exclude=False)
    for out, raw in (
        ("a", write_folder(tmp_path / "folder", upstream())),
        ("b", write_zips(tmp_path / "zips", upstream())),
        ("c", tmp_path / "zips"),
    ):
        prepare_all(params, raw, tmp_path / out)
    assert digests(tmp_path / "a") == digests(tmp_path / "b") == digests(tmp_path / "c")
    parts = {"refcoco-train", "refcoco-val", "png-train", "png-val", "pope-random", "mmbench-dev"}
    assert set(digests(tmp_path / "a")) == {
        f"{part}.{kind}" for part in parts for kind in ("parquet", "json")
    }


def test_the_counts_tell_what_is_in_every_part(tmp_path: Path) -> None:
    summary = prepare_all(small_params(exclude=False), write_folder(tmp_path, upstream()), tmp_path / "out")
    sums = digests(tmp_path / "out")
    for part, entry in summary["parts"].items():
        assert entry["sha256"] == sums[f"{part}.parquet"]
    keys = ("images", "samples", "targets", "sentences")
    assert [summary["parts"]["refcoco-val"][key] for key in keys] == [2, 2, 3, 5]
    assert [summary["parts"]["png-val"][key] for key in keys] == [1, 1, 3, 3]
    assert summary["parts"]["pope-random"]["questions"] == 2


def test_training_photographs_that_are_evaluated_are_left_out_and_counted(tmp_path: Path) -> None:
    # Image 2 is in refcoco val, and in the training split of refcoco and of png.
    files = upstream()
    files["png_coco_train2017.json"] *= 2
    files["png_coco_train2017.json"][1] = {**files["png_coco_train2017.json"][1], "image_id": "4"}
    extra = deepcopy(files["annotations/panoptic_train2017.json"])
    for key, record in (("images", {"id": 4}), ("annotations", {"image_id": 4})):
        files["annotations/panoptic_train2017.json"][key].append({**extra[key][0], **record})
    raw = write_folder(tmp_path, files)
    for exclude, kept in ((True, [1, 1]), (False, [2, 2])):
        summary = prepare_all(small_params(exclude=exclude), raw, tmp_path / "out")
        parts = ("refcoco-train", "png-train")
        assert [summary["parts"][part]["samples"] for part in parts] == kept
        for part in parts:
            assert summary["overlap"][part] == {
                "evaluation_images": 1,
                "samples": 1,
                "excluded_samples": int(exclude),
            }
    prepare_all(small_params(), raw, tmp_path / "out")
    assert {s.image_id for s in read_samples(tmp_path / "out" / "png-train.parquet")} == {4}


def test_a_training_split_without_any_photograph_left_is_an_input_error(tmp_path: Path) -> None:
    raw = write_folder(tmp_path, upstream())
    with pytest.raises(InputError, match=r"png-train: no sample is left.*exclude_evaluation_images"):
        prepare_all(small_params(), write_folder(raw, {"x": b""}), tmp_path / "out")
    assert not (tmp_path / "out" / "png-train.parquet").exists()


def samples(tmp_path: Path, part: str, files: dict[str, Any]) -> tuple[list[Any], dict[str, int]]:
    summary = prepare_all(
        small_params(exclude=False), write_folder(tmp_path / "raw", files), tmp_path / "out"
    )
    return read_samples(tmp_path / "out" / f"{part}.parquet"), summary["parts"][part]["skipped"]


def test_refs_that_share_an_annotation_collapse_to_the_last_at_the_place_of_the_first(tmp_path: Path) -> None:
    read, skipped = samples(tmp_path, "refcoco-val", upstream())
    assert [sample.sample_id for sample in read] == ["refcoco-val-000000000002", "refcoco-val-000000000003"]
    first, second = read[1].targets
    assert (first.target_id, second.target_id) == ("30", "32")
    assert first.sentences == ("the last name", "again", "the first name")
    assert skipped == {}


def test_in_training_only_the_last_of_refs_that_share_an_annotation_speaks(tmp_path: Path) -> None:
    files = upstream()
    for record in files["refcoco/refs(unc).p"]:
        record["split"] = "train" if record["ann_id"] != 20 else "val"
    read, skipped = samples(tmp_path, "refcoco-train", files)
    sentences = {t.target_id: t.sentences for sample in read for t in sample.targets}
    assert sentences["30"] == ("the last name", "again")
    assert skipped == {"sentence: for training, of a ref whose annotation a later ref has too": 1}


def test_a_referred_object_has_its_mask_lower_cased_sentences_and_photograph(tmp_path: Path) -> None:
    read, _ = samples(tmp_path, "refcoco-train", upstream())
    sample = read[0]
    assert sample.targets[0].sentences == ("left square", "the square")
    mask = sample.targets[0].mask(HEIGHT, WIDTH)
    assert mask[2:8, 2:10].all() and mask.sum() == 48
    assert (sample.archive, sample.image) == ("train2014", "COCO_train2014_000000000001.jpg")
    assert ImageStore(tmp_path / "raw").open(sample.archive, sample.image).size == (WIDTH, HEIGHT)


def test_umd_splits_are_read_by_their_own_names(tmp_path: Path) -> None:
    files = upstream()
    files["refcocog/refs(umd).p"] = [
        ref(0, 10, "train", "a"),
        ref(1, 20, "val", "b"),
        ref(2, 30, "test", "c"),
    ]
    files["refcocog/instances.json"] = instances([1, 2, 3])
    dataset = {"reader": "refcoco", "refs": "refs(umd).p", "splits": ["train", "val", "test"]}
    params = small_params(datasets={"refcocog": dataset})
    summary = prepare_all(params, write_folder(tmp_path / "raw", files), tmp_path / "out")
    assert [summary["parts"][f"refcocog-{split}"]["samples"] for split in dataset["splits"]] == [1, 1, 1]


def test_a_narrative_keeps_its_pieces_in_order_and_grounds_its_nouns(tmp_path: Path) -> None:
    read, skipped = samples(tmp_path, "png-val", upstream())
    (sample,) = read
    pieces = [(piece.text, piece.target) for piece in sample.narrative]
    assert pieces == [
        ("I see", -1),
        ("two people", 0),
        ("and", -1),
        ("a dog", 1),
        ("on the", -1),
        ("grass", 2),
        ("under the sun", -1),
        (".", -1),
    ]
    facts = [(t.sentences, t.category, t.is_thing, t.is_plural) for t in sample.targets]
    assert facts == [
        (("two people",), "person", True, True),
        (("a dog",), "dog", True, False),
        (("grass",), "grass", False, False),
    ]
    ids = segment_map()
    assert np.array_equal(sample.targets[0].mask(HEIGHT, WIDTH), (ids == 1) | (ids == 300))
    assert np.array_equal(sample.targets[2].mask(HEIGHT, WIDTH), ids == 5)
    assert (sample.archive, sample.image, skipped) == ("val2017", "000000000003.jpg", {})


def test_masks_without_pixels_are_left_out_and_counted(tmp_path: Path) -> None:
    files = upstream()
    ids = segment_map()
    ids[ids == 70000] = 5
    files["annotations/panoptic_val2017/000000000003.png"] = panoptic_png(ids)
    files["refcoco/instances.json"]["annotations"][6]["segmentation"] = []  # annotation 30
    files["refcoco/instances.json"]["annotations"][8]["segmentation"] = {
        "counts": [HEIGHT * WIDTH],
        "size": [HEIGHT, WIDTH],
    }
    read, skipped = samples(tmp_path, "png-val", files)
    assert [t.sentences[0] for t in read[0].targets] == ["two people", "grass"]
    assert read[0].narrative[3].target == -1
    assert skipped == {"target: mask without pixels": 1}
    read, skipped = samples(tmp_path, "refcoco-val", files)
    assert [sample.image_id for sample in read] == [2]
    assert skipped == {"target: mask without pixels": 2, "sample: no target left": 1}


def test_words_that_cannot_be_grounded_are_counted(tmp_path: Path) -> None:
    files = upstream()
    pieces = files["png_coco_val2017.json"][0]["segments"]
    pieces[3]["noun"] = False
    pieces[5]["utterance"] = " "
    files["refcoco/refs(unc).p"].append(ref(9, 31, "val", "", "  "))
    files["refcoco/refs(unc).p"][4]["sentences"].append({"raw": " ", "sent": "", "tokens": []})
    read, skipped = samples(tmp_path, "png-val", files)
    assert [(t.sentences[0], t.is_noun) for t in read[0].targets] == [("two people", True), ("a dog", False)]
    assert skipped == {
        "target: segments on words that are not a noun (counted by paper alone)": 1,
        "target: no words": 1,
    }
    read, skipped = samples(tmp_path, "refcoco-val", files)
    assert skipped == {"sentence: empty": 3, "target: no words": 1}


def test_questions_keep_their_words_pictures_and_rotations(tmp_path: Path) -> None:
    prepare_all(small_params(exclude=False), write_folder(tmp_path / "raw", upstream()), tmp_path / "out")
    first, second = read_questions(tmp_path / "out" / "mmbench-dev.parquet")
    assert (first.group, second.group) == ("7", "7")
    assert (first.options, first.answer) == (("dog", "cat"), "A")
    assert (second.options, second.answer) == (("cat", "dog"), "B")
    assert first.text == "What is\nit?" and first.category == "scene"
    assert first.image_bytes == second.image_bytes and first.image_bytes.startswith(b"\xff\xd8")
    yes, no = read_questions(tmp_path / "out" / "pope-random.parquet")
    assert (yes.archive, yes.image, yes.answer) == ("val2014", "COCO_val2014_000000000003.jpg", "yes")
    assert (no.answer, no.options, no.group) == ("no", (), "2")


def test_optional_mmbench_columns_may_be_absent(tmp_path: Path) -> None:
    files = upstream()
    files["MMBench_DEV_EN.tsv"] = [
        {key: value for key, value in row.items() if key not in ("hint", "category", "C", "D", "split")}
        for row in mmbench()
    ]
    prepare_all(small_params(exclude=False), write_folder(tmp_path / "raw", files), tmp_path / "out")
    first, _ = read_questions(tmp_path / "out" / "mmbench-dev.parquet")
    assert (first.hint, first.category) == ("", "")


@pytest.mark.parametrize(
    ("named", "part", "key", "left"),
    [
        ("val2017/000000000003.jpg", "png-val", None, None),
        ("refcoco-val-000000000003", "refcoco-val", "samples", 1),
        ("train2014/COCO_train2014_000000000003.jpg", "refcoco-val", "samples", 1),
        ("1", "pope-random", "questions", 1),
        ("1000007", "mmbench-dev", "questions", 1),
        ("val2014/COCO_val2014_000000000003.jpg", "pope-random", None, None),
    ],
)
def test_what_is_named_is_left_out_of_its_part_and_counted(
    tmp_path: Path, named: str, part: str, key: str | None, left: int | None
) -> None:
    raw, (dataset, split) = write_folder(tmp_path / "raw", upstream()), part.split("-")
    out, params = tmp_path / f"{part}.parquet", small_params(exclude=False, named=[named])
    if key is None:
        with pytest.raises(InputError, match=rf"{part}: no sample is left: {EXCLUDED}"):
            prepare(params, dataset, split, raw=raw, out=out)
        assert not out.exists()
        return
    prepare(params, dataset, split, raw=raw, out=out)
    counts = json.loads(out.with_suffix(".json").read_text())
    assert counts[key] == left == read_table(out).num_rows
    assert counts["skipped"] == {EXCLUDED: 1}
    rows = read_table(out).to_pylist()
    names = {row.get("sample_id") or row["question_id"] for row in rows}
    assert not {named} & (names | {f"{row['archive']}/{row['image']}" for row in rows})


def test_what_is_named_leaves_the_other_parts_as_they_were(tmp_path: Path) -> None:
    raw = write_folder(tmp_path / "raw", upstream())
    plain = prepare_all(small_params(exclude=False), raw, tmp_path / "plain")
    named = ["refcoco-val-000000000003", "2"]
    changed = prepare_all(small_params(exclude=False, named=named), raw, tmp_path / "named")
    different = {part for part in plain["parts"] if plain["parts"][part] != changed["parts"][part]}
    assert different == {"refcoco-val", "pope-random"}
