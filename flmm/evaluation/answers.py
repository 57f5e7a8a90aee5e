"""From the answers table to records: the plain LMM (head ``none``) and the LMM with the head attached."""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from flmm.evaluation import mmbench, pope
from flmm.evaluation.records import Record
from flmm.heads.names import ATTACHED, PLAIN

PROTOCOL = "upstream"
_COLUMNS = {PLAIN: "answer_plain", ATTACHED: "answer_attached"}
_SCORES: dict[str, Callable[[Sequence[Any], str], dict[str, float]]] = {
    "pope": pope.scores,
    "mmbench": mmbench.scores,
}


def answer_records(table: pa.Table, *, suite: str, backbone: str, benchmark: str) -> list[Record]:
    """Records of every split of a POPE or MMBench answers table, in fractions.

    ``answers_equal``: share of answers that are the same tokens without and with the head.
    """
    records: list[Record] = []
    rows = table.to_pylist()
    for split in sorted({row["split"] for row in rows}):
        mine = [row for row in rows if row["split"] == split]
        values = {head: _SCORES[benchmark](mine, column) for head, column in _COLUMNS.items()}
        same = sum(row["tokens_plain"] == row["tokens_attached"] for row in mine)
        values[ATTACHED]["answers_equal"] = same / len(mine)
        records += [
            Record(
                suite=suite, backbone=backbone, head=head, benchmark=benchmark, split=split,
                protocol=PROTOCOL, metric=metric, value=value,
            )
            for head, found in values.items()
            for metric, value in found.items()
        ]  # fmt: skip
    return records
