"""Narratives: a picture told in pieces, each noun phrase tied to the things or regions that it names."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import pairwise

from flmm.shapes.world.expressions import (
    article,
    matching,
    relation_between,
    sample_expressions,
    unique_names,
)
from flmm.shapes.world.scenes import Scene

PLURALS = {
    "circle": "circles",
    "square": "squares",
    "triangle": "triangles",
    "star": "stars",
    "cross": "crosses",
    "ring": "rings",
}
_NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five"}
_SPOKEN = {"left of": "to the left of", "right of": "to the right of", "above": "above", "below": "below"}
_PLACES = {
    "top": "at the top",
    "bottom": "at the bottom",
    "middle": "in the middle",
    "left": "on the left",
    "right": "on the right",
}


@dataclass(frozen=True)
class Piece:
    """A stretch of the narrative; `things` and `stuff` are the indices that it names (both empty: plain
    words).
    """

    text: str
    things: tuple[int, ...] = ()
    stuff: tuple[int, ...] = ()

    @property
    def is_phrase(self) -> bool:
        """Whether the piece is a noun phrase tied to segments."""
        return bool(self.things or self.stuff)

    @property
    def plural(self) -> bool:
        """Whether it names several segments."""
        return len(self.things) + len(self.stuff) > 1


def narrative(scene: Scene, rng: random.Random) -> list[Piece]:
    """One true narrative of a scene, lower case, the pieces to be joined by single spaces."""
    phrases = _thing_phrases(scene, rng)
    background = [Piece(f"the {region.name}", stuff=(i,)) for i, region in enumerate(scene.stuff)]
    style = rng.random()
    if style < 0.4:
        words = [
            Piece(rng.choice(("in this image i can see", "in this picture we can see", "here we can see")))
        ]
        words += _chain(scene, phrases, rng)
        words += _on_ground(scene, words, rng)
        return [*words, *_tell_background(scene, background, rng), Piece(".")]
    if style < 0.7:
        words = [Piece("there is" if not phrases[0].plural else "there are")]
        words += _chain(scene, phrases[:2], rng)
        for phrase in phrases[2:]:
            words += [Piece(". there is also" if not phrase.plural else ". there are also"), phrase]
        words += [Piece(". in the background there is")]
        return [*words, *_joined(background), Piece(".")]
    opening = background[0]
    words = [Piece(f"{_PLACES[scene.stuff[0].place]} of the image there is"), opening]
    words += [Piece(". we can see"), *_chain(scene, phrases, rng)]
    return [*words, *_tell_background(scene, background[1:], rng), Piece(".")]


def _thing_phrases(scene: Scene, rng: random.Random) -> list[Piece]:
    """A phrase per thing in random order; equals are told together as a plural, or told apart."""
    told: set[int] = set()
    phrases: list[Piece] = []
    order = list(range(len(scene.things)))
    rng.shuffle(order)
    for index in order:
        if index in told:
            continue
        thing = scene.things[index]
        group = matching(scene.things, thing.name)
        noun = f"{thing.colour} {PLURALS[thing.shape]}"
        if len(group) == 1:
            group = matching(scene.things, thing.shape)
            noun = PLURALS[thing.shape]
            together = rng.random() < 0.35
        else:
            together = rng.random() < 0.6
        if together and len(group) > 1 and not told & set(group):
            phrases.append(Piece(f"{_NUMBERS[len(group)]} {noun}", things=tuple(group)))
            told |= set(group)
            continue
        told.add(index)
        if unique_names(scene.things, index):
            name = (
                thing.name
                if len(unique_names(scene.things, index)) == 1 or rng.random() < 0.8
                else thing.shape
            )
            phrases.append(Piece(article(name) if rng.random() < 0.8 else f"the {name}", things=(index,)))
        else:
            phrases += [Piece(e.text, things=(index,)) for e in sample_expressions(scene, index, rng, 1)]
    return phrases or [Piece("two shapes", things=tuple(order[:2]))]


def _chain(scene: Scene, phrases: list[Piece], rng: random.Random) -> list[Piece]:
    """Phrases joined by what is true between neighbours, or by "," and "and"."""
    words = [phrases[0]]
    for before, phrase in pairwise(phrases):
        link = "and" if phrase is phrases[-1] else ","
        if not before.plural and not phrase.plural and rng.random() < 0.65:
            relation = relation_between(scene.things[before.things[0]], scene.things[phrase.things[0]])
            link = _SPOKEN[relation] if relation else link
        words += [Piece(link), phrase]
    return words


def _on_ground(scene: Scene, words: list[Piece], rng: random.Random) -> list[Piece]:
    last = words[-1]
    grounds = {scene.ground[i] for i in last.things}
    if rng.random() < 0.5 or len(grounds) != 1:
        return []
    ground = grounds.pop()
    name = scene.stuff[ground].name
    return [Piece("in front of" if name == "sky" else "on"), Piece(f"the {name}", stuff=(ground,))]


def _tell_background(scene: Scene, background: list[Piece], rng: random.Random) -> list[Piece]:
    words: list[Piece] = []
    for piece in background:
        place = _PLACES[scene.stuff[piece.stuff[0]].place]
        words += [Piece(f"and {place}" if rng.random() < 0.5 else f". {place} there is"), piece]
    return words


def _joined(pieces: list[Piece]) -> list[Piece]:
    words = [pieces[0]]
    for piece in pieces[1:]:
        words += [Piece("and"), piece]
    return words
