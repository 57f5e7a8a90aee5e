"""A mirror of every source of the paper's suite: upstream layouts and names, few samples each."""

from __future__ import annotations

import csv
import io
import json
import tempfile
import zipfile
from base64 import b64encode
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from flmm.data import grandf as grandf_files
from flmm.data.mmbench import file_of
from flmm.errors import InputError
from flmm.files import write_text
from flmm.params import Dataset, Suite
from flmm.shapes.mirror.panoptic import narratives_json, write_panoptic
from flmm.shapes.mirror.questions import ROTATION_STEP, pope_lines
from flmm.shapes.mirror.reasoning import asked_about
from flmm.shapes.mirror.refcoco import run_lengths, write_refcoco
from flmm.shapes.world.narratives import Piece, narrative
from flmm.shapes.world.photographs import box_of, write_zip
from flmm.shapes.world.questions import LETTERS, multiple_choice
from flmm.shapes.world.scenes import Scene
from rehearsal.photographs import LargePhotograph, Population, factor, photographs, populate

_COLUMNS = ("index", "question", "hint", *LETTERS, "answer", "category", "image", "source", "split")
Writer = Callable[[Path, str, Dataset, Population, int], None]


def write_mirror(out: Path, suite: Suite, seed: int) -> None:
    """Write into the directory ``out`` every source of ``suite`` but the segmenter.

    Raises:
        InputError: the suite has a reader or a source that is not known here, or lacks one that is written.
    """
    people = populate(seed)
    _photographs(out, people)
    write_panoptic(
        out / "panoptic_annotations_trainval2017.zip", {"train2017": people.train2017, "val2017": people.val}
    )
    for name, dataset in suite.datasets.items():
        if dataset.reader not in _WRITERS:
            raise InputError(
                f"rehearsal: nobody writes files for the reader {dataset.reader} (rehearsal/mirror.py)"
            )
        _WRITERS[dataset.reader](out, name, dataset, people, seed)
    written, wanted = {path.name for path in out.iterdir()}, {*suite.sources} - {suite.segmenter.checkpoint}
    if different := sorted(written - wanted) + sorted(wanted - written):
        raise InputError(
            f"rehearsal: params.yaml's sources and what rehearsal/mirror.py writes differ by {', '.join(different)}"
        )


def _photographs(out: Path, people: Population) -> None:
    archives = {
        "train2014": ("COCO_train2014_", people.train2014),
        "train2017": ("", people.train2017),
        "val2017": ("", people.val),
        "val2014": ("COCO_val2014_", people.val),
    }
    for folder, (prefix, members) in archives.items():
        names = ((f"{folder}/{prefix}{one.number:012d}.jpg", one.jpeg) for one in members)
        write_zip(out / f"{folder}.zip", names)


