"""Seeded scenes: coloured shapes ("things") on textured regions ("stuff"), drawn like small photographs.

A scene is a pure function of its seed, so a corpus needs no storage: `scene_seed(stream, seed, index)`
names every scene, and streams (pre-training, mirror, held-out) never share one.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flmm.shapes.world.drawing import SHAPES, draw_shape

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "green": (30, 165, 55),
    "blue": (45, 80, 220),
    "yellow": (240, 215, 40),
    "purple": (150, 50, 175),
    "orange": (245, 135, 30),
    "white": (246, 246, 246),
    "black": (18, 18, 18),
}
# Muted on purpose: a thing's colour never looks like a texture's.
TEXTURES: dict[str, tuple[int, int, int]] = {
    "sky": (150, 178, 205),
    "grass": (108, 128, 84),
    "water": (84, 118, 138),
    "sand": (190, 172, 138),
    "road": (104, 102, 106),
}
SIZES: tuple[tuple[int, int], ...] = ((192, 144), (144, 192), (192, 192), (192, 160), (160, 192))
MIN_VISIBLE = 0.55
_TILE = 256


@dataclass(frozen=True)
class Thing:
    """One coloured shape; `mask` (H, W) bool holds its visible pixels, `cx`, `cy`, `radius` are in pixels,
    `angle` in degrees.
    """

    shape: str
    colour: str
    size: str
    cx: float
    cy: float
    radius: float
    angle: float
    mask: NDArray[np.bool_]

    @property
    def name(self) -> str:
        """The category name, e.g. "red circle"."""
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True)
class Region:
    """One background texture; `place` is where it lies: top, bottom, middle, left or right (of the lower
    part).
    """

    name: str
    place: str
    mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Scene:
    """An image (H, W, 3) uint8 whose pixels each belong to exactly one thing or region.

    `ground[i]` is the index of the region on which thing i's centre lies.
    """

    image: NDArray[np.uint8]
    things: tuple[Thing, ...]
    stuff: tuple[Region, ...]
    ground: tuple[int, ...]

    @property
    def height(self) -> int:
        """Pixels."""
        return int(self.image.shape[0])

    @property
    def width(self) -> int:
        """Pixels."""
        return int(self.image.shape[1])


def scene_seed(stream: str, seed: int, index: int) -> int:
    """A 64-bit seed of scene `index` in a named stream; different streams never overlap."""
    digest = hashlib.blake2b(f"{stream}/{seed}/{index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def make_scene(seed: int) -> Scene:
    """The scene of a seed: the same pixels, things and regions on every call."""
    rng = random.Random(seed)
    height, width = rng.choice(SIZES)
    owner, regions = _draw_stuff_layout(rng, height, width)
    ground_owner = owner.copy()
    image = _paint_stuff(rng, owner, [name for name, _ in regions])
    placed = _place_things(rng, height, width)
    first = len(regions)
    for k, (colour, shape, cx, cy, radius, angle) in enumerate(placed):
        _paint_thing(
            rng, image, owner, first + k, colour, draw_shape(shape, cx, cy, radius, angle, height, width)
        )
    things = tuple(
        Thing(shape, colour, _size_name(radius), cx, cy, radius, angle, owner == first + k)
        for k, (colour, shape, cx, cy, radius, angle) in enumerate(placed)
    )
    # A region that things hide completely is no region of the picture.
    masks = [owner == i for i in range(first)]
    kept = [i for i in range(first) if masks[i].any()]
    stuff = tuple(Region(regions[i][0], regions[i][1], masks[i]) for i in kept)
    under = [int(ground_owner[int(t.cy), int(t.cx)]) for t in things]
    ground = tuple(kept.index(i) if i in kept else 0 for i in under)
    return Scene(image.clip(0, 255).astype(np.uint8), things, stuff, ground)


def _size_name(radius: float) -> str:
    return "small" if radius < 26 else "large" if radius > 34 else "medium"


@cache
def _noise_tile(kind: str) -> NDArray[np.float32]:
    """A fixed (256, 256) noise tile of about unit variance; scenes take a random window of it."""
    rng = np.random.default_rng(int.from_bytes(kind.encode()[:7], "big"))
    white: Any = rng.standard_normal((_TILE * 2, _TILE * 2)).astype(np.float32)
    rows = np.arange(_TILE * 2, dtype=np.float32)[:, None]
    if kind == "grass":  # upright blades: smooth along y only
        white = sum(np.roll(white, s, 0) for s in range(5)) / np.float32(5**0.5)
    elif kind == "water":  # ripples: smooth along x, a wave along y
        white = sum(np.roll(white, s, 1) for s in range(11)) / np.float32(11**0.5)
        white = 0.6 * white + 1.1 * np.sin(rows * 0.75 + white * 0.4)
    elif kind == "sky":  # soft clouds
        for axis in (0, 1):
            white = sum(np.roll(white, s, axis) for s in range(24)) / np.float32(24**0.5)
    elif kind == "road":  # coarse grain
        for axis in (0, 1):
            white = sum(np.roll(white, s, axis) for s in range(3)) / np.float32(3**0.5)
    return np.ascontiguousarray(white[:_TILE, :_TILE], dtype=np.float32)


_AMPLITUDE = {"sky": 7.0, "grass": 15.0, "water": 11.0, "sand": 9.0, "road": 9.0, "thing": 6.0}


def _window(rng: random.Random, kind: str, height: int, width: int) -> NDArray[np.float32]:
    y, x = rng.randrange(_TILE - height), rng.randrange(_TILE - width)
    return _noise_tile(kind)[y : y + height, x : x + width] * np.float32(_AMPLITUDE[kind])


def _wavy(rng: random.Random, length: int, level: float, swing: float) -> NDArray[np.float32]:
    t = np.arange(length, dtype=np.float32) / length
    wave: Any = np.float32(level) + np.zeros(length, dtype=np.float32)
    for cycles in (1.0, 2.3):
        wave += rng.uniform(0.2, 1.0) * swing * np.sin(2 * np.pi * (cycles * t + rng.random()))
    return wave


def _draw_stuff_layout(
    rng: random.Random, height: int, width: int
) -> tuple[NDArray[np.int8], list[tuple[str, str]]]:
    """Owner map (H, W) of region indices and the regions' (name, place): bands, or a band over two halves."""
    rows = np.arange(height, dtype=np.float32)[:, None]
    columns = np.arange(width, dtype=np.float32)[None, :]
    top = "sky" if rng.random() < 0.6 else rng.choice(list(TEXTURES))
    others = [name for name in TEXTURES if name != top]
    rng.shuffle(others)
    layout = rng.choice(("two", "two", "bands", "halves"))
    horizon = _wavy(rng, width, height * rng.uniform(0.3, 0.6), 5.0)
    owner = np.zeros((height, width), dtype=np.int8)
    owner[rows >= horizon[None, :]] = 1
    if layout == "two":
        return owner, [(top, "top"), (others[0], "bottom")]
    if layout == "bands":
        second = horizon + _wavy(rng, width, height * rng.uniform(0.2, 0.3), 4.0).clip(min=8)
        owner[rows >= second[None, :]] = 2
        return owner, [(top, "top"), (others[0], "middle"), (others[1], "bottom")]
    border = _wavy(rng, height, width * rng.uniform(0.35, 0.65), 6.0)
    owner[(owner == 1) & (columns >= border[:, None])] = 2
    return owner, [(top, "top"), (others[0], "left"), (others[1], "right")]


