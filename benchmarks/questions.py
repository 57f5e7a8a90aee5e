"""What questions about one picture gain from being asked together: each alone against side by side.

    python benchmarks/questions.py [--model shapes-llava] [--rounds 15] [--threads 1]

POPE's questions in POPE's wording, 6 and 12 about one picture, both ways taking turns in one process: as the plain
pass of a run asks them, and as the attached one does, with the answers' attention read. The heads' masks are not part
of it. Medians over all rounds; quote the ratios, not the milliseconds.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from flmm import Grounder, shipped
from flmm.backbones.base import Backbone, Generation
from flmm.shapes.world.scenes import make_scene

WORDS = "Is there a {} {} in the image?\nAnswer the question using a single word or phrase."
COLOURS, SHAPES = ("red", "blue", "green"), ("star", "circle", "square", "triangle")
QUESTIONS = [WORDS.format(colour, shape) for colour, shape in product(COLOURS, SHAPES)]
LONGEST = 16  # tokens of an answer, as in params.yaml
Way = Callable[[Sequence[str]], list[Generation]]


def alone(backbone: Backbone, picture: Image.Image, tap: bool, asked: Sequence[str]) -> list[Generation]:
    """One question after another."""
    return [backbone.generate(picture, each, max_new_tokens=LONGEST, tap=tap) for each in asked]


def together(backbone: Backbone, picture: Image.Image, tap: bool, asked: Sequence[str]) -> list[Generation]:
    """All of them side by side."""
    return list(backbone.answer(picture, asked, max_new_tokens=LONGEST, tap=tap))


def measured(ways: Sequence[Way], asked: Sequence[str], rounds: int) -> list[float]:
    """Median milliseconds per question of ways that take turns, after a round that does not count."""
    taken: list[list[float]] = [[] for _ in ways]
    for number in range(rounds + 1):
        answers = []
        for way, times in zip(ways, taken, strict=True):
            began = time.perf_counter()
            answers.append([each.tokens for each in way(asked)])
            if number:
                times.append(time.perf_counter() - began)
        assert all(each == answers[0] for each in answers), "the ways do not agree"
    return [1000 * statistics.median(times) / len(asked) for times in taken]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="shapes-llava", choices=shipped.models())
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    backbone = Grounder.load(options.model, device="cpu").backbone
    picture = Image.fromarray(make_scene(11).image)
    table = Table(
        "questions", "pass", "alone, ms each", "together, ms each", "alone / together", title=options.model
    )
    for count, (name, tap) in product((6, 12), (("plain", False), ("attached", True))):
        ways = [partial(way, backbone, picture, tap) for way in (alone, together)]
        before, after = measured(ways, QUESTIONS[:count], options.rounds)
        table.add_row(str(count), name, f"{before:.1f}", f"{after:.1f}", f"{before / after:.1f} x")
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
