"""What reading attention costs: plain SDPA, the tap beside it, and eager attention with all maps returned.

    python benchmarks/attention_readout.py [--tokens 300 700] [--rounds 5]

The three forwards of a random LLaMA-like model take turns; quote the ratios, not the seconds.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping

import torch
from rich.console import Console
from rich.table import Table
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from flmm.backbones.tap import Rows, Tap

PHRASE_TOKENS = 12
SIZES = {
    "vocab_size": 1000, "hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 8,
    "num_attention_heads": 8,
}  # fmt: skip


def model(sizes: Mapping[str, int] = SIZES) -> LlavaForConditionalGeneration:
    """A random model whose decoder has these sizes; the vision tower is not used."""
    vision = CLIPVisionConfig(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=32,
        patch_size=8,
    )
    text = LlamaConfig(**sizes)
    torch.manual_seed(0)
    return LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text)).eval()


@torch.no_grad()
def seconds(run: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def measure(tokens: int, rounds: int) -> dict[str, list[float]]:
    """Seconds per forward of the three ways, in turns, after one round that does not count."""
    ids = torch.randint(0, 1000, (1, tokens))
    rows = Rows(
        sequence=0,
        queries=torch.arange(tokens - PHRASE_TOKENS, tokens),
        columns=torch.arange(1, tokens // 2),
        merge=torch.full((1, PHRASE_TOKENS), 1 / PHRASE_TOKENS),
    )
    sdpa, tapped, eager = model(), model(), model()
    tap = Tap(tapped)
    eager.set_attn_implementation({"text_config": "eager"})

    def read() -> None:
        with tap.reading([rows]) as recording:
            tapped(input_ids=ids, logits_to_keep=1)
        recording.attention()

    ways: dict[str, Callable[[], object]] = {
        "SDPA, nothing read": lambda: sdpa(input_ids=ids, logits_to_keep=1),
        "SDPA with the tap": read,
        "eager, output_attentions": lambda: eager(input_ids=ids, logits_to_keep=1, output_attentions=True),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, run in ways.items():
            elapsed = seconds(run)
            if number:
                taken[name].append(elapsed)
    return taken


def main() -> None:
    """Measure and print a table of medians and of ratios within a round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, nargs="+", default=[300, 700, 1500])
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    table = Table("tokens", "forward", "median ms", "median ratio to SDPA")
    for tokens in arguments.tokens:
        taken = measure(tokens, arguments.rounds)
        plain = taken["SDPA, nothing read"]
        for name, values in taken.items():
            ratio = statistics.median(a / b for a, b in zip(values, plain, strict=True))
            table.add_row(str(tokens), name, f"{1000 * statistics.median(values):.0f}", f"{ratio:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
