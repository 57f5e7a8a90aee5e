"""What a shard's rows hold, and what a manifest says about them.

One row per phrase; the rows of one answer follow each other and lie in one Parquet row group.
Legend: C channels (layers x heads) of a grid, h w its size, L layers, T tokens of the phrase, D hidden width.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from flmm.errors import InputError
from flmm.files import read_json, write_json
from flmm.selection import Selection

SCHEMA_VERSION = 2  # 1: a linear 8-bit code
KIND = "attention"
MANIFEST = "manifest.json"

VIEW_TYPE = pa.struct(
    [(name, pa.int32()) for name in ("height", "width", "top", "left", "content_height", "content_width")]
)
GRID_TYPE = pa.struct(
    [
        ("name", pa.string()),
        ("channels", pa.int32()),
        ("rows", pa.int32()),
        ("columns", pa.int32()),
        ("view", VIEW_TYPE),
    ]
)
PHRASE_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("answer_id", pa.string()),
        ("archive", pa.string()),
        ("image", pa.string()),
        ("image_id", pa.int64()),
        ("height", pa.int32()),  # of the image, pixels
        ("width", pa.int32()),
        ("target", pa.int32()),  # index into the sample's targets
        ("target_id", pa.string()),
        ("text", pa.string()),
        ("protocol", pa.string()),  # paper, standard, train, or both (PNG: paper and standard speak the same)
        ("draw", pa.int32()),
        ("grids", pa.list_(GRID_TYPE)),
        ("attention", pa.binary()),  # the grids' (C, h, w) maps one after the other
        ("attention_scales", pa.binary()),  # float32, one per map
        ("hidden", pa.binary()),  # (L, T, D)
        ("hidden_scales", pa.binary()),  # float32, one per layer and token
        ("hidden_layers", pa.int32()),
        ("hidden_tokens", pa.int32()),
        ("hidden_width", pa.int32()),
        ("rle", pa.string()),  # COCO compressed run lengths at height x width
        ("category", pa.string()),
        ("is_thing", pa.bool_()),
        ("is_plural", pa.bool_()),
    ],
    # In every shard, so that one of another version is known without its manifest.
    metadata={"schema_version": str(SCHEMA_VERSION)},
)


def shard_version(schema: pa.Schema) -> int:
    """The schema version that a shard was written in; the first one did not say. 0: what it says is no number."""
    said = (schema.metadata or {}).get(b"schema_version", b"1")
    return int(said) if said.isdigit() else 0


@dataclass(frozen=True)
class Formats:
    """Storage of the attention maps and of the hidden states: ``log8`` or ``float16`` (``flmm.cache.codec``)."""

    attention: str
    hidden: str


@dataclass(frozen=True)
class Shard:
    """One Parquet file of a part: name in the manifest's folder, rows (phrases), answers, checksum."""

    file: str
    rows: int
    answers: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """One part's attention of one backbone. ``folder`` is where it was read from and is not written.

    ``selection``: the heads and layers that were kept; None: all of them. ``channels`` counts the kept ones.
    """

    key: str
    backbone: str
    part: str
    revision: str | None
    processor_hash: str
    params: dict[str, Any]
    formats: Formats
    channels: int
    shards: tuple[Shard, ...]
    folder: Path = field(compare=False)
    selection: Selection | None = None

    @property
    def rows(self) -> int:
        """Phrases in all shards."""
        return sum(shard.rows for shard in self.shards)

    @property
    def answers(self) -> int:
        """Answers in all shards."""
        return sum(shard.answers for shard in self.shards)

    @property
    def path(self) -> Path:
        """The manifest's own file."""
        return self.folder / MANIFEST

    def write(self) -> Path:
        """Write ``manifest.json`` beside the shards; equal content is equal bytes (no times, no paths)."""
        content = {name: value for name, value in asdict(self).items() if name not in ("folder", "selection")}
        if self.selection is not None:
            content["selection"] = self.selection.model_dump()
        totals = {"rows": self.rows, "answers": self.answers}
        write_json(self.path, {"schema_version": SCHEMA_VERSION, "kind": KIND, **content, **totals})
        return self.path


def parse_manifest(path: Path) -> Manifest:
    """Read a manifest file without looking at its shards; see ``flmm.cache.reader.read_manifest``."""
    raw = read_json(path)
    version = raw.get("schema_version") if isinstance(raw, dict) else None
    if version == 1 and raw.get("kind") == KIND:
        raise outdated(path, version)
    if version != SCHEMA_VERSION or raw.get("kind") != KIND:
        found = f"kind {raw.get('kind')!r}, version {version!r}" if isinstance(raw, dict) else "no mapping"
        wanted = f"kind {KIND!r}, version {SCHEMA_VERSION}"
        raise InputError(f"{path}: expected {wanted}, found {found}; delete it and run extract again")
    try:
        return Manifest(
            formats=Formats(**raw["formats"]),
            shards=tuple(Shard(**shard) for shard in raw["shards"]),
            folder=path.parent,
            selection=Selection.model_validate(raw["selection"]) if "selection" in raw else None,
            **{name: raw[name] for name in _PLAIN},
        )
    except (KeyError, TypeError, ValidationError) as error:
        raise InputError(
            f"{path}: not a complete manifest ({error}); delete it and run extract again"
        ) from error


def outdated(path: Path, version: int) -> InputError:
    """What is said of a manifest or a shard of an earlier version."""
    return InputError(
        f"{path}: attention of schema version {version}, in the linear 8-bit code of an earlier release; this one "
        f"reads version {SCHEMA_VERSION}: delete {path.parent} and run extract again"
    )


_PLAIN = ("key", "backbone", "part", "revision", "processor_hash", "params", "channels")
