"""The mirror's RefCOCO: REFER's pickled refs and COCO instances."""

from __future__ import annotations

import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle

from flmm.shapes.mirror.panoptic import image_record
from flmm.shapes.world.drawing import outline
from flmm.shapes.world.expressions import sample_expressions
from flmm.shapes.world.photographs import ROUND, THING_IDS, Photograph, box_of, write_zip
from flmm.shapes.world.scenes import Thing

_MOST_REFS = 4
_SAME = 0.95  # IoU of a polygon with the visible pixels, above which it stands for them


def write_refcoco(path: Path, splits: dict[str, Sequence[Photograph]]) -> None:
    """`refcoco.zip` with `refcoco/refs(unc).p` and `refcoco/instances.json`."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    refs: list[dict[str, Any]] = []
    sentence_id = 0
    for split, photographs in splits.items():
        for photograph in photographs:
            file_name = f"COCO_train2014_{photograph.number:012d}.jpg"
            images.append(image_record(photograph, file_name))
            first = len(annotations) + 1
            annotations += [
                annotation(thing, first + i, photograph.number)
                for i, thing in enumerate(photograph.scene.things)
            ]
            for index, sentences in referred(photograph, split):
                ids = list(range(sentence_id, sentence_id + len(sentences)))
                sentence_id += len(sentences)
                refs.append(_ref(len(refs), photograph, split, first + index, index, ids, sentences))
    instances = {
        "info": {"description": "shapes mirror, instances", "version": "1.0"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i, "name": n, "supercategory": n.split()[1]} for n, i in THING_IDS.items()],
    }
    members = [("refcoco/refs(unc).p", pickle.dumps(refs, protocol=2))]
    write_zip(path, [*members, ("refcoco/instances.json", json.dumps(instances).encode())])


def referred(photograph: Photograph, split: str) -> list[tuple[int, list[str]]]:
    """Up to four things of the split's kind, each with about three sentences that fit it alone."""
    rng = photograph.words("refcoco")
    things = photograph.scene.things
    wanted = [
        i
        for i in range(len(things))
        if split[:4] != "test" or (things[i].shape in ROUND) == (split == "testA")
    ]
    rng.shuffle(wanted)
    found = []
    for index in wanted[:_MOST_REFS]:
        sentences = [
            e.text for e in sample_expressions(photograph.scene, index, rng, rng.choice((2, 3, 3, 4)))
        ]
        if sentences:
            found.append((index, sentences))
    return found


def _ref(
    ref_id: int,
    photograph: Photograph,
    split: str,
    ann_id: int,
    index: int,
    ids: list[int],
    sentences: list[str],
) -> dict[str, Any]:
    return {
        "ref_id": ref_id,
        "ann_id": ann_id,
        "category_id": THING_IDS[photograph.scene.things[index].name],
        "image_id": photograph.number,
        "file_name": f"COCO_train2014_{photograph.number:012d}_{ann_id}.jpg",
        "split": split,
        "sent_ids": ids,
        "sentences": [
            {"tokens": text.split(), "raw": text, "sent_id": i, "sent": text}
            for i, text in zip(ids, sentences, strict=True)
        ],
    }


def annotation(thing: Thing, ann_id: int, image_id: int) -> dict[str, Any]:
    """COCO's instance: a polygon where one tells the visible pixels, else run lengths."""
    return {
        "id": ann_id,
        "image_id": image_id,
        "category_id": THING_IDS[thing.name],
        "segmentation": polygon(thing) or run_lengths(thing.mask),
        "area": int(thing.mask.sum()),
        "bbox": box_of(thing.mask),
        "iscrowd": 0,
    }


def polygon(thing: Thing) -> list[list[float]] | None:
    """COCO's polygon of a thing whose outline tells its visible pixels; else None."""
    corners = outline(thing.shape, thing.cx, thing.cy, thing.radius, thing.angle)
    if corners is None:
        return None
    height, width = thing.mask.shape
    points = [round(value, 2) for corner in corners for value in corner]
    drawn = rle.decode(rle.merge(rle.frPyObjects([points], height, width))).astype(bool)
    same = (drawn & thing.mask).sum() / (drawn | thing.mask).sum()
    return [points] if same >= _SAME else None


def run_lengths(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A mask (H, W) as COCO's compressed run lengths."""
    encoded = rle.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(v) for v in encoded["size"]], "counts": encoded["counts"].decode("ascii")}
