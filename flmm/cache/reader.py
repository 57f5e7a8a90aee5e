"""From shards to answers: lazily, row group by row group.

Legend: P phrases, C channels of a grid, h w its size, L layers, T tokens of a phrase, D hidden width.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import pyarrow as pa
import torch
from torch.utils.data import Dataset

from flmm.backbones.base import Grid, HeadInput
from flmm.cache.schema import SCHEMA_VERSION, Manifest, outdated, parse_manifest, shard_version
from flmm.cache.shards import GroupMemory, OpenShards, ShardFile, broken_shard
from flmm.cache.stored import StoredAnswer, stored_answer
from flmm.selection import Selection

# Row groups kept in memory by one reader; the shapes suite fits whole, big backbones stream.
MEMORY_BYTES = 512 << 20
STEP = "extract"


@dataclass(frozen=True)
class CachedPhrase:
    """One phrase: attention per grid (C, h, w) and hidden states (L, T, D), float32, and its target."""

    target: int
    target_id: str
    text: str
    attention: tuple[torch.Tensor, ...]
    grids: tuple[Grid, ...]
    hidden: torch.Tensor
    rle: str
    category: str
    is_thing: bool
    is_plural: bool


@dataclass(frozen=True)
class CachedAnswer:
    """One answer of a frozen LMM about one image (height x width pixels) with its phrases, at least one."""

    sample_id: str
    answer_id: str
    archive: str
    image: str
    image_id: int
    height: int
    width: int
    protocol: str
    draw: int
    phrases: tuple[CachedPhrase, ...]
    selection: Selection | None = None

    def head_input(self) -> HeadInput:
        """The answer for a head. All phrases are about one image, so their grids are the same."""
        per_grid = zip(*(phrase.attention for phrase in self.phrases), strict=True)
        return HeadInput(
            attention=tuple(torch.stack(maps) for maps in per_grid),
            grids=self.phrases[0].grids,
            hidden=tuple(phrase.hidden for phrase in self.phrases),
            image_size=(self.height, self.width),
            selection=self.selection,
        )


def read_manifest(path: Path) -> Manifest:
    """Read a part's manifest (the file, or its folder).

    Raises:
        InputError: it is absent, of another schema version, or a shard that it names is absent or cut.
    """
    manifest = parse_manifest(path / "manifest.json" if path.is_dir() else path)
    for shard in manifest.shards:
        file = ShardFile(manifest.folder / shard.file, STEP)
        if file.rows != shard.rows:
            raise file.broken(f"{file.rows} rows instead of {shard.rows}")
        if shard_version(file.schema) != SCHEMA_VERSION:
            raise outdated(file.path, shard_version(file.schema))
    return manifest


def head_sizes(manifest: Manifest) -> dict[str, int]:
    """The sizes of the LMM: channels and, unless the part is empty, layers and hidden_width, kept or not.

    Raises:
        InputError: a shard is damaged.
    """
    selection = manifest.selection
    sizes = {"channels": selection.all_channels(manifest.channels) if selection else manifest.channels}
    answer = next(read_answers(manifest), None)
    if answer is not None:
        layers, _, sizes["hidden_width"] = answer.phrases[0].hidden.shape
        sizes["layers"] = selection.of_layers if selection else layers
    return sizes


def read_answers(manifest: Manifest, protocol: str | None = None) -> Iterator[CachedAnswer]:
    """Every answer in the order of extraction; with ``protocol`` only its own and those that both share.

    Holds one row group at a time.
    """
    for shard in manifest.shards:
        file = ShardFile(manifest.folder / shard.file, STEP)
        for group in range(file.groups):
            rows = file.read(group)
            for start, count in _answers_in(rows["answer_id"]):
                if protocol is None or rows["protocol"][start].as_py() in (protocol, "both"):
                    yield _answer(_stored(rows.slice(start, count), manifest, file.path))


@dataclass(frozen=True)
class _Place:
    """Where an answer lies: manifest and shard (by index), row group, first row in it, number of rows."""

    manifest: int
    shard: int
    group: int
    start: int
    rows: int


class AnswerDataset(Dataset[CachedAnswer]):
    """The answers of several parts by index, in the order of the manifests; only ids are read up front.

    Raises:
        InputError: a shard is damaged (names it).
    """

    def __init__(self, manifests: Sequence[Manifest]) -> None:
        self.manifests = list(manifests)
        self._places = [
            place
            for index, manifest in enumerate(self.manifests)
            for shard in range(len(manifest.shards))
            for place in self._index(index, shard)
        ]
        self._memory = GroupMemory(MEMORY_BYTES)
        self._files = OpenShards(STEP)

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> CachedAnswer:
        return _answer(self.stored(index))

    def stored(self, index: int) -> StoredAnswer:
        """An answer as its shard holds it, to be decoded elsewhere."""
        place = self._places[index]
        path = self._path(place.manifest, place.shard)
        table = self._memory.get((path, place.group), lambda: self._files[path].read(place.group))
        return _stored(table.slice(place.start, place.rows), self.manifests[place.manifest], path)

    def _path(self, manifest: int, shard: int) -> Path:
        return self.manifests[manifest].folder / self.manifests[manifest].shards[shard].file

    def _index(self, manifest: int, shard: int) -> Iterator[_Place]:
        file = ShardFile(self._path(manifest, shard), STEP)
        for group in range(file.groups):
            for start, count in _answers_in(file.read(group, ["answer_id"])["answer_id"]):
                yield _Place(manifest, shard, group, start, count)


def _stored(rows: pa.Table, manifest: Manifest, path: Path) -> StoredAnswer:
    try:
        return stored_answer(rows, manifest.formats, manifest.selection)
    except ValueError as error:
        raise broken_shard(path, STEP, f"answer {rows['answer_id'][0]}: {error}") from error


def _answer(stored: StoredAnswer) -> CachedAnswer:
    said = stored.head_input()
    phrases = tuple(
        CachedPhrase(
            attention=tuple(maps[number] for maps in said.attention),
            grids=said.grids,
            hidden=said.hidden[number],
            **{name: row[name] for name in _PHRASE_COLUMNS},
        )
        for number, row in enumerate(stored.phrases)
    )
    columns = {name: stored.phrases[0][name] for name in _ANSWER_COLUMNS}
    return CachedAnswer(phrases=phrases, selection=stored.selection, **columns)


def _answers_in(ids: pa.ChunkedArray) -> Iterator[tuple[int, int]]:
    """First row and number of rows of each answer of a row group, by its column of answers."""
    start = 0
    for _, answer in groupby(ids.to_pylist()):
        count = len(list(answer))
        yield start, count
        start += count


_ANSWER_COLUMNS = (
    "sample_id",
    "answer_id",
    "archive",
    "image",
    "image_id",
    "height",
    "width",
    "protocol",
    "draw",
)
_PHRASE_COLUMNS = ("target", "target_id", "text", "rle", "category", "is_thing", "is_plural")
