"""What grounding costs while a model talks: plain greedy generation against a grounded conversation.

    python benchmarks/chat.py [--heads shapes-llava] [--tokens 48] [--rounds 25] [--device cpu]

Both answer the same question about the same picture, taking turns. First token: from the question to the answer's
first word. Per token: between two. Masks: from the last word to the masks of all phrases. Medians over all rounds;
quote the ratios, not the milliseconds. With models as small as those that ship, most of a token's time is
Python's; a random wider one is there beside them, without masks.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from transformers import DynamicCache
from transformers.generation.streamers import BaseStreamer

from flmm import Grounder, shipped
from flmm.backbones.lmm import TransformersBackbone
from flmm.protocols import GROUNDING_PROMPT
from flmm.shapes.world.scenes import make_scene


class Clock(BaseStreamer):
    """Notes when `generate` hands over the prompt and then each token."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, value: torch.Tensor) -> None:
        """One more."""
        self.times.append(time.perf_counter())

    def end(self) -> None:
        """Nothing to do."""


@dataclass
class Taken:
    """Seconds of all rounds of one way: to first tokens, between tokens, and for the masks."""

    first: list[float] = field(default_factory=list)
    later: list[float] = field(default_factory=list)
    masks: list[float] = field(default_factory=list)

    def add(self, began: float, tokens: list[float], ended: float) -> None:
        """One round: the times of its question, its tokens and its masks."""
        self.first.append(tokens[0] - began)
        self.later += [after - before for before, after in pairwise(tokens)]
        self.masks.append(ended - tokens[-1])

    def medians(self) -> list[float]:
        """In milliseconds: first token, per token, masks."""
        return [1000 * statistics.median(each) for each in (self.first, self.later, self.masks)]


@torch.no_grad()
def plain(backbone: TransformersBackbone, picture: Image.Image, tokens: int, taken: Taken) -> None:
    """The model's own `generate`, and nothing else."""
    clock, began = Clock(), time.perf_counter()
    inputs = backbone.read(picture, GROUNDING_PROMPT).inputs
    backbone.model.generate(**inputs, past_key_values=DynamicCache(), max_new_tokens=tokens, streamer=clock)
    taken.add(began, clock.times[1:], clock.times[-1])


def listening(backbone: TransformersBackbone, picture: Image.Image, tokens: int, taken: Taken) -> None:
    """A conversation's first turn without decoding and masks."""
    began = time.perf_counter()
    times = [
        time.perf_counter() for _ in backbone.converse(picture).say(GROUNDING_PROMPT, max_new_tokens=tokens)
    ]
    taken.add(began, times, time.perf_counter())


def wide(backbone: TransformersBackbone) -> TransformersBackbone:
    """A random LLaVA with the same picture tokens and words, 12 layers, 1024 wide: a token's time is arithmetic."""
    config = copy.deepcopy(backbone.model.config)
    config.text_config.update(
        {
            "hidden_size": 1024,
            "intermediate_size": 2816,
            "num_hidden_layers": 12,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "head_dim": 64,
        }
    )
    torch.manual_seed(0)
    return type(backbone)(type(backbone.model)(config), backbone.processor, "wide")


def grounded(grounder: Grounder, picture: Image.Image, tokens: int, taken: Taken) -> None:
    """A conversation's first turn: attention read, text decoded; then the masks of its phrases."""
    began = time.perf_counter()
    pieces = grounder.converse(picture).ask(GROUNDING_PROMPT, max_new_tokens=tokens)
    times = [time.perf_counter() for _ in pieces]
    taken.add(began, times, time.perf_counter())


Way = Callable[[Image.Image, int, Taken], None]


def measured(first: Way, second: Way, picture: Image.Image, options: argparse.Namespace) -> list[list[float]]:
    """The medians of two ways, which take turns, after a round that does not count."""
    found = []
    for rounds in (1, options.rounds):
        found = [Taken(), Taken()]
        for _ in range(rounds):
            for way, taken in zip((first, second), found, strict=True):
                way(picture, options.tokens, taken)
    return [taken.medians() for taken in found]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--heads", nargs="+", default=shipped.models())
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    picture = Image.fromarray(make_scene(11).image)
    table = Table("model", "way", "first token, ms", "per token, ms", "masks, ms")
    cases: list[tuple[str, TransformersBackbone, Way]] = []
    for head in options.heads:
        grounder = Grounder.load(head, device=options.device)
        cases.append((head, grounder.backbone, partial(grounded, grounder)))
    backbone = wide(Grounder.load("shapes-llava", device="cpu").backbone)
    backbone.model.to(options.device)
    cases.append(("random, 1024 wide (no masks)", backbone, partial(listening, backbone)))
    for name, backbone, way in cases:
        base, mine = measured(partial(plain, backbone), way, picture, options)
        table.add_row(name, "plain", f"{base[0]:.1f}", f"{base[1]:.2f}", "")
        table.add_row("", "grounded", f"{mine[0]:.1f}", f"{mine[1]:.2f}", f"{mine[2]:.1f}")
        ratios = [f"{after / before:.2f} x" for after, before in zip(mine[:2], base, strict=False)]
        table.add_row("", "ratio", *ratios, "", end_section=True)
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
