"""What reading attention costs: plain SDPA, the tap beside it, and eager attention with all maps returned.

    python benchmarks/attention_readout.py [--tokens 300 700 1500 3000] [--rounds 5] [--out FILE.json]

The three forwards of a random LLaMA-like model take turns. Time is CPU seconds of one thread, for the clock tells of
others who use the machine; quote the ratios. Memory: each way runs once in a process of its own, where a forward over a
few tokens has loaded all code; counted is how far the peak of the process's resident memory then rises in the forward
over what is resident before it, the model. Linux tells it (`/proc/self/status`); elsewhere that column is empty.
"""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

from flmm.backbones.tap import Rows, Tap
from flmm.files import write_json

PHRASE_TOKENS = 12
SIZES = {
    "vocab_size": 1000, "hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 8,
    "num_attention_heads": 8,
}  # fmt: skip
SDPA, TAP, EAGER = "SDPA, nothing read", "SDPA with the tap", "eager, output_attentions"
WAYS = (SDPA, TAP, EAGER)
FEW = 64  # tokens of the forward after which a process has loaded what it needs
PEAK = Path("/proc/self/clear_refs")  # 5 written into it: the peak counts from now on


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


def forward_of(way: str) -> Callable[[int], object]:
    """A forward over so many tokens, the last of them read, on a model of its own; what it gives is its result."""
    lmm = model()
    if way == TAP:
        tap = Tap(lmm)
    elif way == EAGER:
        lmm.set_attn_implementation({"text_config": "eager"})

    @torch.no_grad()
    def run(tokens: int) -> object:
        ids = torch.arange(tokens)[None] % SIZES["vocab_size"]
        if way != TAP:
            return lmm(input_ids=ids, logits_to_keep=1, output_attentions=way == EAGER)
        with tap.reading([read_of(tokens)]) as recording:
            output = lmm(input_ids=ids, logits_to_keep=1)
        return output, recording.attention()

    return run


def read_of(tokens: int) -> Rows:
    """One phrase, said by the last tokens, at image tokens that are half of all."""
    return Rows(
        sequence=0,
        queries=torch.arange(tokens - PHRASE_TOKENS, tokens),
        columns=torch.arange(1, tokens // 2),
        merge=torch.full((1, PHRASE_TOKENS), 1 / PHRASE_TOKENS),
    )


def seconds(tokens: int, rounds: int) -> dict[str, list[float]]:
    """CPU seconds per forward of the three ways, in turns, after one round that does not count."""
    ways = {way: forward_of(way) for way in WAYS}
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(rounds + 1):
        for way, run in ways.items():
            started = time.process_time()
            run(tokens)
            elapsed = time.process_time() - started
            if number:
                taken[way].append(elapsed)
    return taken


def megabytes(way: str, tokens: int) -> float | None:
    """By how much a forward raises the peak of resident memory, measured in a new process; None: cannot be told."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_risen, way, tokens).result() if PEAK.exists() else None


def _risen(way: str, tokens: int) -> float:
    run = forward_of(way)
    run(FEW)
    PEAK.write_text("5")
    before = _status("VmRSS")
    kept = run(tokens)
    peak = _status("VmHWM")
    del kept  # the maps count until here
    return peak - before


def _status(name: str) -> float:
    """A value of ``/proc/self/status``, in kB there, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{name}:"))


def main() -> None:
    """Print medians, ratios within a round, and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[300, 700, 1500, 3000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    table = Table("tokens", "forward", "median CPU ms", "median ratio to SDPA", "MB over the model")
    found = []
    for tokens in options.tokens:
        taken = seconds(tokens, options.rounds)
        for way, values in taken.items():
            ratio = statistics.median(a / b for a, b in zip(values, taken[SDPA], strict=True))
            milliseconds, memory = 1000 * statistics.median(values), megabytes(way, tokens)
            shown = "" if memory is None else f"{memory:.0f}"
            table.add_row(str(tokens), way, f"{milliseconds:.0f}", f"{ratio:.2f}", shown)
            found.append(
                {"tokens": tokens, "way": way, "ms": milliseconds, "ratio": ratio, "megabytes": memory}
            )
    Console(width=100).print(table)
    if options.out:
        write_json(options.out, found)


if __name__ == "__main__":
    main()
