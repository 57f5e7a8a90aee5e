"""Writes small data sets in the upstream layouts, as folders or as the upstream zips."""

import base64
import io
import json
import pickle
import zipfile
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from flmm.data.prepare import prepare
from flmm.params import Params, parse_params

PROJECT = Path(__file__).resolve().parents[2]
HEIGHT, WIDTH = 12, 16


def picture_bytes(format_: str = "JPEG", mode: str = "RGB", size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    """One encoded picture."""
    buffer = io.BytesIO()
    Image.new(mode, size, color=None if mode == "P" else Image.new(mode, (1, 1), 90).getpixel((0, 0))).save(
        buffer, format_
    )
    return buffer.getvalue()


def panoptic_png(ids: np.ndarray) -> bytes:
    """A map of segment ids as the id-coded PNG."""
    colours = np.stack([ids % 256, ids // 256 % 256, ids // 256**2], axis=-1).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(colours).save(buffer, "PNG")
    return buffer.getvalue()


def segment_map() -> np.ndarray:
    """Four quarters: segments 1, 300, 70000 and 5."""
    ids = np.zeros((HEIGHT, WIDTH), dtype=np.int64)
    ids[:6, :8], ids[:6, 8:], ids[6:, :8], ids[6:, 8:] = 1, 300, 70000, 5
    return ids


CATEGORIES = [
    {"id": 1, "name": "person", "isthing": 1},
    {"id": 18, "name": "dog", "isthing": 1},
    {"id": 119, "name": "grass", "isthing": 0},
]


def panoptic(image_id: int) -> dict[str, Any]:
    """A panoptic JSON of one image."""
    segments = [(1, 1), (300, 1), (70000, 18), (5, 119)]
    return {
        "images": [{"id": image_id, "file_name": f"{image_id:012d}.jpg", "height": HEIGHT, "width": WIDTH}],
        "annotations": [
            {
                "image_id": image_id,
                "file_name": f"{image_id:012d}.png",
                "segments_info": [{"id": number, "category_id": category} for number, category in segments],
            }
        ],
        "categories": CATEGORIES,
    }


def narrative(image_id: int) -> list[dict[str, Any]]:
    """Two people (plural), a dog, grass, and words without segments."""
    pieces: list[tuple[str, list[str], bool, bool]] = [
        ("I see", [], False, False),
        ("two people", ["1", "300"], True, True),
        ("and", [], False, False),
        ("a dog", ["70000"], False, True),
        ("on the", [], False, False),
        ("grass", ["5"], False, True),
        ("under the sun", [], False, True),
        (".", [], False, False),
    ]
    keys = ("utterance", "segment_ids", "plural", "noun")
    return [
        {"image_id": str(image_id), "segments": [dict(zip(keys, piece, strict=True)) for piece in pieces]}
    ]


def instances(image_ids: list[int]) -> dict[str, Any]:
    """Per image a polygon, uncompressed and compressed run lengths; annotation ids are image * 10 + k."""
    square = [2.0, 2.0, 10.0, 2.0, 10.0, 8.0, 2.0, 8.0]
    half = HEIGHT * WIDTH // 2
    segmentations: list[Any] = [
        [square],
        {"counts": [half, half], "size": [HEIGHT, WIDTH]},
        {"counts": "0P3P3", "size": [HEIGHT, WIDTH]},
    ]
    return {
        "images": [
            {"id": i, "file_name": f"COCO_train2014_{i:012d}.jpg", "height": HEIGHT, "width": WIDTH}
            for i in image_ids
        ],
        "annotations": [
            {
                "id": i * 10 + k,
                "image_id": i,
                "category_id": 1,
                "segmentation": segmentation,
                "iscrowd": int(k > 0),
            }
            for i in image_ids
            for k, segmentation in enumerate(segmentations)
        ],
        "categories": [{"id": 1, "name": "person"}],
    }


def phrases_file(split: str) -> dict[str, Any]:
    """A file of one's own with phrases: one of its own, a list, a caption, and two that a category names."""
    square, half = [2.0, 2.0, 10.0, 2.0, 10.0, 8.0, 2.0, 8.0], HEIGHT * WIDTH // 2
    annotations: list[dict[str, Any]] = [
        {"phrase": "the dog", "segmentation": [square]},
        {"phrase": ["it", "a cat"], "segmentation": {"counts": [half, half], "size": [HEIGHT, WIDTH]}},
        {"caption": "a bird", "segmentation": {"counts": "0P3P3", "size": [HEIGHT, WIDTH]}},
        {"category_id": 1, "segmentation": [square]},
        {"category_id": 1, "segmentation": [square]},
    ]
    return {
        "images": [{"id": 1, "file_name": f"{split}.jpg", "height": HEIGHT, "width": WIDTH}],
        "annotations": [{"id": number, "image_id": 1, **each} for number, each in enumerate(annotations)],
        "categories": [{"id": 1, "name": "person"}],
    }


def ref(ref_id: int, ann_id: int, split: str, *sentences: str) -> dict[str, Any]:
    """One REFER ref; the image is the annotation's."""
    return {
        "ref_id": ref_id,
        "ann_id": ann_id,
        "image_id": ann_id // 10,
        "split": split,
        "category_id": 1,
        "sent_ids": list(range(len(sentences))),
        "sentences": [{"raw": text, "sent": text.lower(), "tokens": text.split()} for text in sentences],
    }


def refs() -> list[dict[str, Any]]:
    """Image 1 in train, 2 in train and val, 3 in val only; two refs of image 3 share an annotation."""
    return [
        ref(0, 10, "train", "Left square", "the square"),
        ref(1, 20, "train", "square of two"),
        ref(2, 21, "val", "right half"),
        ref(3, 30, "val", "the first name"),
        ref(4, 32, "val", "lower"),
        ref(5, 30, "val", "the last name", "again"),
    ]


POPE = [
    {"question_id": 1, "image": "COCO_val2014_000000000003.jpg", "text": "Is there a dog?", "label": "yes"},
    {"question_id": 2, "image": "COCO_val2014_000000000003.jpg", "text": "Is there a cat?", "label": "no"},
]


def mmbench() -> list[dict[str, str]]:
    """One question in two rotations; the second refers to the first's picture."""
    cell = base64.b64encode(picture_bytes()).decode()
    base = {"question": "What is\nit?", "hint": "", "C": "", "D": "", "category": "scene", "split": "dev"}
    return [
        {"index": "7", **base, "A": "dog", "B": "cat", "answer": "A", "image": cell},
        {"index": "1000007", **base, "A": "cat", "B": "dog", "answer": "B", "image": "7"},
    ]


def mmbench_tsv(rows: list[dict[str, str]]) -> bytes:
    """Rows as the upstream TSV."""
    header = list(rows[0])
    quoted = ["\t".join('"' + str(row[key]).replace('"', '""') + '"' for key in header) for row in rows]
    return ("\n".join(["\t".join(header), *quoted]) + "\n").encode()


def upstream() -> dict[str, Any]:
    """Every file of a small suite under its unpacked name: JSON values, lists of refs, bytes."""
    files: dict[str, Any] = {
        "refcoco/refs(unc).p": refs(),
        "refcoco/instances.json": instances([1, 2, 3]),
        "coco_pope_random.json": POPE,
        "MMBench_DEV_EN.tsv": mmbench(),
    }
    for split, image_id in (("train", 2), ("val", 3)):
        files[f"png_coco_{split}2017.json"] = narrative(image_id)
        files[f"annotations/panoptic_{split}2017.json"] = panoptic(image_id)
        files[f"annotations/panoptic_{split}2017/{image_id:012d}.png"] = panoptic_png(segment_map())
        files[f"{split}2017/{image_id:012d}.jpg"] = picture_bytes()
    for image_id in (1, 2, 3):
        files[f"train2014/COCO_train2014_{image_id:012d}.jpg"] = picture_bytes()
    files["val2014/COCO_val2014_000000000003.jpg"] = picture_bytes()
    return deepcopy(files)


def encode(name: str, value: Any) -> bytes:
    """A value of ``upstream()`` as the file's bytes."""
    if isinstance(value, bytes):
        return value
    if name.endswith(".p"):
        return pickle.dumps(value, protocol=2)
    if name.endswith(".tsv"):
        return mmbench_tsv(value)
    if "pope" in name:
        return "\n".join(json.dumps(line) for line in value).encode()
    return json.dumps(value).encode()


def write_folder(raw: Path, files: dict[str, Any]) -> Path:
    """The unpacked layout, as ../shared/coco-sample has it."""
    for name, value in files.items():
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        (raw / name).write_bytes(encode(name, value))
    return raw


def zip_bytes(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=method)
    return buffer.getvalue()


def write_zips(raw: Path, files: dict[str, Any]) -> Path:
    """The upstream archives, with the panoptic masks in zips inside the annotations' zip."""
    groups: dict[str, dict[str, bytes]] = {}
    for name, value in files.items():
        groups.setdefault(name.split("/")[0] if "/" in name else "", {})[name] = encode(name, value)
    raw.mkdir(parents=True, exist_ok=True)
    for name, data in groups.pop("", {}).items():
        (raw / name).write_bytes(data)
    annotations = groups.pop("annotations")
    outer = {name: data for name, data in annotations.items() if name.endswith(".json")}
    for split in ("train2017", "val2017"):
        prefix = f"annotations/panoptic_{split}/"
        masks = {n.removeprefix("annotations/"): d for n, d in annotations.items() if n.startswith(prefix)}
        outer[f"annotations/panoptic_{split}.zip"] = zip_bytes(masks, zipfile.ZIP_STORED)
    (raw / "panoptic_annotations_trainval2017.zip").write_bytes(zip_bytes(outer))
    for group, members in groups.items():
        (raw / f"{group}.zip").write_bytes(zip_bytes(members))
    return raw


def small_params(**changes: Any) -> Params:
    """The project's own params.yaml, shrunk to what ``upstream()`` holds; ``changes`` replace suite keys.

    ``own``: the name of a data set of one's own beside them.
    """
    own = changes.pop("own", None)
    values = yaml.safe_load((PROJECT / "params.yaml").read_text())
    suite = values["suites"]["shapes"]
    values["suite"] = "shapes"
    values["prepare"]["exclude_evaluation_images"] = changes.pop("exclude", True)
    values["prepare"]["exclude"] = changes.pop("named", [])
    sources = suite["sources"]
    suite["sources"] = {name: sources[name] for name in ("coco_pope_random.json", "MMBench_DEV_EN.tsv")}
    suite["datasets"] = {
        "refcoco": {"reader": "refcoco", "refs": "refs(unc).p", "splits": ["train", "val"]},
        "png": {"reader": "png", "refs": None, "splits": ["train", "val"]},
        "pope": {"reader": "pope", "splits": ["random"]},
        "mmbench": {"reader": "mmbench", "splits": ["dev"]},
    }
    if own is not None:
        suite["datasets"][own] = {"reader": "coco_phrases", "splits": ["train", "val"]}
    suite.update(changes)
    return parse_params(values)


def prepare_all(params: Params, raw: Path, out: Path) -> dict[str, Any]:
    """Every part, as the pipeline orders them: what is evaluated first, then what is trained on.

    Returns ``parts``, the counts by part, and ``overlap``, those of the training parts with the evaluation.
    """
    datasets = params.active.datasets
    pairs = [(name, split) for name, entry in datasets.items() for split in entry.splits]
    trained = {name for name, split in pairs if split == "train"}
    evaluation = [
        out / f"{name}-{split}.parquet" for name, split in pairs if name in trained and split != "train"
    ]
    summary: dict[str, Any] = {"parts": {}, "overlap": {}}
    for name, split in sorted(pairs, key=lambda pair: pair[1] == "train"):
        part = f"{name}-{split}"
        others = evaluation if split == "train" else ()
        prepare(params, name, split, raw=raw, out=out / f"{part}.parquet", evaluation=others)
        counts = json.loads((out / f"{part}.json").read_text())
        if split == "train":
            summary["overlap"][part] = counts.pop("overlap")
        summary["parts"][part] = counts
    return summary
