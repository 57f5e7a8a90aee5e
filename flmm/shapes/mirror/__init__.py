"""The mirror of the shapes suite: every file that the pipeline downloads, in its upstream format.

The same arguments give the same bytes. Scenes are never those that the shipped models were trained on.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from flmm.errors import InputError
from flmm.files import write_text
from flmm.shapes.mirror.grandf import write_grandf
from flmm.shapes.mirror.panoptic import narratives_json, write_panoptic
from flmm.shapes.mirror.questions import mmbench_tsv, pope_lines
from flmm.shapes.mirror.reasoning import asked_about, write_reasonseg
from flmm.shapes.mirror.refcoco import write_refcoco
from flmm.shapes.mirror.viscot import details, write_viscot
from flmm.shapes.world.photographs import Photograph, populate, write_zip

# Questions on pictures of their own, as shares of the evaluation images; Visual-CoT's twice, for its two splits.
_MMBENCH_SHARE, _REASONSEG_SHARE, _VISCOT_SHARE, _GRANDF_SHARE = 0.3, 0.25, 0.15, 0.15
FEWEST_EVALUATION_IMAGES = 20


def generate(
    out: Path, *, train_images: int = 2000, evaluation_images: int = 400, seed: int
) -> dict[str, int]:
    """Write the mirror into the directory `out`; returns the number of images or questions per file.

    Raises:
        InputError: fewer images than the splits need.
    """
    if train_images < 1 or evaluation_images < FEWEST_EVALUATION_IMAGES:
        raise InputError(
            f"generate: at least 1 training and {FEWEST_EVALUATION_IMAGES} evaluation images are needed "
            f"(train_images {train_images}, evaluation_images {evaluation_images})"
        )
    everyone = populate(train_images, evaluation_images, seed)
    train2014 = sorted(everyone.train2014, key=lambda p: p.number)
    train2017 = sorted(everyone.train2017, key=lambda p: p.number)
    val = sorted(everyone.val, key=lambda p: p.number)
    _write_images(out, "train2014", "COCO_train2014_", train2014)
    _write_images(out, "train2017", "", train2017)
    _write_images(out, "val2017", "", val)
    _write_images(out, "val2014", "COCO_val2014_", val)
    write_panoptic(out / "panoptic_annotations_trainval2017.zip", {"train2017": train2017, "val2017": val})
    write_refcoco(out / "refcoco.zip", {"train": everyone.train, **everyone.refcoco})
    write_text(out / "png_coco_train2017.json", json.dumps(narratives_json(train2017)))
    write_text(out / "png_coco_val2017.json", json.dumps(narratives_json(val)))
    pope = pope_lines(val)
    for split, lines in pope.items():
        write_text(out / f"coco_pope_{split}.json", lines)
    questions = round(_MMBENCH_SHARE * evaluation_images)
    write_text(out / "MMBench_DEV_EN.tsv", mmbench_tsv(questions, seed))
    reasonseg, viscot = round(_REASONSEG_SHARE * evaluation_images), round(_VISCOT_SHARE * evaluation_images)
    write_reasonseg(out / "ReasonSeg_val.zip", reasonseg, seed)
    plain, small = asked_about("mirror-viscot", viscot, seed), details("mirror-details", viscot, seed)
    write_viscot(out, {"shapes": plain, "details": small})
    described = round(_GRANDF_SHARE * evaluation_images)
    write_grandf(out, described, seed)
    return {
        "train2014": len(train2014),
        "train2017": len(train2017),
        "val2017": len(val),
        "shared": len(everyone.shared),
        "pope": pope["random"].count("\n"),
        "mmbench": questions,
        "reasonseg": reasonseg,
        "viscot": 2 * viscot,
        "grandf": described,
    }


def _write_images(out: Path, folder: str, prefix: str, photographs: Sequence[Photograph]) -> None:
    write_zip(out / f"{folder}.zip", ((f"{folder}/{prefix}{p.number:012d}.jpg", p.jpeg) for p in photographs))
