"""Referring expressions that are true of exactly one thing of a scene."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flmm.shapes.world.scenes import Scene, Thing

PLAIN_SHARE = 0.7
# "left of" must be plain to see: the offset dominates the other axis and is this wide (pixels).
_CLEAR = 18.0
_DOMINANT = 1.3
# "the left one" must win by this much (pixels); "the large one" by this ratio.
_MARGIN = 18.0
_LARGER = 1.35

RELATIONS = ("left of", "right of", "above", "below")
POSITIONS = ("left", "right", "top", "bottom")


@dataclass(frozen=True)
class Expression:
    """A phrase and the index of the only thing it fits; `kind` is plain, position, size or relation."""

    text: str
    thing: int
    kind: str


def article(noun: str) -> str:
    """The noun phrase with its indefinite article: "an orange star"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def offset(relation: str, a: Thing, b: Thing) -> tuple[float, float]:
    """How far (pixels) `a` is from `b` along the relation's direction, and across it."""
    dx, dy = b.cx - a.cx, b.cy - a.cy
    return {"left of": (dx, dy), "right of": (-dx, dy), "above": (dy, dx), "below": (-dy, dx)}[relation]


def clearly(relation: str, a: Thing, b: Thing) -> bool:
    """Whether anybody would say that `a` is `relation` `b`."""
    along, across = offset(relation, a, b)
    return along > _CLEAR and along > _DOMINANT * abs(across)


def arguably(relation: str, a: Thing, b: Thing) -> bool:
    """Whether somebody might say so; what is not even arguable may be excluded by the relation."""
    return offset(relation, a, b)[0] > 4.0


def relation_between(a: Thing, b: Thing) -> str | None:
    """The relation that clearly holds from `a` to `b`, if one does."""
    return next((r for r in RELATIONS if clearly(r, a, b)), None)


def matching(things: Sequence[Thing], noun: str) -> list[int]:
    """Indices of the things that a bare noun ("star") or a name ("red star") fits."""
    return [i for i, t in enumerate(things) if noun in (t.shape, t.name)]


def unique_names(things: Sequence[Thing], index: int) -> list[str]:
    """The nouns that fit this thing alone: its name, its bare shape, both or none."""
    thing = things[index]
    return [noun for noun in (thing.name, thing.shape) if matching(things, noun) == [index]]


_REACH: dict[str, Callable[[Thing], float]] = {
    "left": lambda t: -t.cx,
    "right": lambda t: t.cx,
    "top": lambda t: -t.cy,
    "bottom": lambda t: t.cy,
}


def _wins(value: Callable[[Thing], float], thing: Thing, rivals: Sequence[Thing], margin: float) -> bool:
    return all(value(thing) - value(rival) >= margin for rival in rivals)


def _by_position(things: Sequence[Thing], index: int, noun: str) -> list[Expression]:
    rivals = [things[i] for i in matching(things, noun) if i != index]
    return [
        Expression(f"{position} {noun}", index, "position")
        for position in POSITIONS
        if rivals and _wins(_REACH[position], things[index], rivals, _MARGIN)
    ]


def _by_size(things: Sequence[Thing], index: int, noun: str) -> list[Expression]:
    rivals = [things[i] for i in matching(things, noun) if i != index]
    thing, found = things[index], []
    if rivals and all(thing.radius >= _LARGER * rival.radius for rival in rivals):
        found.append(Expression(f"large {noun}", index, "size"))
    if rivals and all(rival.radius >= _LARGER * thing.radius for rival in rivals):
        found.append(Expression(f"small {noun}", index, "size"))
    return found


def _by_relation(things: Sequence[Thing], index: int, noun: str) -> list[Expression]:
    found = []
    candidates = matching(things, noun)
    for other, landmark in enumerate(things):
        if other == index or not unique_names(things, other):
            continue
        relation = relation_between(things[index], landmark)
        if relation is None:
            continue
        if any(arguably(relation, things[i], landmark) for i in candidates if i not in (index, other)):
            continue
        mark = unique_names(things, other)[0]
        found.append(Expression(f"{noun} {relation} the {mark}", index, "relation"))
    return found


def referring_expressions(scene: Scene, index: int) -> list[Expression]:
    """Every expression of the grammar that fits thing `index` and no other, without articles."""
    things = scene.things
    found = [Expression(noun, index, "plain") for noun in unique_names(things, index)]
    for noun in (things[index].name, things[index].shape):
        found += _by_position(things, index, noun)
        found += _by_size(things, index, noun)
        found += _by_relation(things, index, noun)
    return found


def sample_expressions(scene: Scene, index: int, rng: random.Random, count: int = 3) -> list[Expression]:
    """Up to `count` expressions for a thing, mostly its plain name; empty if nothing tells it from its
    twin.
    """
    pool = referring_expressions(scene, index)
    plain = [e for e in pool if e.kind == "plain"]
    # The full name is what people say; the bare shape is a variant.
    weights = {"plain": 1.0, "position": 1.0, "size": 0.5, "relation": 1.0}
    rest = [e for e in pool if e.kind != "plain"]
    chosen: list[Expression] = []
    for _ in range(count):
        # Ambiguous things have no plain name, so the share among the others is a little higher.
        if plain and (not rest or rng.random() < PLAIN_SHARE + 0.1):
            expression = plain[0] if len(plain) == 1 or rng.random() < 0.75 else plain[1]
        elif rest:
            expression = rng.choices(rest, [weights[e.kind] for e in rest])[0]
        else:
            return chosen
        text = f"the {expression.text}" if rng.random() < 0.4 else expression.text
        chosen.append(Expression(text, index, expression.kind))
    return chosen
