"""The embed step: every image once, resumable per shard, damaged files named."""

import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from flmm.cache import embeddings as stored
from flmm.cache.embeddings import EmbeddingStore, EmbedManifest
from flmm.data.images import ImageStore
from flmm.data.sample import Sample, write_samples
from flmm.embed import embed
from flmm.errors import InputError, StepError
from flmm.heads.sam import SamSegmenter
from flmm.params import Params, parse_params
from tests.heads.conftest import TINY_SAM

NAMES = [f"COCO_train2014_{index:012d}.jpg" for index in range(7)]


class Suite:
    """Seven pictures, two sample files that share some of them, a tiny segmenter."""

    def __init__(self, folder: Path, sam: SamSegmenter) -> None:
        self.raw, self.out = folder / "raw", folder / "embed" / "0123456789ab"
        self.pictures = self.raw / "train2014"
        self.pictures.mkdir(parents=True)
        generator = np.random.default_rng(1)
        for index, name in enumerate(NAMES):
            pixels = generator.integers(0, 256, (30 + index, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(self.pictures / name)
        self.samples = [
            self._samples(folder / "a.parquet", NAMES[:5]),
            self._samples(folder / "b.parquet", NAMES[3:]),
        ]
        (folder / "sam").mkdir()
        (folder / "sam" / "config.json").write_text(json.dumps(TINY_SAM))
        save_file(sam.model.state_dict(), folder / "sam" / "model.safetensors")
        self.folder, self.size = folder / "sam", 3

    def _samples(self, path: Path, names: list[str]) -> Path:
        samples = [Sample(name, "refcoco", "train", 1, "train2014", name, 30, 50, (), ()) for name in names]
        write_samples(path, samples)
        return path

    @property
    def params(self) -> Params:
        raw: dict[str, Any] = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())
        raw["suites"]["shapes"]["segmenter"] = {"name": "tiny", "checkpoint": str(self.folder)}
        raw["embed"] |= {"images_per_shard": self.size, "dtype": "float32", "device": "cpu"}
        return parse_params(raw)

    def embed(self) -> EmbedManifest:
        return embed(self.params, "train2014", self.samples, self.raw, self.out, "0123456789ab")

    @property
    def store(self) -> EmbeddingStore:
        return EmbeddingStore([self.out / "manifest.json"])


@pytest.fixture
def suite(tmp_path: Path, sam: SamSegmenter) -> Suite:
    return Suite(tmp_path, sam)


def shard_bytes(suite: Suite) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(suite.out.iterdir())}


