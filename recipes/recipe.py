"""What the recipe of the tiny LMMs (`pretrain`) does: its hyper-parameters, and its stages in their order."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from flmm.shapes.world.scenes import Scene
from recipes.corpus import Shown
from recipes.curriculum import (
    location_turns,
    question_turns,
    reference_turns,
    shape_turns,
)
from recipes.language import Turn, corpus_turns
from recipes.looks import second_look
from recipes.pointing import answering_turns, pointing_turns
from recipes.talk import talking_turns


@dataclass(frozen=True)
class Schedule:
    """A joint stage's steps; its learning rate falls as if it had `horizon` steps, so it may end before zero."""

    steps: int
    horizon: int
    batch: int


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters; the learning rate warms up, then falls to zero with a cosine over each stage's
    steps.
    """

    vision_steps: int = 1000
    grammar: Schedule = Schedule(steps=1250, horizon=3200, batch=32)
    questions: Schedule = Schedule(steps=1500, horizon=2900, batch=16)
    shapes: Schedule = Schedule(steps=1300, horizon=1300, batch=16)
    reference: Schedule = Schedule(steps=4000, horizon=4000, batch=16)
    location: Schedule = Schedule(steps=2000, horizon=2000, batch=16)
    pointing: Schedule = Schedule(steps=2000, horizon=2000, batch=16)
    answering: Schedule = Schedule(steps=1200, horizon=1200, batch=16)
    talking: Schedule = Schedule(steps=800, horizon=800, batch=8)
    widened: Schedule = Schedule(steps=600, horizon=600, batch=16)
    vision_batch: int = 64
    lr: float = 1.0e-3
    warmup: int = 100
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = 1.0
    auxiliary: float = 0.5
    alignment: float = 0.5
    bfloat16: bool = True

    def shortened(self, share: float) -> Recipe:
        """The recipe with a share of every stage's steps, each at least one."""

        def cut(schedule: Schedule) -> Schedule:
            steps, horizon = (max(1, round(share * n)) for n in (schedule.steps, schedule.horizon))
            return replace(schedule, steps=steps, horizon=horizon)

        schedules: dict[str, Any] = {
            name: cut(each) for name, each in vars(self).items() if isinstance(each, Schedule)
        }
        return replace(self, vision_steps=max(1, round(share * self.vision_steps)), **schedules)


@dataclass(frozen=True)
class Stage:
    """A joint stage: its name says what it teaches (and is its schedule's in the recipe), then its conversations."""

    name: str
    stream: str  # the scenes' stream of seeds: another name would give other scenes, and other weights
    turns: Callable[[Scene, random.Random], list[Turn]]
    aligned: bool  # whether image tokens learn to resemble their words
    located: bool = False  # and their cells
    looks: Callable[[Scene, random.Random], Shown | None] | None = (
        None  # pictures that are shown with a part of theirs
    )


VISION = Stage("vision", "pretrain-vision", lambda scene, rng: [], aligned=False)
# What the base learns from nothing.
STAGES = (
    VISION,
    Stage("grammar", "pretrain", corpus_turns, aligned=False),
    Stage("questions", "pretrain-last", question_turns, aligned=True),
    Stage("shapes", "pretrain-finish", shape_turns, aligned=True),
    Stage("reference", "pretrain-ground", reference_turns, aligned=True),
)
# What the families that take over from the base learn.
LOCATION = Stage("location", "pretrain-adopt", location_turns, aligned=True)
POINTING = Stage("pointing", "pretrain-point", pointing_turns, aligned=True, located=True)
ANSWERING = Stage("answering", "pretrain-answer", answering_turns, aligned=True, located=True)
TALKING = Stage("talking", "pretrain-talk", talking_turns, aligned=True, located=True, looks=second_look)
# What a wide one learns that takes over from a finished one of another family.
WIDENED = Stage("widened", "pretrain-widen", answering_turns, aligned=True, located=True)
