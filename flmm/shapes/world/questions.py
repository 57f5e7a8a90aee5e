"""Questions with one right answer: is there a …?, multiple choice, and a word or phrase."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flmm.shapes.world.drawing import SHAPES
from flmm.shapes.world.expressions import article, matching
from flmm.shapes.world.scenes import COLOURS, TEXTURES, Scene

CATEGORIES: tuple[str, ...] = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
SHORT_ANSWER = "Answer the question using a single word or phrase."
OPTION_LETTER = "Answer with the option's letter from the given choices directly."
LETTERS = "ABCD"


@dataclass(frozen=True)
class Choice:
    """A question and its options in order; `answer` is the index of the only true one."""

    question: str
    options: tuple[str, ...]
    answer: int
    category: str

    def rotated(self, by: int) -> Choice:
        """The same question with its options moved on by `by` places (circular evaluation)."""
        n = len(self.options)
        options = tuple(self.options[(i - by) % n] for i in range(n))
        return Choice(self.question, options, (self.answer + by) % n, self.category)

    @property
    def letter(self) -> str:
        """The right answer's letter."""
        return LETTERS[self.answer]

    @property
    def prompt(self) -> str:
        """The user text without the image."""
        lines = [f"{LETTERS[i]}. {option}" for i, option in enumerate(self.options)]
        return "\n".join([self.question, *lines, OPTION_LETTER])


def existence_question(category: str) -> str:
    """POPE's wording."""
    return f"Is there {article(category)} in the image?"


def existence_prompt(category: str) -> str:
    """The user text without the image."""
    return f"{existence_question(category)}\n{SHORT_ANSWER}"


def colour_question(shape: str) -> str:
    """What is asked about the only thing of a shape."""
    return f"What color is the {shape}?"


def shape_question(colour: str) -> str:
    """What is asked about the only thing of a colour."""
    return f"Which shape is {colour}?"


def texture_question(place: str) -> str:
    """What is asked about the texture at the top or at the bottom."""
    return f"What is at the {place} of the image?"


def present_categories(scene: Scene) -> list[str]:
    """Categories in the scene, in order of drawing, each once."""
    return list(dict.fromkeys(t.name for t in scene.things))


def near_misses(scene: Scene) -> list[str]:
    """Absent categories that share the colour or the shape of something present."""
    present = set(present_categories(scene))
    colours, shapes = {t.colour for t in scene.things}, {t.shape for t in scene.things}
    return [
        name
        for name in CATEGORIES
        if name not in present and (name.split()[0] in colours or name.split()[1] in shapes)
    ]


def absent_category(scene: Scene, rng: random.Random, hard_share: float = 0.5) -> str:
    """A category that is not there: a near miss half of the time, else any."""
    if rng.random() < hard_share:
        return rng.choice(near_misses(scene))
    present = set(present_categories(scene))
    return rng.choice([name for name in CATEGORIES if name not in present])


def _options(
    rng: random.Random, right: str, near: Sequence[str], far: Sequence[str]
) -> tuple[tuple[str, ...], int]:
    """3-4 shuffled options: the right one, near misses first in line, then any others."""
    count = rng.choice((3, 4))
    pool = rng.sample(list(near), len(near))[:2] + rng.sample(list(far), len(far))
    wrong = list(dict.fromkeys(p for p in pool if p != right))[: count - 1]
    options = [right, *wrong]
    rng.shuffle(options)
    return tuple(options), options.index(right)


def _colour_of(scene: Scene, rng: random.Random) -> Choice | None:
    shapes = [t for t in scene.things if len(matching(scene.things, t.shape)) == 1]
    if not shapes:
        return None
    thing = rng.choice(shapes)
    near = [t.colour for t in scene.things if t.colour != thing.colour]
    options, answer = _options(rng, thing.colour, list(dict.fromkeys(near)), list(COLOURS))
    return Choice(colour_question(thing.shape), options, answer, "attribute_recognition")


def _shape_of(scene: Scene, rng: random.Random) -> Choice | None:
    colours = [t for t in scene.things if sum(o.colour == t.colour for o in scene.things) == 1]
    if not colours:
        return None
    thing = rng.choice(colours)
    near = [t.shape for t in scene.things if t.shape != thing.shape]
    options, answer = _options(rng, thing.shape, list(dict.fromkeys(near)), list(SHAPES))
    return Choice(shape_question(thing.colour), options, answer, "shape_recognition")


def _which_object(scene: Scene, rng: random.Random) -> Choice | None:
    present = set(present_categories(scene))
    right = rng.choice(sorted(present))
    far = [name for name in CATEGORIES if name not in present]
    near = near_misses(scene) if rng.random() < 0.3 else []
    options, answer = _options(rng, right, near, far)
    return Choice("Which object is in the image?", options, answer, "object_existence")


def _which_texture(scene: Scene, rng: random.Random) -> Choice | None:
    regions = [r for r in scene.stuff if r.place in ("top", "bottom")]
    if not regions:
        return None
    region = rng.choice(regions)
    near = [r.name for r in scene.stuff if r.name != region.name]
    options, answer = _options(rng, region.name, near, list(TEXTURES))
    return Choice(texture_question(region.place), options, answer, "image_scene")


def _where(scene: Scene, rng: random.Random) -> Choice | None:
    """The quarter of the picture in which a thing's centre lies, if it is well inside it."""
    found = []
    for thing in scene.things:
        x, y = thing.cx / scene.width, thing.cy / scene.height
        if len(matching(scene.things, thing.name)) == 1 and abs(x - 0.5) > 0.1 and abs(y - 0.5) > 0.1:
            found.append((thing.name, f"{'top' if y < 0.5 else 'bottom'} {'left' if x < 0.5 else 'right'}"))
    if not found:
        return None
    name, right = rng.choice(found)
    options, answer = _options(rng, right, [], ["top left", "top right", "bottom left", "bottom right"])
    return Choice(f"Where is the {name}?", options, answer, "object_localization")


_KINDS: tuple[Callable[[Scene, random.Random], Choice | None], ...] = (
    _colour_of,
    _shape_of,
    _which_object,
    _which_texture,
    _where,
)


def multiple_choice(scene: Scene, rng: random.Random, prefer: int | None = None) -> Choice:
    """A multiple-choice question that the scene can answer, all kinds equally likely where they apply.

    `prefer` (any integer) cycles through the kinds and is tried first.
    """
    order = rng.sample(_KINDS, len(_KINDS))
    if prefer is not None:
        order.insert(0, _KINDS[prefer % len(_KINDS)])
    for kind in order:
        choice = kind(scene, rng)
        if choice is not None:
            return choice
    raise AssertionError("every scene has an object to ask for")


def short_question(scene: Scene, rng: random.Random) -> tuple[str, str]:
    """An open question (user text without the image) and its answer of a word or phrase."""
    choice = multiple_choice(scene, rng)
    while choice.category == "object_existence":  # without options it has several right answers
        choice = multiple_choice(scene, rng)
    return f"{choice.question}\n{SHORT_ANSWER}", choice.options[choice.answer]
