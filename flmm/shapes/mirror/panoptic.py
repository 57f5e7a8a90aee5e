"""The mirror's COCO panoptic annotations and the narratives grounded in them (PNG)."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from flmm.shapes.world.narratives import narrative
from flmm.shapes.world.photographs import STUFF_IDS, THING_IDS, Photograph, box_of, write_zip, zip_bytes


def write_panoptic(path: Path, splits: dict[str, Sequence[Photograph]]) -> None:
    """`panoptic_annotations_trainval2017.zip`: a JSON and a nested zip of PNGs per split ("train2017",
    "val2017").
    """
    members = []
    for split, photographs in splits.items():
        name = f"panoptic_{split}"
        pngs = [(f"{name}/{p.number:012d}.png", panoptic_png(p)) for p in photographs]
        members.append((f"annotations/{name}.json", json.dumps(panoptic_json(photographs)).encode()))
        members.append((f"annotations/{name}.zip", zip_bytes(pngs)))
    write_zip(path, members)


def panoptic_png(photograph: Photograph) -> bytes:
    """The segment ids as an RGB picture."""
    scene = photograph.scene
    ids = np.zeros((scene.height, scene.width), dtype=np.uint32)
    masks = [t.mask for t in scene.things] + [r.mask for r in scene.stuff]
    for mask, segment in zip(masks, photograph.segment_ids, strict=True):
        ids[mask] = segment
    colours = np.stack([ids & 255, ids >> 8 & 255, ids >> 16 & 255], axis=-1).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(colours).save(stream, "PNG")
    return stream.getvalue()


def panoptic_json(photographs: Sequence[Photograph]) -> dict[str, Any]:
    """COCO's panoptic JSON."""
    things = [
        {"id": i, "name": name, "supercategory": name.split()[1], "isthing": 1}
        for name, i in THING_IDS.items()
    ]
    stuff = [
        {"id": i, "name": name, "supercategory": "outdoor", "isthing": 0} for name, i in STUFF_IDS.items()
    ]
    return {
        "info": {"description": "shapes mirror, panoptic", "version": "1.0"},
        "licenses": [],
        "images": [image_record(p, f"{p.number:012d}.jpg") for p in photographs],
        "annotations": [_annotation(p) for p in photographs],
        "categories": things + stuff,
    }


def image_record(photograph: Photograph, file_name: str) -> dict[str, Any]:
    """COCO's image entry."""
    scene = photograph.scene
    return {"id": photograph.number, "file_name": file_name, "height": scene.height, "width": scene.width}


def _annotation(photograph: Photograph) -> dict[str, Any]:
    scene = photograph.scene
    named = [(t.mask, THING_IDS[t.name]) for t in scene.things] + [
        (r.mask, STUFF_IDS[r.name]) for r in scene.stuff
    ]
    segments = [
        {"id": segment, "category_id": category, "area": int(mask.sum()), "bbox": box_of(mask), "iscrowd": 0}
        for (mask, category), segment in zip(named, photograph.segment_ids, strict=True)
    ]
    return {
        "image_id": photograph.number,
        "file_name": f"{photograph.number:012d}.png",
        "segments_info": segments,
    }


def narratives_json(photographs: Sequence[Photograph]) -> list[dict[str, Any]]:
    """PNG's JSON: one narrative an image, its utterances tied to segment ids (strings)."""
    found = []
    for photograph in photographs:
        things = len(photograph.scene.things)
        segments: list[dict[str, Any]] = []
        for piece in narrative(photograph.scene, photograph.words("narrative")):
            indices = [*piece.things, *(things + i for i in piece.stuff)]
            segments.append(
                {
                    "utterance": piece.text,
                    "segment_ids": [str(photograph.segment_ids[i]) for i in indices],
                    "plural": piece.plural,
                    "noun": piece.is_phrase,
                }
            )
        found.append(
            {
                "image_id": str(photograph.number),
                "annotator_id": 0,
                "caption": " ".join(s["utterance"] for s in segments),
                "segments": segments,
            }
        )
    return found
