"""What RES masks depend on: cIoU by what the expression needs, from a run's predictions (shapes suite).

    python benchmarks/res_by_expression.py [RESULTS]        # default: results/shapes

On split val under the protocol standard; coarse and refined masks of the trained head of every backbone.
"""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from flmm.shapes.world.expressions import POSITIONS, RELATIONS

HEADS = ("unet", "unet+sam")  # coarse, refined


def kind(text: str) -> str:
    """What an expression of the suite's grammar needs beside its noun."""
    words = text.removeprefix("the ").split()
    if any(f" {relation} the " in text for relation in RELATIONS):
        return "relation"
    if words[0] in POSITIONS:
        return "position"
    if words[0] in ("large", "small"):
        return "size"
    return "name" if len(words) == 2 else "shape"


def by_kind(file: Path) -> dict[tuple[str, str], tuple[int, float]]:
    """Count of sentences and cIoU (percent) by head and kind."""
    columns = ["text", "split", "protocol", "head", "intersection", "area_union"]
    table = pq.read_table(file, columns=columns)
    table = table.filter((pc.field("split") == "val") & (pc.field("protocol") == "standard"))
    table = table.append_column("kind", pa.array([kind(text) for text in table["text"].to_pylist()]))
    sums = table.group_by(["head", "kind"]).aggregate(
        [("intersection", "sum"), ("area_union", "sum"), ("text", "count")]
    )
    return {
        (row["head"], row["kind"]): (
            row["text_count"],
            100 * row["intersection_sum"] / row["area_union_sum"],
        )
        for row in sums.to_pylist()
    }


def main() -> None:
    """Print the table."""
    results = Path(sys.argv[1] if len(sys.argv) > 1 else "results/shapes")
    files = sorted(results.glob("*/evaluate/res/predictions.parquet"))
    if not files:
        sys.exit(
            f"{results}: no evaluate/res/predictions.parquet of any backbone; run `make reproduce` first"
        )
    found = {file.parts[-4]: by_kind(file) for file in files}
    kinds = {each: count for (_, each), (count, _) in next(iter(found.values())).items()}
    table = Table("expression", "sentences", *found, title="RES val, cIoU: coarse / refined", box=None)
    for each in sorted(kinds, key=lambda k: -kinds[k]):
        cells = [" / ".join(f"{cells[head, each][1]:.1f}" for head in HEADS) for cells in found.values()]
        table.add_row(each, str(kinds[each]), *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
