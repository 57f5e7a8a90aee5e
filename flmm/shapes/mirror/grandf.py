"""The mirror's GranD-f: photographs of their own, each with a caption, its phrases and their masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flmm.files import write_text
from flmm.shapes.mirror.refcoco import run_lengths
from flmm.shapes.world.narratives import Piece, narrative
from flmm.shapes.world.photographs import Photograph, box_of, write_zip
from flmm.shapes.world.scenes import Scene, scene_seed

_FOLDER = "GranDf_HA_images"
_CATEGORIES = [{"id": 1, "name": "object"}]  # upstream counts without classes


def write_grandf(out: Path, images: int, seed: int) -> None:
    """``val_gcg_coco_caption_gt.json``, ``val_gcg_coco_mask_gt.json`` and ``GranDf_HA_images.zip`` in ``out``."""
    captions: list[dict[str, Any]] = []
    masks: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    pictures = []
    for number in range(images):
        photograph = Photograph(0, scene_seed("mirror-grandf", seed, number))
        scene, name = photograph.scene, f"shapes_{number:06d}"
        pictures.append((f"{_FOLDER}/val_test/{name}.jpg", photograph.jpeg))
        pieces = narrative(scene, photograph.words("narrative"))
        phrases = [piece for piece in pieces if piece.is_phrase]
        # Upstream's images carry their size, their captions none.
        records.append({"id": name, "file_name": f"{name}.jpg", "height": scene.height, "width": scene.width})
        captions.append(
            {
                "id": number + 1,
                "image_id": name,
                "caption": " ".join(piece.text for piece in pieces),
                "labels": [piece.text for piece in phrases],
            }
        )
        masks += [_annotation(scene, piece, name, len(masks) + 1 + i) for i, piece in enumerate(phrases)]
    images_only = [{"id": record["id"]} for record in records]
    caption_file = {"info": {}, "licenses": [], "images": images_only, "annotations": captions}
    mask_file = {
        "info": {}, "licenses": [], "images": records, "annotations": masks, "categories": _CATEGORIES,
    }  # fmt: skip
    write_text(out / "val_gcg_coco_caption_gt.json", json.dumps(caption_file))
    write_text(out / "val_gcg_coco_mask_gt.json", json.dumps(mask_file))
    write_zip(out / f"{_FOLDER}.zip", pictures)


def _annotation(scene: Scene, piece: Piece, image: str, number: int) -> dict[str, Any]:
    mask = _mask(scene, piece)
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "segmentation": run_lengths(mask),
        "area": int(mask.sum()),
        "bbox": box_of(mask),
        "iscrowd": 0,
    }


def _mask(scene: Scene, piece: Piece) -> NDArray[np.bool_]:
    """All that a phrase names (H, W)."""
    named = [scene.things[i].mask for i in piece.things] + [scene.stuff[i].mask for i in piece.stuff]
    found: NDArray[np.bool_] = np.logical_or.reduce(named)
    return found
