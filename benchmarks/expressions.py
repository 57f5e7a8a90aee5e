"""What 9 referring expressions of one image gain from being read together: against one forward for each.

    python benchmarks/expressions.py [--rounds 5] [--out FILE.json]

A random LLaVA of moderate size with 576 image tokens. Four ways take turns: every expression behind the prompt in a
forward of its own, the attention of its tokens read (the straightforward way); each alone as `extract` reads it, which
computes prompt and expression one after the other; all of them as `extract` does for protocol `standard`, the prompt
computed once and the expressions side by side behind it; and as for `paper`, one answer "a. b. c." (there an expression
sees those before it, so that its maps are others). The first three must give the same maps. Vision tower included.
Time is CPU seconds of one thread, for the clock tells of others who use the machine; medians and, within
a round, ratios.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from real_sizes import SIZE, SIZES, TINY_SAM, backbone
from rich.console import Console
from rich.table import Table

from flmm.backbones.base import Observation
from flmm.backbones.lmm import TransformersBackbone
from flmm.backbones.spans import pack, speak
from flmm.backbones.tap import Rows
from flmm.contract.check import whole
from flmm.contract.findings import noise
from flmm.data.sample import Sample, Target, encode_rle
from flmm.files import write_json
from flmm.protocols import GROUNDING_PROMPT, Answer, answers

EXPRESSIONS = (
    "the man in a red shirt", "a woman with an umbrella on the left", "the dog next to the bench",
    "white car behind the bus", "the second chair from the right", "girl looking at the camera",
    "a slice of pizza with olives", "the largest of the elephants", "boat near the shore",
)  # fmt: skip
MODERATE = "moderate"  # LLaVA-1.5's image tokens, in an eighth of its width and a quarter of its layers
SIZES[MODERATE] = (
    "llava-1.5-7b", "llava", 336, 14,
    {"hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 6, "num_attention_heads": 4},
    {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 8, "num_attention_heads": 8,
     "vocab_size": 4000, "max_position_embeddings": 4096},
    TINY_SAM,
)  # fmt: skip
CLOSE = 1e-4  # of a map's largest value
FORWARDS, ALONE = "a forward each", "each alone, as extract"
STANDARD, PAPER = "together (standard)", "one answer (paper)"
Maps = list[torch.Tensor]  # per expression (C, h, w)


def sample() -> Sample:
    """A photograph in which every expression refers to an object."""
    mask = np.zeros(SIZE, dtype=bool)
    mask[100:300, 100:400] = True
    targets = tuple(
        Target(str(number), (text,), encode_rle(mask), "thing", True, False)
        for number, text in enumerate(EXPRESSIONS)
    )
    return Sample("s", "refcoco", "val", 0, "train2014", "0.jpg", *SIZE, targets, ())


@torch.no_grad()
def one_forward(lmm: TransformersBackbone, picture: Image.Image, answer: Answer) -> torch.Tensor:
    """The maps (C, h, w) of an answer's only phrase: prompt and answer as one sequence, in one forward."""
    prompt = lmm.read(picture, GROUNDING_PROMPT)
    spoken = speak(answer, lmm.tokenizer, lmm.marks)
    packed = pack([spoken], prompt.length, lmm.model.device)
    rows = Rows(0, prompt.length + packed.queries, torch.cat(prompt.columns), packed.merge)
    with lmm.tap.reading([rows]) as recording:
        lmm.model(**whole(prompt, spoken.tokens), output_hidden_states=True, logits_to_keep=1)
    return prompt.maps(recording.attention())[0][0]


def ways_of(lmm: TransformersBackbone, picture: Image.Image) -> dict[str, Callable[[], Maps]]:
    """The four of them; each gives the maps of every expression."""
    standard, paper = answers(sample(), "standard"), answers(sample(), "paper")

    def observed(spoken: Sequence[Answer]) -> Maps:
        seen: list[Observation] = lmm.observe(picture, spoken, GROUNDING_PROMPT)
        return [maps for each in seen for maps in each.attention[0]]

    return {
        FORWARDS: lambda: [one_forward(lmm, picture, answer) for answer in standard],
        ALONE: lambda: [maps for answer in standard for maps in observed([answer])],
        STANDARD: lambda: observed(standard),
        PAPER: lambda: observed(paper),
    }


def agree(ways: dict[str, Callable[[], Maps]]) -> float:
    """The largest difference between the maps of ways that should give the same, relative to a map's largest value."""
    expected, apart = ways[FORWARDS](), 0.0
    for way in (ALONE, STANDARD):
        for mine, exact in zip(ways[way](), expected, strict=True):
            difference = (mine - exact).abs().amax((1, 2)) / exact.amax((1, 2))
            apart = max(apart, difference.max().item())
    assert apart < CLOSE, f"the ways do not agree: {apart}"
    return apart


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lmm = backbone(MODERATE, torch.device("cpu"), torch.float32)
    picture = noise(*SIZE)
    ways = ways_of(lmm, picture)
    apart = agree(ways)  # and the round that does not count
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(options.rounds):
        for way, run in ways.items():
            began = time.process_time()
            run()
            taken[way].append(time.process_time() - began)
    prompt = lmm.read(picture, GROUNDING_PROMPT)
    title = f"{len(EXPRESSIONS)} expressions, {prompt.length} tokens before them"
    table = Table("way", "median CPU ms", "times as fast as a forward each", title=title)
    found = {}
    for way, times in taken.items():
        faster = statistics.median(a / b for a, b in zip(taken[FORWARDS], times, strict=True))
        found[way] = {"ms": 1000 * statistics.median(times), "faster": faster}
        table.add_row(way, f"{found[way]['ms']:.0f}", f"{faster:.1f}")
    console = Console(width=100)
    console.print(table)
    console.print(f"maps {apart:.1g} apart at most, relative to a map's largest value")
    if options.out:
        write_json(options.out, {"prompt_tokens": prompt.length, "ways": found, "apart": apart})


if __name__ == "__main__":
    main()
