"""From observations to shards: bounded memory, whole files or none."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from flmm.backbones.base import Grid, Observation
from flmm.cache import codec
from flmm.cache.schema import PHRASE_SCHEMA, Formats, Shard
from flmm.cache.shards import PARQUET
from flmm.data.sample import Sample
from flmm.errors import InputError, StepError
from flmm.files import atomic_path, sha256_file
from flmm.protocols import Answer

Row = dict[str, Any]

# Row groups are what the reader loads at once: small answers share one, an answer is never split.
ROW_GROUP_BYTES = 1 << 20


def phrase_rows(
    sample: Sample, answer: Answer, observation: Observation, protocol: str, draw: int, formats: Formats
) -> list[Row]:
    """The cache rows of one answer, one per phrase.

    Raises:
        StepError: the frozen LMM produced a value that is not finite (names the answer).
    """
    assert answer.answer_id == observation.answer_id, (answer.answer_id, observation.answer_id)
    common = {
        "sample_id": sample.sample_id,
        "answer_id": answer.answer_id,
        "archive": sample.archive,
        "image": sample.image,
        "image_id": sample.image_id,
        "height": sample.height,
        "width": sample.width,
        "protocol": protocol,
        "draw": draw,
        "grids": [
            _grid(grid, maps) for grid, maps in zip(observation.grids, observation.attention, strict=True)
        ],
    }
    rows = []
    for phrase, index in enumerate(observation.targets):
        target = sample.targets[index]
        maps = [grid_maps[phrase] for grid_maps in observation.attention]  # per grid (C, h, w)
        described = {
            "target": index,
            "target_id": target.target_id,
            "text": observation.texts[phrase],
            "rle": target.rle,
            "category": target.category,
            "is_thing": target.is_thing,
            "is_plural": target.is_plural,
        }
        try:
            payload = {
                **_attention(maps, formats.attention),
                **_hidden(observation.hidden[phrase], formats.hidden),
            }
        except FloatingPointError as error:
            raise StepError(
                f"{observation.answer_id}: {error} of phrase {observation.texts[phrase]!r} is not finite; "
                "try extract.dtype: float32"
            ) from error
        rows.append({**common, **described, **payload})
    return rows


def _grid(grid: Grid, maps: torch.Tensor) -> Row:
    assert maps.shape[-2:] == (grid.rows, grid.columns), (maps.shape, grid)
    return {**asdict(grid), "channels": maps.shape[1]}


def _attention(maps: Sequence[torch.Tensor], storage: str) -> Row:
    encoded = [codec.encode(_finite(grid.flatten(1), "attention"), storage, signed=False) for grid in maps]
    return {
        "attention": b"".join(payload for payload, _ in encoded),
        "attention_scales": b"".join(scales for _, scales in encoded),
    }


def _hidden(hidden: torch.Tensor, storage: str) -> Row:
    layers, tokens, width = hidden.shape
    payload, scales = codec.encode(_finite(hidden.flatten(0, 1), "hidden state"), storage, signed=True)
    sizes = {"hidden_layers": layers, "hidden_tokens": tokens, "hidden_width": width}
    return {"hidden": payload, "hidden_scales": scales, **sizes}


def _finite(values: torch.Tensor, name: str) -> codec.FloatArray:
    array: codec.FloatArray = values.detach().float().cpu().numpy()
    if not np.isfinite(array).all():
        raise FloatingPointError(name)
    return array


class ShardWriter:
    """Writes one shard answer by answer; the file gets its name only when the ``with`` block ends well.

    Raises (from the block's end or from ``write``):
        StepError: the disk is full or not writable.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pending: list[Row] = []
        self._pending_bytes = 0

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self._path))
            self._writer = stack.enter_context(pq.ParquetWriter(temporary, PHRASE_SCHEMA, **PARQUET))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        if kind is not None:
            return self._stack.__exit__(kind, error, trace)
        with self._stack:
            self._flush()
        return None

    def write(self, rows: Sequence[Row]) -> None:
        """Append the rows of one answer (``phrase_rows``); an answer without phrases adds nothing."""
        size = sum(len(row["attention"]) + len(row["hidden"]) for row in rows)
        if self._pending and self._pending_bytes + size > ROW_GROUP_BYTES:
            self._flush()
        self._pending.extend(rows)
        self._pending_bytes += size

    def _flush(self) -> None:
        if self._pending:
            self._writer.write_table(pa.Table.from_pylist(self._pending, schema=PHRASE_SCHEMA))
        self._pending, self._pending_bytes = [], 0


def write_shard(path: Path, answers: Iterable[Sequence[Row]]) -> Shard:
    """Write one shard from the rows of its answers, and describe it for the manifest."""
    with ShardWriter(path) as writer:
        for rows in answers:
            writer.write(rows)
    return describe_shard(path)


def describe_shard(path: Path) -> Shard:
    """The manifest's entry of a finished shard; extract uses it to keep the shards of a run that was killed.

    Raises:
        InputError: the file is absent or not a whole Parquet file.
    """
    try:
        ids = pq.read_table(path, columns=["answer_id"])["answer_id"].to_pylist()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; run extract again") from error
    except (pa.ArrowInvalid, OSError, KeyError) as error:
        raise InputError(f"{path}: not a whole shard ({error}); delete it and run extract again") from error
    return Shard(file=path.name, rows=len(ids), answers=len(dict.fromkeys(ids)), sha256=sha256_file(path))
