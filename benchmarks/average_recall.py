"""PNG's average recall in closed form against the loop over its 100,000 thresholds that defines it.

    python benchmarks/average_recall.py [--phrases 50000] [--rounds 3] [--out FILE.json]

Random IoUs, a fifth of them exactly on a threshold, and some 0 and 1. Both ways take turns after a round of few
phrases that does not count. Time is CPU seconds, for the clock tells of others who use the machine. Quote the ratio.
"""

import argparse
import statistics
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from flmm.benchmarks.metrics import average_recall
from flmm.files import write_json

STEP = 1e-5


def loop(ious: np.ndarray) -> float:
    """The area under share(IoU >= t), in percent: one comparison of all phrases per threshold."""
    area = 0.0
    for low, high in pairwise(np.arange(0, 1, STEP)):
        area += (high - low) * float(np.mean(ious >= low))
    return 100 * area


def closed(ious: np.ndarray) -> float:
    """The project's."""
    return average_recall(ious).value


def random_ious(count: int) -> np.ndarray:
    """IoUs (N,) in 0-1."""
    generator = np.random.default_rng(0)
    ious = generator.random(count)
    ious[::5] = generator.integers(0, 100_000, len(ious[::5])) * STEP
    ious[1::50], ious[2::50] = 0.0, 1.0
    return ious


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--phrases", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    ious, ways = random_ious(options.phrases), {"loop": loop, "closed form": closed}
    values: dict[str, float] = {}
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(options.rounds + 1):
        for way, run in ways.items():
            began = time.process_time()
            value = run(ious if number else ious[:10])
            if number:
                taken[way].append(time.process_time() - began)
                values[way] = value
    medians = {way: statistics.median(times) for way, times in taken.items()}
    ratios = [a / b for a, b in zip(taken["loop"], taken["closed form"], strict=True)]
    apart = abs(values["loop"] - values["closed form"])
    table = Table("way", "average recall, %", "median CPU ms", title=f"{options.phrases} phrases")
    for way in ways:
        table.add_row(way, f"{values[way]:.9f}", f"{1000 * medians[way]:.2f}")
    console = Console(width=100)
    console.print(table)
    faster = statistics.median(ratios)
    console.print(f"{faster:.0f} x as fast; {apart:.1g} percentage points apart")
    if options.out:
        write_json(options.out, {"seconds": medians, "faster": faster, "values": values, "apart": apart})


if __name__ == "__main__":
    main()
