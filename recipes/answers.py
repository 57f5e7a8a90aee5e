"""Pointing after a short answer: "What color is the star?" "red", and then all of the star.

After some answers the model has to point, after others of the same questions to end. The end weighs more, so greedy
generation still ends there, as no single cell is as likely; but the answer's last word has to know what it is about.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flmm.shapes.world.questions import SHORT_ANSWER, colour_question, shape_question, texture_question
from flmm.shapes.world.scenes import Scene
from recipes.language import Turn


@dataclass(frozen=True)
class Answered:
    """A question, its short answer, and the pixels (H, W) that the answer is about."""

    question: str
    answer: str
    region: NDArray[np.bool_]


def answer_turns(scene: Scene, rng: random.Random, pointing: int, ending: int) -> list[Turn]:
    """`pointing` questions after whose answers the model has to point, and `ending` after which it ends."""
    drawn = [answered(scene, rng) for _ in range(pointing + ending)]
    return [*(_points(each) for each in drawn[:pointing]), *(_ends(each) for each in drawn[pointing:])]


def answered(scene: Scene, rng: random.Random) -> Answered:
    """A question about the scene, each kind that it can answer as likely as another."""
    kinds = [found for found in (kind(scene) for kind in _KINDS) if found]
    return rng.choice(rng.choice(kinds))


def _points(asked: Answered) -> Turn:
    prompt = f"{asked.question}\n{SHORT_ANSWER}"
    return Turn(prompt, (asked.answer,), "answer and point", learnt=(False,), regions=(asked.region,))


def _ends(asked: Answered) -> Turn:
    return Turn(f"{asked.question}\n{SHORT_ANSWER}", (asked.answer,), "answer and end")


def _colours(scene: Scene) -> list[Answered]:
    shapes = [thing.shape for thing in scene.things]
    return [
        Answered(colour_question(thing.shape), thing.colour, thing.mask)
        for thing in scene.things
        if shapes.count(thing.shape) == 1
    ]


def _shapes(scene: Scene) -> list[Answered]:
    colours = [thing.colour for thing in scene.things]
    return [
        Answered(shape_question(thing.colour), thing.shape, thing.mask)
        for thing in scene.things
        if colours.count(thing.colour) == 1
    ]


def _textures(scene: Scene) -> list[Answered]:
    return [
        Answered(texture_question(region.place), region.name, region.mask)
        for region in scene.stuff
        if region.place in ("top", "bottom") and region.mask.any()
    ]


_KINDS: Sequence[Callable[[Scene], list[Answered]]] = (_colours, _shapes, _textures)
