"""Parquet shards, whatever is in them: opened with page checksums, read by row group, remembered for a while.

A shard appears whole or not at all (``flmm.files.atomic_path``), and each page carries a checksum: what is cut short or
changed afterwards is an error that names the file, never another value.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flmm.errors import InputError

OPEN_FILES = 64  # of one reader
# How shards are written. Codes and float16 noise neither compress (zstd saves 2 to 5 % of a real model's maps, and to
# undo it takes two thirds of a reader's time) nor repeat; page checksums make a damaged byte an error.
PARQUET: dict[str, Any] = {
    "compression": "none",
    "use_dictionary": False,
    "write_statistics": False,
    "write_page_checksum": True,
}
# What pyarrow raises on a damaged file, or one of another kind: also of letters that are none.
DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError)


class ShardFile:
    """One shard, open for reading. ``step``: what makes it anew, for the messages (``extract``, ``embed``).

    Raises:
        InputError: absent, or not a whole Parquet file.
    """

    def __init__(self, path: Path, step: str) -> None:
        self.path, self._step = path, step
        try:
            self._file = pq.ParquetFile(path, page_checksum_verification=True)
            self.schema: pa.Schema = self._file.schema_arrow  # names and types of the columns
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such file; run {step} again") from error
        except DAMAGE as error:
            raise self.broken(error) from error

    @property
    def rows(self) -> int:
        """Rows of all row groups."""
        count: int = self._file.metadata.num_rows
        return count

    @property
    def groups(self) -> int:
        """Row groups."""
        count: int = self._file.num_row_groups
        return count

    def read(self, group: int, columns: list[str] | None = None) -> pa.Table:
        """One row group, all columns or some; only of all is it seen that none lies where another one does.

        Raises:
            InputError: a page is damaged, or a column is not there.
        """
        absent = sorted(set(columns or ()) - set(self.schema.names))
        if absent:
            raise self.broken(f"no column {', '.join(absent)}")
        try:
            # Without threads: a group is read in a few milliseconds, by one of several workers.
            table = self._file.read_row_group(group, columns=columns, use_threads=False)
        except DAMAGE as error:
            raise self.broken(error) from error
        parts = self._file.metadata.row_group(group)
        if table.num_rows != parts.num_rows:  # the footer counts a column's values, too
            raise self.broken(f"{table.num_rows} values in {parts.num_rows} rows")
        if columns is None and not _gapless(parts):
            raise self.broken("its columns lie at other places")
        return table

    def column(self, name: str) -> list[Any]:
        """The values of one column; no other column's pages are read."""
        return [value for group in range(self.groups) for value in self.read(group, [name])[name].to_pylist()]

    def check(self) -> None:
        """Read every page once, and so compare every checksum; one row group is held at a time.

        Raises:
            InputError: a page is damaged.
        """
        for group in range(self.groups):
            self.read(group)

    def broken(self, reason: object) -> InputError:
        """The error to raise where the content makes no sense."""
        return broken_shard(self.path, self._step, reason)


def _gapless(group: pq.RowGroupMetaData) -> bool:
    """Whether the columns of a row group lie one after the other, as they are written.

    For a group that was read: where a column's description is damaged, pyarrow ends the process here, not the reader.
    """
    columns = list(map(group.column, range(group.num_columns)))
    # Earlier releases wrote dictionaries, which come before the values.
    begins = [
        each.data_page_offset if each.dictionary_page_offset is None else each.dictionary_page_offset
        for each in columns
    ]
    ends = [begin + each.total_compressed_size for begin, each in zip(begins, columns, strict=True)]
    return begins[1:] == ends[:-1]


def broken_shard(path: Path, step: str, reason: object) -> InputError:
    """What is said of every shard that cannot be used."""
    return InputError(f"{path}: not a whole shard ({reason}); delete it and run {step} again")


class OpenShards:
    """Shards that stay open, the ones used last: a file's footer, which lists all row groups, is read once."""

    def __init__(self, step: str) -> None:
        self._step = step
        self._files: OrderedDict[Path, ShardFile] = OrderedDict()

    def __getitem__(self, path: Path) -> ShardFile:
        file = self._files.pop(path, None) or ShardFile(path, self._step)
        self._files[path] = file
        if len(self._files) > OPEN_FILES:
            self._files.popitem(last=False)
        return file

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": OrderedDict()}  # another process opens its own


class GroupMemory:
    """The row groups read last, up to ``limit`` bytes together, but at least one."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tables: OrderedDict[Hashable, pa.Table] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._tables)

    def get(self, key: Hashable, read: Callable[[], pa.Table]) -> pa.Table:
        """The row group of ``key``, read only where it is not in memory."""
        if key in self._tables:
            self._tables.move_to_end(key)
            return self._tables[key]
        table = self._tables[key] = read()
        self._bytes += table.nbytes
        while self._bytes > self._limit and len(self._tables) > 1:
            _, dropped = self._tables.popitem(last=False)
            self._bytes -= dropped.nbytes
        return table
