"""Photographs of COCO's sizes, drawn from the shapes world, and who of them is in which split."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

import numpy as np
from PIL import Image

from flmm.shapes.world.photographs import JPEG_QUALITY, ROUND, Photograph
from flmm.shapes.world.questions import present_categories
from flmm.shapes.world.scenes import Scene, scene_seed

LONGEST = 640  # pixels; the scenes become 640 x 480, 480 x 640, 640 x 533, 533 x 640 or 640 x 640
_CATEGORIES = 3  # POPE asks about photographs with three categories or more
_FIRST_NUMBER = 1009  # COCO's ids have gaps
_STEP = 7919


@dataclass(frozen=True)
class LargePhotograph(Photograph):
    """A scene enlarged to COCO's size; ``grey``: its file has one channel, as some of COCO's."""

    grey: bool = False

    @cached_property
    def scene(self) -> Scene:
        return enlarged(Photograph(self.number, self.seed).scene)

    @cached_property
    def jpeg(self) -> bytes:
        image, stream = Image.fromarray(self.scene.image), io.BytesIO()
        (image.convert("L") if self.grey else image).save(stream, "JPEG", quality=JPEG_QUALITY)
        return stream.getvalue()


def factor(scene: Scene) -> float:
    """How many times longer the sides of the enlarged scene are."""
    return LONGEST / max(scene.height, scene.width)


def enlarged(scene: Scene) -> Scene:
    """The same scene with its longer side of 640 pixels."""
    times = factor(scene)
    height, width = round(scene.height * times), round(scene.width * times)
    pixels = np.ix_(np.arange(height) * scene.height // height, np.arange(width) * scene.width // width)
    image = Image.fromarray(scene.image).resize((width, height), Image.Resampling.BICUBIC)
    things = tuple(
        replace(thing, cx=thing.cx * times, cy=thing.cy * times, radius=thing.radius * times,
                mask=thing.mask[pixels])
        for thing in scene.things
    )  # fmt: skip
    stuff = tuple(replace(region, mask=region.mask[pixels]) for region in scene.stuff)
    return replace(scene, image=np.asarray(image), things=things, stuff=stuff)


def photographs(stream: str, seed: int) -> Iterator[LargePhotograph]:
    """Photographs of which each has enough for every data set: a round thing, another one, three categories."""
    index = number = 0
    while True:
        found = LargePhotograph(
            _FIRST_NUMBER + _STEP * number, scene_seed(f"rehearsal-{stream}", seed, index)
        )
        index += 1
        if _has_enough(found):
            number += 1
            yield found


def _has_enough(photograph: LargePhotograph) -> bool:
    scene = Photograph(0, photograph.seed).scene
    is_round = [thing.shape in ROUND for thing in scene.things]
    return any(is_round) and not all(is_round) and len(present_categories(scene)) >= _CATEGORIES


@dataclass(frozen=True)
class Population:
    """Who is where, as in the real data.

    RefCOCO's photographs are of train2014, those of its evaluation splits too, and one of these is in train2017 as
    well. PNG's and POPE's are of val2017 and, under the same number, of val2014.
    """

    train: tuple[LargePhotograph, ...]
    evaluation: tuple[LargePhotograph, ...]
    val: tuple[LargePhotograph, ...]

    @property
    def train2014(self) -> tuple[LargePhotograph, ...]:
        """Every photograph of RefCOCO, RefCOCO+ and RefCOCOg."""
        return self.train + self.evaluation

    @property
    def train2017(self) -> tuple[LargePhotograph, ...]:
        """Every photograph of PNG's training."""
        return (self.train[0], self.evaluation[0])

    def refcoco(self, split: str) -> tuple[LargePhotograph, ...]:
        """Those of a split of RefCOCO, RefCOCO+ or RefCOCOg."""
        place = {"val": 0, "testA": 1, "testB": 2, "test": 2}
        return self.train if split == "train" else (self.evaluation[place[split]],)

    def png(self, split: str) -> tuple[LargePhotograph, ...]:
        """Those of a split of PNG."""
        return self.train2017 if split == "train" else self.val


def populate(seed: int) -> Population:
    """As few photographs as every split can do with: SAM sees each of them."""
    train, *evaluation, val = islice(photographs("coco", seed), 5)
    return Population((train,), tuple(evaluation), (replace(val, grey=True),))
