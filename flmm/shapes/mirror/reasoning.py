"""Questions that name no region and are answered by one: the mirror's ReasonSeg, and what Visual-CoT takes too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flmm.shapes.mirror.refcoco import polygon
from flmm.shapes.world.drawing import Point, outline
from flmm.shapes.world.photographs import Photograph, write_zip
from flmm.shapes.world.questions import colour_question, shape_question, texture_question
from flmm.shapes.world.scenes import Scene, Thing, scene_seed


@dataclass(frozen=True)
class Asked:
    """A question about a picture, its answer, and the answer's pixels (H, W) with their polygons."""

    photograph: Photograph
    question: str
    answer: str
    mask: NDArray[np.bool_]
    target: list[Point]
    ignored: list[list[Point]]


def write_reasonseg(path: Path, questions: int, seed: int) -> None:
    """``ReasonSeg_val.zip``: ``val/<number>.jpg`` and its labelme-like JSON."""
    members: list[tuple[str, bytes]] = []
    for number, asked in enumerate(asked_about("mirror-reasonseg", questions, seed)):
        shapes = [_shape("target", asked.target), *(_shape("ignore", points) for points in asked.ignored)]
        annotation = {"text": [asked.question], "is_sentence": True, "shapes": shapes}
        members += [
            (f"val/{number:06d}.jpg", asked.photograph.jpeg),
            (f"val/{number:06d}.json", json.dumps(annotation).encode()),
        ]
    write_zip(path, members)


def asked_about(stream: str, count: int, seed: int) -> Iterator[Asked]:
    """``count`` questions, each on a picture of its own; a third about textures."""
    index = found = 0
    while found < count:
        photograph = Photograph(0, scene_seed(stream, seed, index))
        asked = (
            _about_stuff(photograph) if found % 3 == 2 else _about_thing(photograph, by_colour=found % 3 == 1)
        )
        index += 1
        if asked is not None:
            found += 1
            yield asked


def _about_thing(photograph: Photograph, by_colour: bool) -> Asked | None:
    """A thing told by its colour alone (asked for its shape) or by its shape alone, hardly hidden."""
    things = photograph.scene.things
    names = [thing.colour if by_colour else thing.shape for thing in things]
    pool = [thing for thing, name in zip(things, names, strict=True) if names.count(name) == 1]
    photograph.words("reasoning").shuffle(pool)
    for thing in pool:
        flat = polygon(thing)
        if flat:
            corners = list(zip(flat[0][::2], flat[0][1::2], strict=True))
            question = shape_question(thing.colour) if by_colour else colour_question(thing.shape)
            answer = thing.shape if by_colour else thing.colour
            return Asked(photograph, question, answer, thing.mask, corners, [])
    return None


def _about_stuff(photograph: Photograph) -> Asked | None:
    """The texture at the top or at the bottom; the things on it do not count."""
    scene = photograph.scene
    regions = [region for region in scene.stuff if region.place in ("top", "bottom")]
    if not regions:
        return None
    region = photograph.words("reasoning").choice(regions)
    ignored = [_silhouette(thing) for thing in scene.things]
    return Asked(
        photograph,
        texture_question(region.place),
        region.name,
        region.mask,
        _band(scene, region.mask),
        ignored,
    )


def _silhouette(thing: Thing) -> list[Point]:
    """The whole outline, a ring's without its hole."""
    shape = "circle" if thing.shape == "ring" else thing.shape
    return outline(shape, thing.cx, thing.cy, thing.radius, thing.angle) or []


def _band(scene: Scene, mask: NDArray[np.bool_]) -> list[Point]:
    """The polygon between a band's upper and lower edge, columns that things hide left out."""
    columns = np.flatnonzero(mask.any(axis=0))
    tops = mask.argmax(axis=0)
    bottoms = scene.height - 1 - mask[::-1].argmax(axis=0)
    upper = [(float(x), float(tops[x])) for x in columns]
    lower = [(float(x), float(bottoms[x])) for x in columns[::-1]]
    return upper + lower


def _shape(label: str, points: list[Point]) -> dict[str, Any]:
    corners = [[round(x, 2), round(y, 2)] for x, y in points]
    return {"label": label, "labels": [label], "shape_type": "polygon", "points": corners}