def _refcoco(out: Path, name: str, dataset: Dataset, people: Population, seed: int) -> None:
    """REFER's zip: ``<name>/refs(<author>).p`` and ``<name>/instances.json``."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "refcoco.zip"
        write_refcoco(file, {split: people.refcoco(split) for split in dataset.splits})
        with zipfile.ZipFile(file) as archive:
            refs, instances = map(archive.read, archive.namelist())
    write_zip(out / f"{name}.zip", [(f"{name}/{dataset.refs}", refs), (f"{name}/instances.json", instances)])


def _png(out: Path, name: str, dataset: Dataset, people: Population, seed: int) -> None:
    for split in dataset.splits:
        write_text(out / f"png_coco_{split}2017.json", json.dumps(narratives_json(people.png(split))))


def _pope(out: Path, name: str, dataset: Dataset, people: Population, seed: int) -> None:
    for split, lines in pope_lines(people.val).items():
        write_text(out / f"coco_pope_{split}.json", lines)


def _reasonseg(out: Path, name: str, dataset: Dataset, people: Population, seed: int) -> None:
    """``<split>/<number>.jpg`` with its labelme-like JSON."""
    for split in dataset.splits:
        (asked,) = asked_about(f"rehearsal-reasonseg-{split}", 1, seed)
        times = factor(asked.photograph.scene)
        outlines = [("target", asked.target), *(("ignore", corners) for corners in asked.ignored)]
        shapes = [
            {"label": label, "labels": [label], "shape_type": "polygon",
             "points": [[round(x * times, 2), round(y * times, 2)] for x, y in corners]}
            for label, corners in outlines
        ]  # fmt: skip
        annotation = {"text": [asked.question], "is_sentence": True, "shapes": shapes}
        jpeg = LargePhotograph(0, asked.photograph.seed).jpeg
        members = [(f"{split}/1.jpg", jpeg), (f"{split}/1.json", json.dumps(annotation).encode())]
        write_zip(out / f"ReasonSeg_{split}.zip", members)


def _mmbench(out: Path, name: str, dataset: Dataset, people: Population, seed: int) -> None:
    """A question in all rotations of its options; the later ones name the first one's picture."""
    for split in dataset.splits:
        (photograph,) = islice(photographs(split, seed), 1)
        choice, stream = multiple_choice(photograph.scene, photograph.words("mmbench")), io.StringIO()
        table = csv.DictWriter(stream, _COLUMNS, delimiter="\t", lineterminator="\n", restval="")
        table.writeheader()
        for rotation in range(len(choice.options)):
            turned = choice.rotated(rotation)
            row = {"index": 241 + rotation * ROTATION_STEP, "question": turned.question}
            row |= dict(zip(LETTERS, turned.options, strict=False))
            row |= {"answer": turned.letter, "category": turned.category, "source": "shapes", "split": "dev"}
            table.writerow(row | {"image": "241" if rotation else b64encode(photograph.jpeg).decode()})
        write_text(out / file_of(split), stream.getvalue())


def _grandf(out: Path, name: str, dataset: Dataset, people: Population, seed: int) -> None:
    """A caption with its phrases, a mask per phrase, and the photographs of all splits in one zip."""
    pictures = []
    for split in dataset.splits:
        (photograph,) = islice(photographs(f"grandf-{split}", seed), 1)
        scene, image = photograph.scene, f"{split}_1"
        pieces = narrative(scene, photograph.words("narrative"))
        named = [piece for piece in pieces if piece.is_phrase]
        caption = {
            "id": 1, "image_id": image, "caption": " ".join(piece.text for piece in pieces),
            "labels": [piece.text for piece in named],
        }  # fmt: skip
        masks = [_mask(scene, piece, image, number) for number, piece in enumerate(named, start=1)]
        record = {"id": image, "file_name": f"{image}.jpg", "height": scene.height, "width": scene.width}
        said = {"info": {}, "images": [{"id": image}], "annotations": [caption]}
        shown = {
            "info": {},
            "images": [record],
            "annotations": masks,
            "categories": [{"id": 1, "name": "object"}],
        }
        write_text(out / grandf_files.caption_file(split), json.dumps(said))
        write_text(out / grandf_files.mask_file(split), json.dumps(shown))
        pictures.append((f"{grandf_files.PICTURES}/val_test/{image}.jpg", photograph.jpeg))
    write_zip(out / f"{grandf_files.PICTURES}.zip", pictures)


def _mask(scene: Scene, piece: Piece, image: str, number: int) -> dict[str, Any]:
    """GranD-f's annotation of all that a phrase names."""
    named = [scene.things[i].mask for i in piece.things] + [scene.stuff[i].mask for i in piece.stuff]
    mask = np.logical_or.reduce(named)
    return {
        "id": number, "image_id": image, "category_id": 1, "segmentation": run_lengths(mask),
        "area": int(mask.sum()), "bbox": box_of(mask), "iscrowd": 0,
    }  # fmt: skip


_WRITERS: dict[str, Writer] = {
    "refcoco": _refcoco,
    "png": _png,
    "reasonseg": _reasonseg,
    "pope": _pope,
    "mmbench": _mmbench,
    "grandf": _grandf,
}