def rows(suite: Suite) -> list[int]:
    return [pq.ParquetFile(path).metadata.num_rows for path in sorted(suite.out.glob("shard-*.parquet"))]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the pictures that are opened, in order."""
    seen: list[str] = []
    original = ImageStore.open

    def spy(self: ImageStore, archive: str, name: str) -> Image.Image:
        seen.append(name)
        return original(self, archive, name)

    monkeypatch.setattr(ImageStore, "open", spy)
    return seen


def test_every_image_is_embedded_once_and_found_by_name(suite: Suite, sam: SamSegmenter) -> None:
    manifest, store = suite.embed(), suite.store
    assert rows(suite) == [3, 3, 1]
    assert (manifest.key, manifest.images) == ("0123456789ab", 7)
    assert [shard["file"] for shard in manifest.shards] == [f"shard-0000{n}.parquet" for n in range(3)]
    for name in reversed(NAMES):
        expected = sam.embed(ImageStore(suite.raw).open("train2014", name))
        found = store.lookup("train2014", name)
        assert found.shape == (1, 16, 6, 6)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)  # float16


def test_archives_have_folders_of_their_own_and_one_store_finds_the_images_of_all(
    suite: Suite, sam: SamSegmenter
) -> None:
    """The same name in two archives is two images."""
    (suite.raw / "val2017").mkdir()
    Image.new("RGB", (50, 30), "red").save(suite.raw / "val2017" / NAMES[0])
    other = Sample("o", "png", "val", 1, "val2017", NAMES[0], 30, 50, (), ())
    write_samples(suite.raw / "other.parquet", [other])
    tables = [*suite.samples, suite.raw / "other.parquet"]
    folders = {archive: suite.out.parent / archive for archive in ("train2014", "val2017")}
    images = {
        archive: embed(suite.params, archive, tables, suite.raw, folder, "key").images
        for archive, folder in folders.items()
    }
    assert images == {"train2014": 7, "val2017": 1}
    store = EmbeddingStore([folder / "manifest.json" for folder in folders.values()])
    for archive in folders:
        expected = sam.embed(ImageStore(suite.raw).open(archive, NAMES[0]))
        torch.testing.assert_close(store.lookup(archive, NAMES[0]), expected, rtol=1e-3, atol=1e-3)
    assert not torch.equal(store.lookup("train2014", NAMES[0]), store.lookup("val2017", NAMES[0]))
    with pytest.raises(InputError, match=rf"no embedding of val2017/{NAMES[1]}"):
        store.lookup("val2017", NAMES[1])


def test_the_files_are_the_same_bytes_every_time(suite: Suite, tmp_path: Path) -> None:
    suite.embed()
    first = shard_bytes(suite)
    for path in suite.out.iterdir():
        path.unlink()
    suite.embed()
    assert shard_bytes(suite) == first


def test_a_killed_run_goes_on_after_its_last_finished_shard(suite: Suite, opened: list[str]) -> None:
    suite.embed()
    complete = shard_bytes(suite)
    (suite.out / "manifest.json").unlink()
    (suite.out / "shard-00002.parquet").unlink()
    (suite.out / "shard-00001.parquet").write_bytes(complete["shard-00001.parquet"][:500])
    (suite.out / ".shard-00003.parquet.x.tmp.parquet").write_bytes(b"half")
    opened.clear()
    suite.embed()
    assert opened == NAMES[3:]
    assert shard_bytes(suite) == complete


def test_only_images_that_are_not_there_yet_are_embedded(suite: Suite, opened: list[str]) -> None:
    """What was embedded for other samples stays, and the store finds both, however the rows lie in shards."""
    both = suite.samples
    suite.samples = both[:1]
    before = suite.embed()
    first = suite.store.lookup("train2014", NAMES[0])
    old_shards = shard_bytes(suite)
    assert (before.images, opened, rows(suite)) == (5, NAMES[:5], [3, 2])
    opened.clear()
    suite.samples, suite.size = both, 1
    after = suite.embed()
    assert (after.images, opened, rows(suite)) == (7, NAMES[5:], [3, 2, 1, 1])
    assert all(
        old_shards[name] == suite.out.joinpath(name).read_bytes() for name in old_shards if "shard" in name
    )
    assert torch.equal(suite.store.lookup("train2014", NAMES[0]), first)
    alone = suite.store.lookup("train2014", NAMES[6])
    opened.clear()
    suite.samples = both[:1]
    again = suite.embed()  # fewer images: nothing to do, and the manifest says again what was asked for
    assert (opened, again) == ([], replace(before, shards=after.shards))
    for path in suite.out.iterdir():
        path.unlink()
    suite.samples, suite.size = both, 400
    whole = suite.embed()  # all at once
    assert torch.equal(suite.store.lookup("train2014", NAMES[6]), alone)
    assert torch.equal(suite.store.lookup("train2014", NAMES[0]), first)
    assert replace(whole, shards=after.shards) == after  # but for how many files there are
    assert len(whole.shards) == 1


def test_a_shard_of_other_sizes_is_written_anew(suite: Suite) -> None:
    suite.embed()
    path = suite.out / "shard-00001.parquet"
    whole = path.read_bytes()
    pq.write_table(pa.table({"archive": ["a"], "image": ["b"], "embedding": [b"12"]}), path)
    with pytest.raises(InputError, match=r"shard-00001\.parquet: not a whole shard .of other sizes"):
        _ = suite.store
    suite.embed()
    assert path.read_bytes() == whole


def test_an_image_that_no_shard_holds_is_named(suite: Suite) -> None:
    suite.embed()
    store = suite.store
    with pytest.raises(InputError, match=r"no embedding of train2014/other\.jpg; run embed again"):
        store.lookup("train2014", "other.jpg")


def test_a_failure_leaves_nothing_half_written_and_names_the_picture(suite: Suite) -> None:
    (suite.pictures / NAMES[4]).write_bytes(b"no picture")
    with pytest.raises(InputError, match=NAMES[4]):
        suite.embed()
    assert [path.name for path in suite.out.iterdir()] == ["shard-00000.parquet"]


def test_an_embedding_that_is_not_finite_is_a_failure(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        SamSegmenter, "preprocess", lambda self, picture: torch.full((1, 3, 48, 48), torch.nan)
    )
    with pytest.raises(StepError, match=r"not finite; try embed\.dtype: float32"):
        suite.embed()


def test_a_shard_cut_in_half_and_an_absent_one_are_named(suite: Suite) -> None:
    suite.embed()
    path = suite.out / "shard-00001.parquet"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match=r"shard-00001\.parquet: not a whole shard .* run embed again"):
        _ = suite.store
    path.unlink()
    with pytest.raises(InputError, match=r"no embedding of train2014/.* run embed again"):
        suite.store.lookup("train2014", NAMES[3])


def test_a_flipped_byte_is_an_error_and_not_another_embedding(suite: Suite) -> None:
    suite.embed()
    store = suite.store
    path = suite.out / "shard-00000.parquet"
    content = path.read_bytes()
    payload = store.lookup("train2014", NAMES[1]).numpy().astype("<f2").tobytes()
    position = content.index(payload) + len(payload) // 2
    path.write_bytes(content[:position] + bytes([content[position] ^ 0xFF]) + content[position + 1 :])
    with pytest.raises(InputError, match=r"shard-00000\.parquet: not a whole shard"):
        suite.store.lookup("train2014", NAMES[1])


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"schema_version": 2, "kind": "embed"}', '{"schema_version": 0}']
)
def test_a_broken_manifest_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(InputError, match=r"manifest\.json"):
        EmbeddingStore([tmp_path / "manifest.json"])


def test_a_store_travels_to_a_worker_process(suite: Suite) -> None:
    suite.embed()
    store = suite.store
    expected = store.lookup("train2014", NAMES[2])
    assert torch.equal(pickle.loads(pickle.dumps(store)).lookup("train2014", NAMES[2]), expected)


def test_memory_holds_only_the_most_recent_groups(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "MEMORY_BYTES", 1)
    suite.embed()
    store = suite.store
    for _ in range(2):
        for name in NAMES:
            store.lookup("train2014", name)
            assert len(store._memory) == 1
