"""The mirror's Visual-CoT: a split of plain questions, and one of small details that need a second look."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flmm.files import write_text
from flmm.shapes.mirror.reasoning import Asked
from flmm.shapes.world.drawing import SHAPES, draw_shape
from flmm.shapes.world.photographs import Photograph, box_of, write_zip
from flmm.shapes.world.questions import colour_question
from flmm.shapes.world.scenes import COLOURS, Scene, Thing, scene_seed

_REQUEST = (
    "Please provide the bounding box coordinate of the region that can help you answer the question better."
)
MARK_RADIUS = 4.0  # pixels: smaller than what one image token of the shapes suite's LMMs stands for
_CLEAR = 6.0  # pixels around a mark's centre that have to belong to the thing
_MARKS = tuple(shape for shape in SHAPES if shape != "ring")  # of this size a ring is a blot


@dataclass(frozen=True)
class MarkedPhotograph(Photograph):
    """A photograph with a mark painted on one of its things."""

    marked: Scene

    @cached_property
    def scene(self) -> Scene:
        return self.marked


def write_viscot(out: Path, splits: Mapping[str, Iterable[Asked]]) -> None:
    """``viscot_<split>.json`` of each split, and ``cot.zip`` with the photographs of all."""
    pictures = []
    for split, questions in splits.items():
        entries = []
        for number, asked in enumerate(questions):
            name = f"cot/{split}/{number:06d}.jpg"
            pictures.append((name, asked.photograph.jpeg))
            entries.append(_entry(number, name, asked))
        write_text(out / f"viscot_{split}.json", json.dumps(entries))
    write_zip(out / "cot.zip", pictures)


def details(stream: str, count: int, seed: int) -> Iterator[Asked]:
    """``count`` questions about the colour of a mark on a thing, each on a picture of its own.

    The mark is the only thing of its shape, so that the question is one that the shapes suite's LMMs know. The region
    that helps is what the mark is on: it can be seen at the grid's resolution, and the mark cannot.
    """
    index = found = 0
    while found < count:
        asked = _about_mark(Photograph(0, scene_seed(stream, seed, index)))
        index += 1
        if asked is not None:
            found += 1
            yield asked


@dataclass(frozen=True)
class Marked:
    """A scene with a mark of another ``colour`` and ``shape`` painted on the middle of a ``thing``."""

    scene: Scene
    thing: Thing
    shape: str
    colour: str


def marked(scene: Scene, words: Random) -> Marked | None:
    """A mark on a thing of its own name, the only one of its shape; None where the scene has no room for one."""
    names = [thing.name for thing in scene.things]
    pool = [thing for thing in scene.things if names.count(thing.name) == 1 and _has_room(thing)]
    absent = [shape for shape in _MARKS if shape not in {thing.shape for thing in scene.things}]
    if not pool or not absent:
        return None
    thing, shape = words.choice(pool), words.choice(absent)
    colour = words.choice([name for name in COLOURS if name != thing.colour])
    image = _painted(scene.image, thing, shape, colour)
    return Marked(replace(scene, image=image), thing, shape, colour)


def _about_mark(photograph: Photograph) -> Asked | None:
    mark = marked(photograph.scene, photograph.words("details"))
    if mark is None:
        return None
    shown = MarkedPhotograph(photograph.number, photograph.seed, mark.scene)
    return Asked(shown, colour_question(mark.shape), mark.colour, mark.thing.mask, [], [])


def _has_room(thing: Thing) -> bool:
    """Whether the thing's middle is there and nothing hides it."""
    height, width = thing.mask.shape
    window, alpha = draw_shape("circle", thing.cx, thing.cy, _CLEAR, 0.0, height, width)
    return bool(thing.mask[window][alpha > 0].all())


def _painted(image: NDArray[np.uint8], thing: Thing, shape: str, colour: str) -> NDArray[np.uint8]:
    height, width = thing.mask.shape
    window, alpha = draw_shape(shape, thing.cx, thing.cy, MARK_RADIUS, 0.0, height, width)
    painted = image.astype(np.float32)
    painted[window] += alpha[:, :, None] * (np.array(COLOURS[colour], dtype=np.float32) - painted[window])
    return painted.clip(0, 255).astype(np.uint8)


def _entry(number: int, name: str, asked: Asked) -> dict[str, Any]:
    """The benchmark's record; upstream's second turn holds the box in a centred square, in shares of its side."""
    x, y, width, height = box_of(asked.mask)
    box = [x, y, x + width, y + height]
    rows, columns = asked.mask.shape
    side = max(rows, columns)
    left, top = (side - columns) // 2, (side - rows) // 2
    shares = [(box[0] + left) / side, (box[1] + top) / side, (box[2] + left) / side, (box[3] + top) / side]
    turns = [
        ("human", f"<image>\n{asked.question} {_REQUEST}"),
        ("gpt", f"[{', '.join(f'{share:.3f}' for share in shares)}]"),
        ("human", "<image>"),
        ("gpt", asked.answer),
    ]
    return {
        "dataset": "shapes",
        "split": "val",
        "question_id": number,
        "image": [name, f"{name}###{box}"],
        "conversations": [{"from": who, "value": value} for who, value in turns],
    }
