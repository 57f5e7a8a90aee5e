"""The mirror's photographs: numbered scenes, their roles in the data sets, and their files' bytes."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from flmm.files import atomic_path
from flmm.shapes.world.drawing import SHAPES
from flmm.shapes.world.scenes import COLOURS, TEXTURES, Scene, make_scene, scene_seed

JPEG_QUALITY = 95
ROUND = ("circle", "ring")
_HIGHEST_ID = 581_929  # COCO's
_FIRST_STUFF = 201
THING_IDS = {f"{c} {s}": i for i, (c, s) in enumerate(((c, s) for s in SHAPES for c in COLOURS), start=1)}
STUFF_IDS = {name: _FIRST_STUFF + i for i, name in enumerate(TEXTURES)}


@dataclass(frozen=True)
class Photograph:
    """A scene under a COCO number."""

    number: int
    seed: int

    @cached_property
    def scene(self) -> Scene:
        """The picture and what is in it."""
        return make_scene(self.seed)

    @cached_property
    def jpeg(self) -> bytes:
        """The JPEG file."""
        stream = io.BytesIO()
        Image.fromarray(self.scene.image).save(stream, "JPEG", quality=JPEG_QUALITY, subsampling=0)
        return stream.getvalue()

    @cached_property
    def segment_ids(self) -> tuple[int, ...]:
        """Panoptic ids (R + 256 G + 65536 B) of the things, then of the regions."""
        count = len(self.scene.things) + len(self.scene.stuff)
        return tuple(random.Random(self.seed ^ 2).sample(range(1, 256**3), count))

    def words(self, purpose: str) -> random.Random:
        """A generator for one kind of text about this picture."""
        return random.Random(f"{self.seed}/{purpose}")


@dataclass(frozen=True)
class Population:
    """Who is in which split.

    RefCOCO's images, evaluation ones too, are train2014 images; `shared` evaluation images are in train2017
    as well, as in the real data, where PNG's training images include RefCOCO's test images. PNG's
    validation images are val2017 images and val2014 images under the same number.
    """

    train: tuple[Photograph, ...]
    refcoco: dict[str, tuple[Photograph, ...]]
    shared: tuple[Photograph, ...]
    val: tuple[Photograph, ...]

    @property
    def train2014(self) -> tuple[Photograph, ...]:
        """Every RefCOCO image."""
        return self.train + tuple(p for split in self.refcoco.values() for p in split)

    @property
    def train2017(self) -> tuple[Photograph, ...]:
        """Every PNG training image."""
        return self.train[: max(1, len(self.train) - len(self.shared))] + self.shared


def populate(train_images: int, evaluation_images: int, seed: int) -> Population:
    """The splits: RefCOCO val, testA, testB and PNG val take 30, 15, 15 and 40 % of the evaluation images.

    testA refers to round shapes and testB to the others, as RefCOCO's refer to people and to other things.
    """
    numbers = random.Random(scene_seed("mirror-numbers", seed, 0)).sample(
        range(1, _HIGHEST_ID), train_images + evaluation_images
    )
    sizes = {"val": round(0.3 * evaluation_images), "testA": round(0.15 * evaluation_images)}
    sizes["testB"] = sizes["testA"]
    used = 0

    def take(stream: str, count: int, accept: tuple[bool, bool] = (False, False)) -> tuple[Photograph, ...]:
        nonlocal used
        found: list[Photograph] = []
        index = 0
        while len(found) < count:
            photograph = Photograph(numbers[used], scene_seed(f"mirror-{stream}", seed, index))
            index += 1
            round_things = sum(t.shape in ROUND for t in photograph.scene.things)
            if (accept[0] and round_things < 2) or (
                accept[1] and len(photograph.scene.things) - round_things < 2
            ):
                continue
            found.append(photograph)
            used += 1
        return tuple(found)

    train = take("train", train_images)
    refcoco = {
        split: take(split, size, (split == "testA", split == "testB")) for split, size in sizes.items()
    }
    val = take("png-val", evaluation_images - sum(sizes.values()))
    everyone = [p for split in refcoco.values() for p in split]
    # 3 % of the training images, a quarter of RefCOCO's evaluation images at most.
    shared = everyone[:: max(1, len(everyone) // max(1, min(round(0.03 * train_images), len(everyone) // 4)))]
    return Population(
        train, refcoco, tuple(shared[: max(1, min(round(0.03 * train_images), len(everyone) // 4))]), val
    )


def write_zip(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write a whole zip, stored, with fixed times: the same members give the same bytes."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members:
            archive.writestr(_member(name), content)


def zip_bytes(members: Iterable[tuple[str, bytes]]) -> bytes:
    """The same as a byte string, for a zip within a zip."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members:
            archive.writestr(_member(name), content)
    return stream.getvalue()


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, date_time=(2017, 9, 1, 0, 0, 0))
    info.external_attr = 0o644 << 16
    return info


def box_of(mask: NDArray[np.bool_]) -> list[int]:
    """COCO's box [x, y, width, height] around a mask's pixels."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x, y = int(columns[0]), int(rows[0])
    return [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y]
