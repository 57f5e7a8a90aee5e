"""An answer as its shard holds it: coded, not copied, and decoded where the head is.

Reading and decompressing is all that a loader does; a byte per value travels to the device, which makes float32 of it.
Legend: P phrases, C channels of a grid, h w its size, L layers, T tokens of a phrase, D hidden width.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from flmm.backbones.base import Grid, HeadInput
from flmm.cache import codec
from flmm.cache.schema import Formats
from flmm.data.geometry import View
from flmm.selection import Selection

CPU = torch.device("cpu")
CODED = ("attention", "attention_scales", "hidden", "hidden_scales")
Row = dict[str, Any]


@dataclass(frozen=True)
class StoredAnswer:
    """One answer's rows: ``phrases``, the plain columns of each, and the coded ones as tensors on the CPU.

    ``attention`` (P, values of all grids) and ``attention_scales`` (P, maps of all grids); ``hidden`` (K, D) and
    ``hidden_scales`` (K,) with K = sum of L T. They are the memory of the shard: not to be written to.
    """

    phrases: tuple[Row, ...]
    attention: torch.Tensor
    attention_scales: torch.Tensor
    hidden: torch.Tensor
    hidden_scales: torch.Tensor
    selection: Selection | None

    def head_input(self, device: torch.device = CPU) -> HeadInput:
        """The answer for a head, decoded on ``device``. All phrases are about one image: their grids are the same."""
        first, phrases = self.phrases[0], len(self.phrases)
        values, scales = self.attention.to(device), self.attention_scales.to(device)
        attention = []
        at_value = at_map = 0
        for grid in first["grids"]:
            maps, cells = grid["channels"], grid["rows"] * grid["columns"]
            decoded = codec.decode(
                values[:, at_value : at_value + maps * cells].reshape(phrases * maps, cells),
                scales[:, at_map : at_map + maps].reshape(-1),
                signed=False,
            )
            attention.append(decoded.reshape(phrases, maps, grid["rows"], grid["columns"]))
            at_value, at_map = at_value + maps * cells, at_map + maps
        return HeadInput(
            attention=tuple(attention),
            grids=tuple(
                Grid(grid["name"], grid["rows"], grid["columns"], View(**grid["view"]))
                for grid in first["grids"]
            ),
            hidden=self._hidden(device),
            image_size=(first["height"], first["width"]),
            selection=self.selection,
        )

    def _hidden(self, device: torch.device) -> tuple[torch.Tensor, ...]:
        """Per phrase (L, T, D)."""
        decoded = codec.decode(self.hidden.to(device), self.hidden_scales.to(device), signed=True)
        sizes = [(row["hidden_layers"], row["hidden_tokens"], row["hidden_width"]) for row in self.phrases]
        parts = decoded.split([layers * tokens for layers, tokens, _ in sizes])
        return tuple(part.reshape(size) for part, size in zip(parts, sizes, strict=True))


def stored_answer(rows: pa.Table, formats: Formats, selection: Selection | None) -> StoredAnswer:
    """The rows of one answer, at least one.

    Raises:
        ValueError: values or scales are not as many as the grids and sizes say.
    """
    phrases = tuple(rows.drop_columns(list(CODED)).to_pylist())
    grids, widths = phrases[0]["grids"], {row["hidden_width"] for row in phrases}
    maps = sum(grid["channels"] for grid in grids)
    values = sum(grid["channels"] * grid["rows"] * grid["columns"] for grid in grids)
    vectors = [row["hidden_layers"] * row["hidden_tokens"] for row in phrases]
    if any(row["grids"] != grids for row in phrases) or len(widths) != 1:
        raise ValueError("its phrases have grids or hidden states of different sizes")
    width = widths.pop()
    sizes = {
        "attention": [values] * len(phrases),
        "attention_scales": [maps] * len(phrases),
        "hidden": [number * width for number in vectors],
        "hidden_scales": vectors,
    }
    kinds = {"attention": codec.tensor_type(formats.attention), "hidden": codec.tensor_type(formats.hidden)}
    found = {
        name: _coded(rows[name], kinds.get(name, torch.float32), expected, name)
        for name, expected in sizes.items()
    }
    return StoredAnswer(
        phrases=phrases,
        attention=found["attention"].reshape(len(phrases), values),
        attention_scales=found["attention_scales"].reshape(len(phrases), maps),
        hidden=found["hidden"].reshape(sum(vectors), width),
        hidden_scales=found["hidden_scales"],
        selection=selection,
    )


def _coded(column: pa.ChunkedArray, kind: torch.dtype, expected: list[int], name: str) -> torch.Tensor:
    """A binary column's values one after the other, ``expected`` of them in each row."""
    values, ends = binary_values(column)
    found = [end - start for start, end in pairwise(ends)]
    if found != [count * kind.itemsize for count in expected]:
        raise ValueError(f"{name} of {found} bytes, which does not fit its {sum(expected)} values")
    return values.view(kind)


def binary_values(column: pa.ChunkedArray) -> tuple[torch.Tensor, list[int]]:
    """The values of a binary column one after the other, uint8 and not copied, and where each begins and ends."""
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    buffers = array.buffers()
    if pa.types.is_fixed_size_binary(array.type):
        data, width = buffers[1], array.type.byte_width
        ends = [(array.offset + row) * width for row in range(len(array) + 1)]
    else:
        data = buffers[2]
        ends = np.frombuffer(buffers[1], np.int32)[array.offset : array.offset + len(array) + 1].tolist()
    length = ends[-1] - ends[0]
    if not length:
        return torch.empty(0, dtype=torch.uint8), [0] * len(ends)
    values = pa.Array.from_buffers(pa.uint8(), length, [None, data.slice(ends[0], length)])
    return torch.from_dlpack(values), [end - ends[0] for end in ends]
