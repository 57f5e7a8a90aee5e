"""A changed bit in a shard's footer, which has no checksum, is named or changes nothing: never another value."""

from pathlib import Path
from random import Random

import pytest
import torch

from flmm.backbones.base import Observation
from flmm.cache.embeddings import EmbeddingStore, EmbedManifest, ShardFolder
from flmm.cache.reader import AnswerDataset, read_manifest
from flmm.cache.schema import Manifest
from flmm.errors import InputError
from flmm.pipeline.footers import check_footers

FLIPS = 150


def flipped(whole: bytes, chance: Random) -> bytes:
    """With one other bit in the footer."""
    data = bytearray(whole)
    length = 8 + int.from_bytes(whole[-8:-4], "little")
    data[-chance.randint(1, length)] ^= 1 << chance.randrange(8)
    return bytes(data)


def stored(manifest: Path) -> list:
    answers = AnswerDataset([read_manifest(manifest)])
    found = map(answers.stored, range(len(answers)))
    return [(each.phrases, each.attention.tolist(), each.hidden.tolist()) for each in found]


def test_attention(part: tuple[Manifest, list[Observation]]) -> None:
    manifest = part[0].path
    check_footers(manifest, "extract")
    shard, right = manifest.parent / "shard-00001.parquet", stored(manifest)
    whole, named = shard.read_bytes(), 0
    for number in range(FLIPS):
        shard.write_bytes(flipped(whole, Random(number)))
        try:
            check_footers(manifest, "extract")
            assert stored(manifest) == right
        except InputError as error:
            assert str(manifest.parent) in str(error)
            named += 1
    assert FLIPS // 3 < named < FLIPS


def test_embeddings(tmp_path: Path) -> None:
    writer = ShardFolder(tmp_path, channels=2, side=2)
    rows = [(("train2014", f"{number}.jpg"), torch.full((2, 2, 2), number).half()) for number in range(3)]
    shard = tmp_path / "shard-00000.parquet"
    writer.write(shard, rows)
    manifest = EmbedManifest("key", "sam", 2, 2, 3, "0", writer.files()).write(tmp_path)
    check_footers(manifest, "embed")
    whole, named = shard.read_bytes(), 0
    for number in range(FLIPS):
        shard.write_bytes(flipped(whole, Random(number)))
        try:
            check_footers(manifest, "embed")
            store = EmbeddingStore([manifest])
            assert all(torch.equal(store.stored(*key)[0], value) for key, value in rows)
        except InputError as error:
            assert str(tmp_path) in str(error)
            named += 1
        except RuntimeError as error:  # a number of values, which four of five thousand bits are part of
            assert "size 0" in str(error)
    assert FLIPS // 3 < named < FLIPS


def test_a_renamed_column_is_named(part: tuple[Manifest, list[Observation]]) -> None:
    manifest = part[0].path
    shard = manifest.parent / "shard-00000.parquet"
    shard.write_bytes(shard.read_bytes().replace(b"image_id", b"image_kd"))
    with pytest.raises(InputError, match=r"shard-00000.parquet: not a whole shard .* run extract again"):
        check_footers(manifest, "extract")
