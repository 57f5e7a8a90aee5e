"""A changed bit in a shard's footer, which has no checksum, is named or changes nothing: never another value."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flmm.backbones.base import Observation
from flmm.cache.embeddings import EmbeddingStore, EmbedManifest, ShardFolder
from flmm.cache.reader import AnswerDataset, read_manifest
from flmm.cache.schema import Manifest
from flmm.errors import InputError
from flmm.pipeline.footers import check_footers


def share_named(shard: Path, bits: Callable[[int], Iterable[int]], read: Callable[[], object]) -> float:
    """How many of the files with another bit in their footer are named; the rest are read as before.

    ``bits`` says which of a byte's eight, by its place.
    """
    whole, right, named = shard.read_bytes(), read(), []
    for place in range(len(whole) - 8 - int.from_bytes(whole[-8:-4], "little"), len(whole)):
        for bit in bits(place):
            data = bytearray(whole)
            data[place] ^= 1 << bit
            shard.write_bytes(data)
            try:
                assert read() == right
            except InputError as error:
                assert str(shard) in str(error)
                named.append(True)
            else:
                named.append(False)
    return sum(named) / len(named)


def stored(manifest: Path) -> list:
    answers = AnswerDataset([read_manifest(manifest)])
    found = map(answers.stored, range(len(answers)))
    return [(each.phrases, each.attention.tolist(), each.hidden.tolist()) for each in found]


@pytest.mark.pipeline
def test_attention(part: tuple[Manifest, list[Observation]]) -> None:
    """One bit of each byte; all eight would take eight minutes instead of one."""
    manifest = replace(part[0], shards=part[0].shards[1:]).write()
    (manifest.parent / "shard-00000.parquet").unlink()

    def read() -> list:
        check_footers(manifest, "extract")
        return stored(manifest)

    assert 0.3 < share_named(manifest.parent / "shard-00001.parquet", lambda place: [place % 8], read) < 1


@pytest.mark.pipeline
@pytest.mark.parametrize(
    "checked", [True, False]
)  # as train and evaluate do, and as embed does when it goes on
def test_embeddings(tmp_path: Path, checked: bool) -> None:
    writer = ShardFolder(tmp_path, channels=2, side=2)
    rows = [(("train2014", f"{number}.jpg"), torch.full((2, 2, 2), number).half()) for number in range(3)]
    shard = tmp_path / "shard-00000.parquet"
    writer.write(shard, rows)
    manifest = EmbedManifest("key", "sam", 2, 2, 3, "0", writer.files()).write(tmp_path)

    def read() -> list:
        if checked:
            check_footers(manifest, "embed")
        store = EmbeddingStore([manifest])
        return [store.stored(*key).tolist() for key, _ in rows]

    assert 0.3 < share_named(shard, lambda _: range(8), read) < 1


def test_a_renamed_column_is_named(part: tuple[Manifest, list[Observation]]) -> None:
    manifest = part[0].path
    shard = manifest.parent / "shard-00000.parquet"
    shard.write_bytes(shard.read_bytes().replace(b"image_id", b"image_kd"))
    with pytest.raises(InputError, match=r"shard-00000.parquet: not a whole shard .* run extract again"):
        check_footers(manifest, "extract")
