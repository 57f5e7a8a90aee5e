"""What the recipe of the tiny LMMs (`pretrain`) does: its hyper-parameters, and its stages in their order."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from flmm.shapes.curriculum import (
    curriculum_turns,
    finishing_turns,
    grounding_turns,
    locating_turns,
    pointing_turns,
)
from flmm.shapes.language import Turn, corpus_turns
from flmm.shapes.scenes import Scene


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
    first: Schedule = Schedule(steps=1250, horizon=3200, batch=32)
    last: Schedule = Schedule(steps=1500, horizon=2900, batch=16)
    finish: Schedule = Schedule(steps=1300, horizon=1300, batch=16)
    ground: Schedule = Schedule(steps=4000, horizon=4000, batch=16)
    adopt: Schedule = Schedule(steps=2000, horizon=2000, batch=16)
    point: Schedule = Schedule(steps=2000, horizon=2000, batch=16)
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
    """A joint stage: its name (also its schedule's in the recipe), its scenes' stream, its conversations."""

    name: str
    stream: str
    turns: Callable[[Scene, random.Random], list[Turn]]
    aligned: bool  # whether image tokens learn to resemble their words
    located: bool = False  # and their cells


WARM_UP = Stage("vision", "pretrain-vision", lambda scene, rng: [], aligned=False)
STAGES = (
    WARM_UP,
    Stage("first", "pretrain", corpus_turns, aligned=False),
    Stage("last", "pretrain-last", curriculum_turns, aligned=True),
    Stage("finish", "pretrain-finish", finishing_turns, aligned=True),
    Stage("ground", "pretrain-ground", grounding_turns, aligned=True),
)
ADOPT = Stage("adopt", "pretrain-adopt", locating_turns, aligned=True)
POINT = Stage("point", "pretrain-point", pointing_turns, aligned=True, located=True)
