"""Every fault that the pipeline is made for, tried at random moments: is the rest the same bytes after a plain rerun?

    python benchmarks/pipeline_faults.py [--tries 3] [--fault NAME …] [--seed 7] [--out FILE.json]

A small project (one backbone of the shapes suite, a few images) runs undisturbed once. Each try puts it back, does the
fault, runs the same command again and compares heads, shards, predictions, pictures and metrics byte by byte. A full
disk needs root, for a small tmpfs. Jobs are forked from a process that has imported torch, so that a try takes seconds.
"""

import argparse
import random
import re
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.disturbances import DISTURBANCES, EQUAL, LOST, PIPELINE, TOLD, Disturbance, Outcome
from benchmarks.disturbed import Disturbed
from benchmarks.server_gone import server_gone
from flmm.files import write_json

FAULTS: dict[str, Disturbance] = {**DISTURBANCES, "MLflow's server gone": server_gone}


@dataclass
class Line:
    """What came out of all tries of a fault. ``missed``: runs that ended before the fault, and were repeated."""

    fault: str
    tries: int
    equal: int = 0
    told: int = 0
    lost: int = 0
    missed: int = 0
    unlocked: int = 0
    temporary_files: int = 0
    seconds: float = 0
    said: dict[str, int] = field(default_factory=dict)

    def cells(self) -> list[str]:
        """Of a table, the sentence that was said most often last."""
        most = max(self.said, key=lambda text: self.said[text], default="")
        return [
            self.fault,
            *map(str, (self.tries, self.equal, self.told, self.lost)),
            most.replace("|", "/")[:150],
        ]


def tried(bench: Disturbed, fault: str, tries: int, seed: int) -> Line:
    """All tries of one fault."""
    line, said, kinds = Line(fault, tries), Counter[str](), Counter[str]()
    bench.missed = bench.unlocked = bench.litter = 0
    started = time.monotonic()
    for number in track(range(tries), fault, console=Console(stderr=True)):
        try:
            outcome = FAULTS[fault](bench, number, random.Random(f"{seed} {fault} {number}"))
        except Exception as error:  # what this script is there to find
            outcome = Outcome(LOST, f"{type(error).__name__}: {error}")
        kinds[outcome.kind] += 1
        if outcome.kind == LOST:
            print(f"{fault}, try {number}: {outcome.said}", file=sys.stderr)
        if outcome.said:
            said[re.sub(r"(cache|results|data)/\S+/", r"\1/…/", " ".join(outcome.said.split()))] += 1
    line.equal, line.told, line.lost = (kinds[kind] for kind in (EQUAL, TOLD, LOST))
    line.missed, line.unlocked, line.temporary_files = bench.missed, bench.unlocked, bench.litter
    line.seconds, line.said = round(time.monotonic() - started, 1), dict(said.most_common())
    return line


def main() -> None:
    """Try everything, print a table, also in Markdown, and write all that was said as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tries", type=int, default=3, help="of each fault")
    parser.add_argument(
        "--fault", action="append", choices=FAULTS, metavar="NAME", help="one of " + ", ".join(FAULTS)
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, help="a JSON file, with every sentence")
    asked = parser.parse_args()
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="flmm-faults-") as folder:
        bench = Disturbed(Path(folder))
        with bench.quick():
            code, said = bench.run(PIPELINE)
            if code:
                sys.exit(f"the undisturbed run ended with {code}:\n{said[-2000:]}")
            bench.save()
            for fault in asked.fault or FAULTS:
                lines.append(tried(bench, fault, asked.tries, asked.seed))
                if asked.out:
                    write_json(asked.out, [asdict(line) for line in lines])
    table = Table("fault", "tries", EQUAL, TOLD, LOST, "what was said (most often)")
    for line in lines:
        table.add_row(*line.cells())
    Console(width=220).print(table)
    for line in lines:
        print("| " + " | ".join(line.cells()) + " |")
    sys.exit(any(line.lost for line in lines))


if __name__ == "__main__":
    main()
