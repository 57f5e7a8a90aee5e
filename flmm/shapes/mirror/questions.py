"""The mirror's POPE and MMBench files."""

from __future__ import annotations

import base64
import csv
import io
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import permutations

from flmm.shapes.world.photographs import Photograph
from flmm.shapes.world.questions import (
    CATEGORIES,
    LETTERS,
    Choice,
    existence_question,
    multiple_choice,
    present_categories,
)
from flmm.shapes.world.scenes import scene_seed

_PAIRS = 3  # yes and no questions an image
ROTATION_STEP = 1_000_000
_COLUMNS = (
    "index",
    "question",
    "hint",
    *LETTERS,
    "answer",
    "category",
    "image",
    "source",
    "l2-category",
    "comment",
    "split",
)
_BROADER = {
    "attribute_recognition": "finegrained_perception (instance-level)",
    "shape_recognition": "finegrained_perception (instance-level)",
    "object_existence": "finegrained_perception (instance-level)",
    "object_localization": "finegrained_perception (instance-level)",
    "image_scene": "coarse_perception",
}
Negatives = Callable[[list[str], random.Random], list[str]]


def pope_lines(photographs: Sequence[Photograph]) -> dict[str, str]:
    """JSON lines of the random, popular and adversarial split: six questions an image, half of them
    answered no.

    As upstream, images need three categories; popular negatives are the most frequent absent categories,
    adversarial ones those that are most often together with what is present.
    """
    asked = [p for p in photographs if len(present_categories(p.scene)) >= _PAIRS]
    present = [present_categories(p.scene) for p in photographs]
    frequency = Counter(name for names in present for name in names)
    together = Counter(pair for names in present for pair in permutations(names, 2))

    def at_random(names: list[str], rng: random.Random) -> list[str]:
        return rng.sample([c for c in CATEGORIES if c not in names], _PAIRS)

    def popular(names: list[str], rng: random.Random) -> list[str]:
        return _highest(names, lambda c: (frequency[c], 0))

    def adversarial(names: list[str], rng: random.Random) -> list[str]:
        return _highest(names, lambda c: (sum(together[name, c] for name in names), frequency[c]))

    kinds: dict[str, Negatives] = {"random": at_random, "popular": popular, "adversarial": adversarial}
    return {kind: _pope_split(asked, kind, negatives) for kind, negatives in kinds.items()}


def _highest(names: list[str], score: Callable[[str], tuple[int, int]]) -> list[str]:
    return sorted((c for c in CATEGORIES if c not in names), key=score, reverse=True)[:_PAIRS]


def _pope_split(photographs: Sequence[Photograph], kind: str, negatives: Negatives) -> str:
    lines: list[str] = []
    for photograph in photographs:
        names = present_categories(photograph.scene)
        yes = photograph.words("pope").sample(names, _PAIRS)  # the same in the three splits
        no = negatives(names, photograph.words(f"pope-{kind}"))
        for name, label in [
            pair for both in zip(yes, no, strict=True) for pair in zip(both, ("yes", "no"), strict=True)
        ]:
            lines.append(
                json.dumps(
                    {
                        "question_id": len(lines) + 1,
                        "image": f"COCO_val2014_{photograph.number:012d}.jpg",
                        "text": existence_question(name),
                        "label": label,
                    }
                )
            )
    return "".join(line + "\n" for line in lines)


def mmbench_tsv(questions: int, seed: int) -> str:
    """MMBench's table: each question in all rotations of its options, on pictures of its own.

    Rotation r of question i has the index i + r * 1,000,000 and names row i in its image cell.
    """
    stream = io.StringIO()
    table = csv.DictWriter(stream, _COLUMNS, delimiter="\t", lineterminator="\n")
    table.writeheader()
    rows: list[list[dict[str, str]]] = []
    for k in range(questions):
        photograph = Photograph(0, scene_seed("mirror-mmbench", seed, k))
        choice = multiple_choice(photograph.scene, photograph.words("mmbench"), prefer=k)
        index = 100 + k
        image = base64.b64encode(photograph.jpeg).decode("ascii")
        rows.append(
            [
                _row(choice.rotated(r), index + r * ROTATION_STEP, image if r == 0 else str(index))
                for r in range(len(choice.options))
            ]
        )
    # As upstream: first every question, then every first rotation, and so on.
    for r in range(len(LETTERS)):
        table.writerows(rotations[r] for rotations in rows if r < len(rotations))
    return stream.getvalue()


def _row(choice: Choice, index: int, image: str) -> dict[str, str]:
    options = dict(zip(LETTERS, [*choice.options, *[""] * len(LETTERS)], strict=False))
    return {
        "index": str(index),
        "question": choice.question,
        "hint": "",
        **options,
        "answer": choice.letter,
        "category": choice.category,
        "image": image,
        "source": "shapes",
        "l2-category": _BROADER[choice.category],
        "comment": "",
        "split": "dev",
    }
