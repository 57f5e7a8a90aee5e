"""Parquet's list of columns at the end of a shard: all that carries no checksum, and so is looked at before it is used.

A changed bit there may rename a column or give it another type. Readers would end in an error of Python's then.
"""

from pathlib import Path

import pyarrow as pa

from flmm.cache.schema import PHRASE_SCHEMA, SCHEMA_VERSION, shard_version
from flmm.cache.shards import ShardFile

_EMBEDDINGS = {
    "archive": pa.types.is_string,
    "image": pa.types.is_string,
    "embedding": pa.types.is_fixed_size_binary,
}


def check_footers(manifest: Path, step: str) -> None:
    """Check every shard beside a manifest; ``step`` (extract or embed) says what columns it has.

    Raises:
        InputError: a shard is damaged there (names it).
    """
    for path in sorted(manifest.parent.glob("shard-*.parquet")):
        open_checked(path, step)


def open_checked(path: Path, step: str) -> ShardFile:
    """A shard whose columns have the names and types that ``step`` writes.

    Raises:
        InputError: it is absent or damaged (names it).
    """
    shard = ShardFile(path, step)
    if not (_is_embeddings(shard.schema) if step == "embed" else _is_attention(shard.schema)):
        raise shard.broken("its columns have other names or types")
    return shard


def _is_attention(schema: pa.Schema) -> bool:
    # Readers say more about one of an earlier version.
    return shard_version(schema) != SCHEMA_VERSION or schema.equals(PHRASE_SCHEMA)


def _is_embeddings(schema: pa.Schema) -> bool:
    return schema.names == list(_EMBEDDINGS) and all(
        is_right(column.type) for is_right, column in zip(_EMBEDDINGS.values(), schema, strict=True)
    )