def _paint_stuff(rng: random.Random, owner: NDArray[np.int8], names: list[str]) -> NDArray[np.float32]:
    height, width = owner.shape
    image = np.empty((height, width, 3), dtype=np.float32)
    for i, name in enumerate(names):
        mask = owner == i
        tint = np.array([c + rng.uniform(-8, 8) for c in TEXTURES[name]], dtype=np.float32)
        image[mask] = tint + _window(rng, name, height, width)[mask][:, None]
    # Light falls off from one side to the other, as in a photograph.
    image += np.linspace(-1, 1, width, dtype=np.float32)[None, :, None] * rng.uniform(-8, 8)
    return image


Placed = tuple[str, str, float, float, float, float]


def _place_things(rng: random.Random, height: int, width: int) -> list[Placed]:
    """2-5 things, later ones in front; nobody loses more than 45 % of its pixels."""
    wanted = rng.choice((2, 3, 3, 4, 4, 5))
    twins = rng.random() < 0.25
    overlap_allowed = rng.random() < 0.5
    placed: list[Placed] = []
    owner = np.full((height, width), -1, dtype=np.int8)
    areas: list[int] = []
    for _ in range(60):
        if len(placed) == wanted:
            break
        twin = twins and len(placed) == 1
        colour, shape = placed[0][:2] if twin else (rng.choice(list(COLOURS)), rng.choice(SHAPES))
        if not twin and any((colour, shape) == p[:2] for p in placed):
            continue
        radius = rng.uniform(20, 40 if wanted < 5 else 32)
        cx, cy = rng.uniform(radius + 1, width - radius - 2), rng.uniform(radius + 1, height - radius - 2)
        angle = rng.uniform(-12, 12)
        window, alpha = draw_shape(shape, cx, cy, radius, angle, height, width)
        mask = np.zeros((height, width), dtype=bool)
        mask[window] = alpha >= 0.5
        if not _fits(mask, owner, areas, [p[0] for p in placed], colour, overlap_allowed):
            continue
        owner[mask] = len(placed)
        areas.append(int(mask.sum()))
        placed.append((colour, shape, cx, cy, radius, angle))
    return placed


def _fits(
    mask: NDArray[np.bool_],
    owner: NDArray[np.int8],
    areas: list[int],
    colours: list[str],
    colour: str,
    overlap_allowed: bool,
) -> bool:
    hidden = owner[mask]
    hidden = hidden[hidden >= 0]
    if not hidden.size:
        return True
    if not overlap_allowed:
        return False
    for k in np.unique(hidden):
        if colours[k] == colour:  # the border between two things of one colour would be invisible
            return False
        if (np.count_nonzero(owner == k) - np.count_nonzero(hidden == k)) < MIN_VISIBLE * areas[k]:
            return False
    return True


def _paint_thing(
    rng: random.Random,
    image: NDArray[np.float32],
    owner: NDArray[np.int8],
    label: int,
    colour: str,
    drawn: tuple[tuple[slice, slice], NDArray[np.float32]],
) -> None:
    window, alpha = drawn
    height, width = alpha.shape
    tint = np.array([c + rng.uniform(-10, 10) for c in COLOURS[colour]], dtype=np.float32)
    shade = np.linspace(1, -1, height, dtype=np.float32)[:, None] * rng.uniform(0, 10)
    ink = tint + (shade + _window(rng, "thing", height, width))[:, :, None]
    image[window] += alpha[:, :, None] * (ink - image[window])
    owner[window][alpha >= 0.5] = label
