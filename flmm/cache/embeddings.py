"""Image embeddings by archive and image: one row per image, float16, in shards of any number and size.

A folder belongs to one key: segmenter, precision and code. It may hold more images than a run wants, and gets new
shards when a run wants more. Legend: C channels and E side of the segmenter's image embedding.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from flmm.cache.shards import PARQUET, GroupMemory, OpenShards, ShardFile
from flmm.cache.stored import binary_values
from flmm.errors import InputError
from flmm.files import atomic_path, read_json, sha256_of, write_json

SCHEMA_VERSION = 2
KIND = "embed"
MANIFEST = "manifest.json"
STEP = "embed"
ROW_GROUP_BYTES = (
    1 << 20
)  # what one look-up reads, but at least one embedding: SAM ViT-L's lie alone, 2 MB each
MEMORY_BYTES = 256 << 20

ImageKey = tuple[str, str]  # archive, image
Row = tuple[ImageKey, torch.Tensor]  # an image's embedding (C, E, E) float16, on the CPU


@dataclass(frozen=True)
class EmbedManifest:
    """What a run wanted and has: (channels, side, side) float16 per image, little-endian, row-major.

    ``images`` and ``images_sha256`` are of the images that were asked for; ``shards`` the files ({"file": name}) that
    were there then.
    """

    key: str
    segmenter: str
    channels: int
    side: int
    images: int
    images_sha256: str
    shards: tuple[dict[str, str], ...]

    def write(self, folder: Path) -> Path:
        """Write ``manifest.json``; equal content is equal bytes."""
        path = folder / MANIFEST
        write_json(path, {"schema_version": SCHEMA_VERSION, "kind": KIND, **asdict(self)})
        return path


def read_embed_manifest(path: Path) -> EmbedManifest:
    """Read an embed manifest.

    Raises:
        InputError: absent, not a manifest of this kind and version, or incomplete.
    """
    raw = read_json(path)
    if not isinstance(raw, dict) or (raw.get("schema_version"), raw.get("kind")) != (SCHEMA_VERSION, KIND):
        raise InputError(
            f"{path}: not an embed manifest of version {SCHEMA_VERSION}; delete it and run embed again"
        )
    try:
        found = {name: raw[name] for name in EmbedManifest.__dataclass_fields__}
        return EmbedManifest(**{**found, "shards": tuple(found["shards"])})
    except KeyError as error:
        raise InputError(
            f"{path}: not a complete manifest (no {error}); delete it and run embed again"
        ) from error


def images_sha256(images: Iterable[ImageKey]) -> str:
    """What a manifest records of the images that were asked for; their order does not matter."""
    return sha256_of(sorted(map(list, images)))


class ShardFolder:
    """The shards of one folder, for the step that adds to it. Only one job writes a folder."""

    def __init__(self, folder: Path, channels: int, side: int) -> None:
        self.folder, self.channels, self.side = folder, channels, side

    def tidy(self) -> set[ImageKey]:
        """Remove what a kill left half-written and shards that are not whole; return the images that are there."""
        for stale in self.folder.glob(".*.tmp*"):
            stale.unlink()
        found: set[ImageKey] = set()
        for path in _shard_paths(self.folder):
            images = self._images(path)
            if images is None:
                path.unlink()
            else:
                found.update(images)
        return found

    def _images(self, path: Path) -> list[ImageKey] | None:
        try:
            shard = ShardFile(path, STEP)
            if not shard.schema.equals(_schema(self.channels, self.side)):
                return None
            # Their names only: a damaged embedding is found, and named, when it is read.
            return [key for group in range(shard.groups) for key in _group_images(shard, group)]
        except InputError:
            return None

    def files(self) -> tuple[dict[str, str], ...]:
        """The shards that are there, as a manifest lists them."""
        return tuple({"file": path.name} for path in _shard_paths(self.folder))

    def free(self) -> Iterator[Path]:
        """Names for new shards, smallest free numbers first."""
        number = 0
        while True:
            path = self.folder / f"shard-{number:05d}.parquet"
            if not path.exists():
                yield path
            number += 1

    def write(self, path: Path, rows: Iterable[Row]) -> None:
        """Write one shard, a row group at a time.

        Raises:
            StepError: the disk is full or not writable.
        """
        schema = _schema(self.channels, self.side)
        at_once = max(1, ROW_GROUP_BYTES // schema.field("embedding").type.byte_width)
        with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, **PARQUET) as writer:
            pending: list[dict[str, Any]] = []
            for (archive, image), embedding in rows:
                payload = embedding.numpy().astype("<f2").tobytes()
                pending.append({"archive": archive, "image": image, "embedding": payload})
                if len(pending) == at_once:
                    writer.write_table(pa.Table.from_pylist(pending, schema=schema))
                    pending = []
            if pending:
                writer.write_table(pa.Table.from_pylist(pending, schema=schema))


class EmbeddingStore:
    """Image embeddings by (archive, image), of one or more archives: read lazily, the most recent kept in memory.

    Raises:
        InputError: a manifest is absent, damaged or of other sizes than the first, or a shard is (names the file).
    """

    def __init__(self, manifests: Sequence[Path]) -> None:
        found = [read_embed_manifest(path) for path in manifests]
        self.channels, self.side = found[0].channels, found[0].side
        self.where = ", ".join(map(str, manifests))
        self._places: dict[ImageKey, tuple[Path, int, int]] = {}  # shard, row group, row in it
        for folder in (path.parent for path in manifests):
            for path in _shard_paths(folder):
                self._index(ShardFile(path, STEP), path)
        self._memory = GroupMemory(MEMORY_BYTES)
        self._files = OpenShards(STEP)

    def _index(self, shard: ShardFile, path: Path) -> None:
        if not shard.schema.equals(_schema(self.channels, self.side)):
            raise shard.broken("of other sizes than the manifest says")
        for group in range(shard.groups):
            for row, key in enumerate(_group_images(shard, group)):
                self._places[key] = (path, group, row)

    def lookup(self, archive: str, image: str) -> torch.Tensor:
        """The embedding (1, C, E, E) float32; raises what ``stored`` raises."""
        return self.stored(archive, image).float()

    def stored(self, archive: str, image: str) -> torch.Tensor:
        """The embedding (1, C, E, E) as it is stored, float16, and not copied: not to be written to.

        Raises:
            InputError: the image was not embedded, or its shard is damaged.
        """
        if (archive, image) not in self._places:
            raise InputError(f"{self.where}: no embedding of {archive}/{image}; run embed again")
        file, group, row = self._places[archive, image]
        values, _ = binary_values(self._group(file, group)["embedding"].slice(row, 1))
        return values.view(torch.float16).reshape(1, self.channels, self.side, self.side)

    def _group(self, file: Path, group: int) -> pa.Table:
        return self._memory.get((file, group), lambda: self._files[file].read(group))


def _shard_paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("shard-*.parquet"))


def _schema(channels: int, side: int) -> pa.Schema:
    payload = pa.binary(channels * side * side * np.dtype(np.float16).itemsize)
    return pa.schema([("archive", pa.string()), ("image", pa.string()), ("embedding", payload)])


def _group_images(shard: ShardFile, group: int) -> list[ImageKey]:
    table = shard.read(group, ["archive", "image"])
    return list(zip(table["archive"].to_pylist(), table["image"].to_pylist(), strict=True))
