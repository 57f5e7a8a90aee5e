"""Mutated upstream files: an InputError, or samples whose every loss is counted; never another exception."""

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from flmm.data.prepare import prepare
from flmm.data.sample import read_samples
from flmm.errors import InputError
from tests.data.coco_files import encode, small_params, upstream, write_folder

NAMES = sorted(name for name in upstream() if not name.endswith(".jpg"))
STRUCTURED = [name for name in NAMES if not name.endswith(".png")]
PARAMS = small_params(exclude=False)

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
            summary = prepare(PARAMS, raw, out)
        except InputError as error:
            assert 0 < len(str(error)) < 700 and "\n" not in str(error)
            return
        for part in ("refcoco-train", "refcoco-val", "png-train", "png-val"):
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
        for part, (samples, targets) in expected.items():
            skipped = parts[part]["skipped"]
            lost = {
                kind: sum(n for r, n in skipped.items() if r.startswith(kind))
                for kind in ("sample", "target")
            }
            assert parts[part]["samples"] + lost["sample"] == samples
            assert parts[part]["targets"] + lost["target"] == targets


@settings(max_examples=60, deadline=None)
@given(files=mutated())
def test_mutated_values_are_refused_or_counted(files: dict[str, Any]) -> None:
    check(files, structured=True)


@settings(max_examples=40, deadline=None)
@given(files=damaged())
def test_damaged_bytes_are_refused_or_counted(files: dict[str, Any]) -> None:
    check(files, structured=False)
