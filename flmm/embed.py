"""The ``embed`` step: the frozen SAM sees every image once, for all backbones and all epochs.

Run as ``flmm embed``. One row per image, float16, in shards under ``cache/embed/<segmenter>/<key>``. Legend:
C channels and E side of SAM's image embedding.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.progress import Progress
from segment_anything.modeling import Sam

from flmm.data.images import ImageStore
from flmm.device import resolve_device
from flmm.errors import InputError, StepError
from flmm.files import atomic_path, read_json, read_table, sha256_file, write_json
from flmm.heads.sam import load_segmenter, preprocess
from flmm.params import Params

SCHEMA_VERSION = 1
KIND = "embed"
BATCH = 4  # images per pass of the encoder; at SAM ViT-L's size one GPU holds it easily
ROWS_PER_GROUP = 8  # what one look-up reads: 16 MB for SAM ViT-L
LRU_BYTES = 256 << 20
# Float16 noise neither compresses nor repeats; page checksums make a damaged byte an error.
PARQUET: dict[str, Any] = {
    "compression": "none",
    "use_dictionary": False,
    "write_statistics": False,
    "write_page_checksum": True,
}

ImageKey = tuple[str, str]  # archive, image


@dataclass(frozen=True)
class EmbedShard:
    """One Parquet file beside the manifest."""

    file: str
    rows: int
    sha256: str


@dataclass(frozen=True)
class EmbedManifest:
    """What a folder's shards hold: (channels, side, side) float16 per image, little-endian, row-major."""

    key: str
    segmenter: str
    channels: int
    side: int
    shards: tuple[EmbedShard, ...]

    @property
    def rows(self) -> int:
        """Images in all shards."""
        return sum(shard.rows for shard in self.shards)

    def write(self, folder: Path) -> None:
        """Write ``manifest.json``; equal content is equal bytes."""
        head = {"schema_version": SCHEMA_VERSION, "kind": KIND, "rows": self.rows}
        write_json(folder / "manifest.json", {**head, **asdict(self)})


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
        shards = tuple(EmbedShard(**shard) for shard in raw["shards"])
        return EmbedManifest(raw["key"], raw["segmenter"], raw["channels"], raw["side"], shards)
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not a complete manifest ({error}); delete it and run embed again"
        ) from error


def embed(params: Params, sample_paths: Sequence[Path], raw: Path, out: Path) -> None:
    """Embed every image of the samples into ``out`` (its name is the key) and write ``manifest.json`` last.

    A shard that is already there with the right images is kept, so a killed run goes on where it was.

    Raises:
        InputError: samples, an image or the segmenter cannot be read.
        StepError: the disk is full, or an embedding is not finite.
    """
    images = images_of(sample_paths)
    device = resolve_device(params.embed.device)
    sam = load_segmenter(params.active.segmenter, raw).to(device)
    sam.image_encoder.to(getattr(torch, params.embed.dtype))
    channels = sam.prompt_encoder.embed_dim
    side = sam.prompt_encoder.image_embedding_size[0]
    step = params.embed.images_per_shard
    shards = []
    store = ImageStore(raw)
    with Progress() as progress:
        task = progress.add_task("embed images", total=len(images))
        for number, start in enumerate(range(0, len(images), step)):
            path, wanted = out / f"shard-{number:05d}.parquet", images[start : start + step]
            if not _is_finished(path, wanted, _schema(channels, side)):
                _write_shard(path, wanted, sam, store)
            shards.append(EmbedShard(path.name, len(wanted), sha256_file(path)))
            progress.advance(task, len(wanted))
    EmbedManifest(out.name, params.active.segmenter.name, channels, side, tuple(shards)).write(out)


def images_of(sample_paths: Sequence[Path]) -> list[ImageKey]:
    """Every image of the samples once, sorted."""
    found: set[ImageKey] = set()
    for path in sample_paths:
        table = read_table(path, columns=["archive", "image"])
        found.update(zip(table["archive"].to_pylist(), table["image"].to_pylist(), strict=True))
    return sorted(found)


def _schema(channels: int, side: int) -> pa.Schema:
    payload = pa.binary(_embedding_bytes(channels, side))
    return pa.schema([("archive", pa.string()), ("image", pa.string()), ("embedding", payload)])


def _embedding_bytes(channels: int, side: int) -> int:
    return channels * side * side * np.dtype(np.float16).itemsize


