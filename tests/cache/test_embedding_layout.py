"""Embeddings lie in row groups of so many bytes, and are read from any others, too."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from flmm.cache.embeddings import EmbeddingStore, EmbedManifest, ShardFolder, images_sha256


@pytest.mark.parametrize(
    ("channels", "side", "groups"), [(2, 3, [5]), (64, 64, [2, 2, 1]), (256, 64, [1] * 5)]
)
def test_a_look_up_reads_a_megabyte_or_one_embedding(
    tmp_path: Path, channels: int, side: int, groups: list[int]
) -> None:
    images = [("train2014", f"{number}.jpg") for number in range(5)]
    embedded = torch.randn(5, channels, side, side).half()
    folder, path = ShardFolder(tmp_path, channels, side), tmp_path / "shard-00000.parquet"
    folder.write(path, zip(images, embedded, strict=True))
    file = pq.ParquetFile(path)
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == groups
    EmbedManifest("k", "sam", channels, side, 5, images_sha256(images), folder.files()).write(tmp_path)
    for _ in range(2):
        store = EmbeddingStore([tmp_path / "manifest.json"])
        for number in (3, 0, 4):
            stored = store.stored(*images[number])
            assert torch.equal(stored[0], embedded[number])
            assert torch.equal(store.lookup(*images[number]), stored.float())
        pq.write_table(pq.read_table(path), path, row_group_size=8)  # as earlier releases wrote them
