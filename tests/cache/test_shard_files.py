"""What maps and embeddings share: pages that are checked, and row groups that are remembered for a while."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flmm.cache.shards import GroupMemory, ShardFile
from flmm.errors import InputError


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    """Ten rows in groups of four, with a column of noise."""
    noise = np.random.default_rng(0).bytes(10 * 500)
    names, values = [str(n) for n in range(10)], [noise[500 * n : 500 * n + 500] for n in range(10)]
    path = tmp_path / "shard-00000.parquet"
    pq.write_table(
        pa.table({"name": names, "noise": values}), path, row_group_size=4, compression="none",
        use_dictionary=False, write_statistics=False, write_page_checksum=True,
    )  # fmt: skip
    return path


def test_a_whole_shard_is_read_by_group_and_by_column(shard: Path) -> None:
    file = ShardFile(shard, "extract")
    file.check()
    assert (file.rows, file.groups, file.schema.names) == (10, 3, ["name", "noise"])
    assert file.read(2, ["name"])["name"].to_pylist() == ["8", "9"]
    assert file.column("name") == [str(n) for n in range(10)]


def test_a_damaged_page_is_found_by_check_and_not_read_as_another_value(shard: Path) -> None:
    content = bytearray(shard.read_bytes())
    noise = ShardFile(shard, "embed").read(1)["noise"][2].as_py()
    content[bytes(content).index(noise) + 250] ^= 0xFF
    shard.write_bytes(bytes(content))
    file = ShardFile(shard, "embed")
    assert file.column("name")[6] == "6"  # another column's pages are whole
    file.read(0)
    for read in (lambda: file.read(1), file.check):
        with pytest.raises(
            InputError, match=r"00000\.parquet: not a whole shard .*delete it and run embed again"
        ):
            read()


def test_an_absent_file_a_cut_one_and_one_without_a_column_are_named(shard: Path) -> None:
    with pytest.raises(InputError, match=r"none\.parquet: no such file; run extract again"):
        ShardFile(shard.parent / "none.parquet", "extract")
    with pytest.raises(InputError, match="not a whole shard"):
        ShardFile(shard, "extract").column("other")
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"shard-00000\.parquet: not a whole shard .*run extract again"):
        ShardFile(shard, "extract")


@given(st.integers(1, 4000), st.lists(st.tuples(st.integers(0, 5), st.integers(1, 60)), max_size=40))
def test_memory_gives_what_was_read_and_stays_under_its_limit(
    limit: int, asked: list[tuple[int, int]]
) -> None:
    memory, reads = GroupMemory(limit), 0
    sizes: dict[int, int] = {}
    for key, size in asked:
        rows = sizes.setdefault(key, size)

        def read(rows: int = rows) -> pa.Table:
            nonlocal reads
            reads += 1
            return pa.table({"value": list(range(rows))})

        before = reads
        assert memory.get(key, read).num_rows == rows
        again = reads
        memory.get(key, read)
        assert reads == again and again - before <= 1  # what was read last is still there
        held = sum(table.nbytes for table in memory._tables.values())
        assert held <= limit or len(memory) == 1
