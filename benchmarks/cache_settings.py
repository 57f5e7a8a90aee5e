"""What a smaller cache costs: cIoU on RES val of heads that are trained and evaluated from caches of several settings.

    python benchmarks/cache_settings.py [--model shapes-llava] [--seeds 7 8 9] [--setting NAME …] [--out FILE.json]

The shapes suite with one backbone, in a folder of its own, by the pipeline: for each setting the attention is extracted
anew and heads are trained that differ in their seed. Half a byte is not a setting of the product: shards of one byte
are read with each value moved to the nearest that a code of 4 bits could have, a zero and 15 octaves for maps, a zero,
a sign and 7 octaves for hidden states.
"""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from flmm.files import write_json
from flmm.pipeline import paths
from tests.workflow.conftest import copy_project

FIRST = 0  # of `train.seeds`: `train`'s own head, which is not asked for
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "a byte": {},
    "float16": {"attention": "float16", "hidden": "float16"},
    "maps in half a byte": {},
    "hidden states in half a byte": {},
    "8 heads": {"heads": 8},
    "4 heads": {"heads": 4},
    "2 layers": {"layers": 2},
    "4 heads, 2 layers": {"heads": 4, "layers": 2},
}
PLAIN = {"attention": "log8", "hidden": "log8", "heads": "all", "layers": "all"}
HALVED = {"maps in half a byte": "attention", "hidden states in half a byte": "hidden"}
CODED = {"attention": ("_PLAIN", 15), "hidden": ("_SIGNED", 7)}  # the codec's table, octaves of four bits
# `flmm` with a table in which every code has the value of the nearest code of four bits.
HALF = """
import sys
import numpy as np
from flmm.cache import codec
from flmm.cli import main

name, octaves = sys.argv.pop(1), int(sys.argv.pop(1))
table = getattr(codec, name).table
with np.errstate(divide="ignore"):
    below = -np.log2(np.abs(table))
nearest = np.sign(table) * 2.0 ** -np.clip(np.round(below), 0, octaves - 1)
table[:] = np.where(below > octaves, 0, nearest)
main()
"""


@dataclass(frozen=True)
class Line:
    """One setting: bytes of the training shards per phrase, cIoU in percent of every seed's head."""

    setting: str
    bytes_per_phrase: float
    coarse: list[float]
    refined: list[float]


class Bench:
    """The project that all settings are tried in, one after the other."""

    def __init__(self, folder: Path, model: str, seeds: Sequence[int]) -> None:
        self.project, self.model, self.seeds = copy_project(folder), model, seeds
        original = Path(__file__).parents[1] / "params.yaml"
        (folder / "params.yaml").write_bytes(original.read_bytes())  # in the sizes of the suite
        self._set("backbones", value=[model])
        self._set("train", "seeds", value=[FIRST, *seeds])
        self._set("evaluate", "benchmarks", value=["res"])

    def _set(self, *path: str, value: object) -> None:
        self.project.set(*path, value=value)

    def run(self, setting: str) -> Line:
        """Extract, train and count with one setting."""
        for name, value in {**PLAIN, **SETTINGS[setting]}.items():
            self._set("extract", name, value=value)
        files = [f"results/shapes/{self.model}/repeat/{seed}/metrics.json" for seed in self.seeds]
        self.project.run("snakemake", "--cores", "2", *files)
        halved = HALVED.get(setting)
        if halved is not None:
            for seed in self.seeds:
                table, octaves = CODED[halved]
                command = ["repeat", "--backbone", self.model, "--seed", str(seed)]
                self.project.run(sys.executable, "-c", HALF, table, str(octaves), *command)
        values = [self._values(self.project.folder / file) for file in files]
        if halved is not None:  # these were not made by what params.yaml says
            shutil.rmtree(self.project.folder / "results/shapes" / self.model / "repeat")
        coarse, refined = map(list, zip(*values, strict=True))
        return Line(setting, self._bytes_per_phrase(halved), coarse, refined)

    def _values(self, file: Path) -> tuple[float, float]:
        records = json.loads(file.read_text(encoding="utf-8"))
        wanted = {"metric": "cIoU", "split": "val", "protocol": "standard"}
        values = {
            record["head"]: record["value"]
            for record in records
            if all(record[name] == value for name, value in wanted.items())
        }
        return values["unet"], values["unet+sam"]

    def _bytes_per_phrase(self, halved: str | None) -> float:
        """Of the training parts as they were extracted last; ``halved``: the column that is counted as its half."""
        results = self.project.folder / "results/shapes" / self.model / "extract"
        size = phrases = 0.0
        for pointer in results.glob("*train*.json"):
            key = json.loads(pointer.read_text(encoding="utf-8"))["key"]
            shards = self.project.folder / paths.extract_shards(self.model, key, pointer.stem)
            for shard in shards.glob("*.parquet"):
                footer = pq.read_metadata(shard)
                phrases += footer.num_rows
                groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
                for column in (
                    group.column(number) for group in groups for number in range(group.num_columns)
                ):
                    share = 0.5 if column.path_in_schema == halved else 1.0
                    size += share * column.total_compressed_size
        return size / phrases


def main() -> None:
    """Try the settings in turn, print a table in Markdown too, and write every value as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", default="shapes-llava", help="a backbone of the shapes suite in params.yaml"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument("--setting", action="append", choices=SETTINGS, metavar="NAME")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    lines: list[Line] = []
    with tempfile.TemporaryDirectory(prefix="flmm-settings-") as folder:
        bench = Bench(Path(folder), asked.model, asked.seeds)
        for setting in asked.setting or SETTINGS:
            lines.append(bench.run(setting))
            print(lines[-1], file=sys.stderr, flush=True)
            if asked.out:
                write_json(asked.out, [asdict(line) for line in lines])
    cells = [
        [line.setting, f"{line.bytes_per_phrase:,.0f}", *map(spread, (line.coarse, line.refined))]
        for line in lines
    ]
    table = Table("cache", "bytes a phrase", "coarse", "refined", title=f"{asked.model}, RES val cIoU")
    for row in cells:
        table.add_row(*row)
    Console().print(table)
    for row in cells:
        print("| " + " | ".join(row) + " |")


def spread(values: Sequence[float]) -> str:
    """Mean and sample standard deviation."""
    return f"{fmean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"


if __name__ == "__main__":
    main()