def _is_finished(path: Path, wanted: Sequence[ImageKey], schema: pa.Schema) -> bool:
    if not path.is_file():
        return False
    try:
        # The whole file is read: its pages carry checksums, so that a damaged shard is written anew.
        table = pq.read_table(path, page_checksum_verification=True)
    except (pa.ArrowInvalid, OSError):
        return False
    return bool(table.schema.equals(schema)) and _keys(table) == list(wanted)


def _keys(table: pa.Table) -> list[ImageKey]:
    return list(zip(table["archive"].to_pylist(), table["image"].to_pylist(), strict=True))


def _write_shard(path: Path, images: Sequence[ImageKey], sam: Sam, store: ImageStore) -> None:
    schema = _schema(sam.prompt_encoder.embed_dim, sam.prompt_encoder.image_embedding_size[0])
    with (
        atomic_path(path) as temporary,
        pq.ParquetWriter(temporary, schema, **PARQUET) as writer,
    ):
        for group in _chunks(images, ROWS_PER_GROUP):
            rows = [row for batch in _chunks(group, BATCH) for row in _embed_batch(batch, sam, store)]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def _chunks(images: Sequence[ImageKey], size: int) -> Iterator[Sequence[ImageKey]]:
    return (images[start : start + size] for start in range(0, len(images), size))


@torch.no_grad()
def _embed_batch(images: Sequence[ImageKey], sam: Sam, store: ImageStore) -> list[dict[str, Any]]:
    pictures = [store.open(archive, image) for archive, image in images]
    pixels = torch.cat([preprocess(sam, picture) for picture in pictures])  # (B, 3, S, S)
    dtype = next(sam.image_encoder.parameters()).dtype
    embeddings = sam.image_encoder(pixels.to(dtype)).to("cpu", torch.float16)  # (B, C, E, E)
    rows = []
    for (archive, image), embedding in zip(images, embeddings, strict=True):
        if not torch.isfinite(embedding).all():
            raise StepError(f"{archive}/{image}: its SAM embedding is not finite; try embed.dtype: float32")
        rows.append({"archive": archive, "image": image, "embedding": embedding.numpy().tobytes()})
    return rows


class EmbeddingStore:
    """Image embeddings by (archive, image): read lazily, the most recent kept in memory.

    Raises:
        InputError: the manifest or a shard is absent or damaged (names the file).
    """

    def __init__(self, manifest: Path) -> None:
        self.manifest = read_embed_manifest(manifest)
        self._folder = manifest.parent
        self._places: dict[ImageKey, tuple[str, int]] = {}
        for shard in self.manifest.shards:
            keys = _keys(self._read(shard.file, None, ["archive", "image"]))
            if len(keys) != shard.rows:
                raise self._broken(shard.file, f"{len(keys)} rows instead of {shard.rows}")
            self._places.update((key, (shard.file, row)) for row, key in enumerate(keys))
        group_bytes = ROWS_PER_GROUP * _embedding_bytes(self.manifest.channels, self.manifest.side)
        self._capacity = max(1, LRU_BYTES // group_bytes)
        self._recent: OrderedDict[tuple[str, int], pa.Table] = OrderedDict()

    def lookup(self, archive: str, image: str) -> torch.Tensor:
        """The embedding (1, C, E, E) float32.

        Raises:
            InputError: the image was not embedded, or its shard is damaged.
        """
        if (archive, image) not in self._places:
            raise InputError(f"{self._folder}: no embedding of {archive}/{image}; run embed again")
        file, row = self._places[archive, image]
        payload = self._group(file, row // ROWS_PER_GROUP)["embedding"][row % ROWS_PER_GROUP].as_py()
        values = np.frombuffer(payload, dtype="<f2").astype(np.float32)
        side = self.manifest.side
        return torch.from_numpy(values).reshape(1, self.manifest.channels, side, side)

    def _group(self, file: str, group: int) -> pa.Table:
        key = (file, group)
        if key in self._recent:
            self._recent.move_to_end(key)
            return self._recent[key]
        table = self._recent[key] = self._read(file, group, ["embedding"])
        if len(self._recent) > self._capacity:
            self._recent.popitem(last=False)
        return table

    def _read(self, file: str, group: int | None, columns: list[str]) -> pa.Table:
        try:
            with pq.ParquetFile(self._folder / file, page_checksum_verification=True) as shard:
                return shard.read(columns) if group is None else shard.read_row_group(group, columns)
        except FileNotFoundError as error:
            raise InputError(f"{self._folder / file}: no such file; run embed again") from error
        except (pa.ArrowInvalid, OSError) as error:
            raise self._broken(file, error) from error

    def _broken(self, file: str, reason: object) -> InputError:
        return InputError(
            f"{self._folder / file}: not a whole shard ({reason}); delete it and run embed again"
        )
