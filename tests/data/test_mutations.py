"""Mutated upstream files: an InputError, or samples whose every loss is counted; never another exception."""

import io
import json
import pickle
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from flmm.data.sample import read_samples
from flmm.errors import InputError
from tests.data import coco_files
from tests.data.coco_files import (
    encode,
    mmbench_tsv,
    phrases_file,
    picture_bytes,
    prepare_all,
    segment_map,
    small_params,
    write_folder,
    write_zips,
)
from tests.data.test_pickles import Bytes2, python_2

OWN = "phrases_own"  # docs/own-data.md


def upstream() -> dict[str, Any]:
    """The upstream files, and those of a data set of one's own."""
    own = {f"{OWN}_{split}.json": phrases_file(split) for split in ("train", "val")}
    return {
        **coco_files.upstream(),
        **own,
        **{f"{OWN}/{split}.jpg": picture_bytes() for split in ("train", "val")},
    }


NAMES = sorted(name for name in upstream() if not name.endswith(".jpg"))
STRUCTURED = [name for name in NAMES if not name.endswith(".png")]
PARAMS = small_params(exclude=False, own=OWN)

ODD_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 400),
    st.sampled_from([0, -1, 1 << 31, 1 << 63, 1 << 70, 10**30, 1e300, 0.5]),
    st.text(max_size=6),
    st.sampled_from(["1", "300", "70000", " ", "0", "../../etc/passwd", "nan"]),
    st.lists(st.integers(-3, 300) | st.floats(-50, 50) | st.text(max_size=3), max_size=8),
    st.lists(st.lists(st.floats(allow_nan=False, width=32), max_size=8), max_size=3),
    st.dictionaries(st.sampled_from(["id", "size", "counts"]), st.integers(0, 200) | st.text(max_size=4)),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a nested value."""
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for step, inner in steps for place in places(inner, (*path, step)))]


def mutate(draw: st.DrawFn, value: Any, rows: bool) -> Any:
    inner = [place for place in places(value) if place]
    if not inner:  # an earlier mutation has emptied it
        return value
    path = draw(st.sampled_from(inner))
    parent = value
    for step in path[:-1]:
        parent = parent[step]
    kind = draw(st.sampled_from(["replace", "drop", "repeat"]))
    if rows and isinstance(parent, dict):
        parent[path[-1]] = draw(st.text(max_size=70))
    elif kind == "replace":
        parent[path[-1]] = draw(ODD_VALUES) if not rows else dict.fromkeys(value[0], "")
    elif kind == "drop" and not (rows and len(parent) == 1):
        del parent[path[-1]]
    elif isinstance(parent, list):
        parent.append(parent[path[-1]])
    return value


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    files = upstream()
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from(STRUCTURED))
        files[name] = mutate(draw, files[name], name.endswith(".tsv"))
    return files


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    files = upstream()
    name = draw(st.sampled_from(NAMES))
    data = bytearray(encode(name, files[name]))
    if draw(st.booleans()):
        for _ in range(draw(st.integers(1, 3))):
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    else:
        del data[draw(st.integers(0, len(data) - 1)) :]
    return {**files, name: bytes(data)}


def check(files: dict[str, Any], structured: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        raw, out = write_folder(Path(folder) / "raw", files), Path(folder) / "out"
        try:
            summary = prepare_all(PARAMS, raw, out)
        except InputError as error:
            assert 0 < len(str(error)) < 700 and "\n" not in str(error)
            return
        for part in ("refcoco-train", "refcoco-val", "png-train", "png-val", f"{OWN}-train", f"{OWN}-val"):
            for sample in read_samples(out / f"{part}.parquet"):
                assert sample.targets
                for target in sample.targets:
                    assert target.mask(sample.height, sample.width).any() and target.sentences[0].strip()
        if structured:
            nothing_is_lost(files, summary["parts"])


def nothing_is_lost(files: dict[str, Any], parts: dict[str, Any]) -> None:
    for split in ("train", "val"):
        narratives = files[f"png_coco_{split}2017.json"]
        grounded = sum(bool(piece["segment_ids"]) for n in narratives for piece in n["segments"])
        refs = [ref for ref in files["refcoco/refs(unc).p"] if ref["split"] == split]
        expected = {
            f"png-{split}": (len(narratives), grounded),
            f"refcoco-{split}": (
                len({int(ref["image_id"]) for ref in refs}),
                len({int(ref["ann_id"]) for ref in refs}),
            ),
        }
        own = files[f"{OWN}_{split}.json"]
        expected[f"{OWN}-{split}"] = (len(own["images"]), things(own["annotations"]))
        for part, (samples, targets) in expected.items():
            skipped = parts[part]["skipped"]
            lost = {
                kind: sum(n for r, n in skipped.items() if r.startswith(kind))
                for kind in ("sample", "target")
            }
            assert parts[part]["samples"] + lost["sample"] == samples
            assert parts[part]["targets"] + lost["target"] == targets


def things(annotations: list[dict[str, Any]]) -> int:
    """Of a file of phrases: those that a category alone names are one for each image."""
    named = [each for each in annotations if each.get("phrase") is None and each.get("caption") is None]
    named = [each for each in named if each.get("category_id") is not None]
    return len(annotations) - len(named) + len({(int(n["image_id"]), int(n["category_id"])) for n in named})


@settings(max_examples=60, deadline=None)
@given(files=mutated())
def test_mutated_values_are_refused_or_counted(files: dict[str, Any]) -> None:
    check(files, structured=True)


@settings(max_examples=40, deadline=None)
@given(files=damaged())
def test_damaged_bytes_are_refused_or_counted(files: dict[str, Any]) -> None:
    check(files, structured=False)


# What people's files have on top of the upstream ones: each changes a file and nothing of what comes out of it.
REFS, INSTANCES, TSV = "refcoco/refs(unc).p", "refcoco/instances.json", "MMBench_DEV_EN.tsv"
LITTER = (
    "__MACOSX/refcoco/._refs(unc).p",
    "refcoco/.DS_Store",
    "refcoco/Thumbs.db",
    "refcoco/._instances.json",
)


def numpy_ids(refs: Any) -> bytes:
    """After a data frame."""
    return pickle.dumps([{**ref, "ref_id": np.int64(ref["ref_id"])} for ref in refs], 2)


def old_text(refs: Any) -> bytes:
    """By Python 2, whose text was bytes."""

    def sentence(text: str) -> dict[str, Any]:
        return {"raw": Bytes2(text.encode())}

    kept = ("ref_id", "ann_id", "image_id", "split")
    return python_2(
        [
            {
                **{key: ref[key] for key in kept},
                "sentences": [sentence(one["raw"]) for one in ref["sentences"]],
            }
            for ref in refs
        ]
    )


def as_json(refs: Any) -> bytes:
    return json.dumps(refs).encode()


def spreadsheet(rows: Any) -> bytes:
    """After a spreadsheet: a mark at the beginning, words for empty cells, a row of tabs, indices of a float column."""
    empty = [{key: cell or "nan" for key, cell in row.items()} for row in rows]
    table = mmbench_tsv([{**row, "index": f"{row['index']}.0"} for row in empty])
    return b"\xef\xbb\xbf" + table + b"\t" * (len(rows[0]) - 1) + b"\n"


@settings(max_examples=25, deadline=None)
@given(
    refs=st.sampled_from([None, numpy_ids, old_text, as_json]),
    slivers=st.lists(st.lists(st.floats(0, 10), max_size=5), max_size=3),
    litter=st.lists(st.sampled_from(LITTER), unique=True),
    table=st.booleans(),
)
def test_what_people_do_to_files_changes_nothing_but_counts(
    refs: Any, slivers: list[list[float]], litter: list[str], table: bool
) -> None:
    plain, files = upstream(), upstream()
    plain[REFS][3]["sentences"][0]["raw"] = files[REFS][3]["sentences"][0]["raw"] = "the <image> café"
    if refs is not None:
        files[REFS] = refs(files[REFS])
    for record in files[INSTANCES]["annotations"]:
        if isinstance(record["segmentation"], list):
            record["segmentation"] = record["segmentation"] + slivers
    if table:
        files[TSV] = spreadsheet(files[TSV])
    with tempfile.TemporaryDirectory() as folder:
        found = []
        for name, content in (("plain", plain), ("changed", files)):
            raw, out = write_zips(Path(folder) / name, content), Path(folder) / f"{name}-out"
            if name == "changed":
                for archive in raw.glob("*.zip"):
                    with zipfile.ZipFile(archive, "a") as packed:
                        for member in litter:
                            packed.writestr(member, b"\0\5\x16\7 no data")
            found.append(prepare_all(PARAMS, raw, out)["parts"])
    expected, changed = found
    for part in expected:
        dropped = changed[part]["skipped"].pop("polygon: fewer than three corners", 0)
        assert dropped == len(slivers) * {"refcoco-train": 2, "refcoco-val": 1}.get(part, 0)
    assert changed == expected


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "I;16"])
def test_a_panoptic_mask_of_one_channel_stops_with_its_name(tmp_path: Path, mode: str) -> None:
    files, stream = upstream(), io.BytesIO()
    ids = segment_map()
    grey = ids.astype(np.uint16) if mode == "I;16" else ids.astype(np.uint8)
    picture = Image.fromarray(grey)
    (picture if mode == "I;16" else picture.convert(mode)).save(stream, "PNG")
    files["annotations/panoptic_val2017/000000000003.png"] = stream.getvalue()
    with pytest.raises(InputError, match=r"000000000003\.png: not an RGB id map"):
        prepare_all(PARAMS, write_folder(tmp_path / "raw", files), tmp_path / "out")


def test_grefcoco_is_named(tmp_path: Path) -> None:
    files = upstream()
    files[REFS] = [{**ref, "ann_id": [ref["ann_id"]]} for ref in files[REFS]]
    with pytest.raises(
        InputError, match=r"refs\(unc\)\.p: ref 0 names a list of annotations, as gRefCOCO does"
    ):
        prepare_all(PARAMS, write_folder(tmp_path / "raw", files), tmp_path / "out")
