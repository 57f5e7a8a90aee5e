"""What reading a training answer costs at LLaVA-1.5-7B's and SAM ViT-L's sizes, against the formulation before.

    python benchmarks/loader.py [--answers 24] [--phrases 5] [--rounds 5]

Writes shards of random answers into a temporary folder (14 MB each: in this layout and in the one before). Then three
ways take turns over all answers in one random order, files in the page cache: before (compressed shards, rows as Python
objects, each phrase decoded by NumPy, the file opened for every row group, embeddings in groups of eight), read (what a
worker does now) and read, decoded on the CPU (a trainer without a GPU). Last the new files in order through pyarrow
alone, page checksums compared as well: the most that a reader can do. Time is CPU seconds of all threads, the least of
all rounds: where others use the machine, the clock tells of them. Quote the ratios.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.table import Table

from flmm.backbones.base import Grid, HeadInput, Observation
from flmm.cache import codec, embeddings, reader
from flmm.cache.embeddings import EmbedManifest, ShardFolder, images_sha256
from flmm.cache.schema import Formats, Manifest
from flmm.cache.shards import PARQUET
from flmm.cache.writer import Row, phrase_rows, write_shard
from flmm.data.geometry import View, letterbox
from flmm.data.sample import Sample, Target, decode_rle, encode_rle
from flmm.protocols import answers
from flmm.training.images import TrainingImages

IMAGE, SHARD = (480, 640), "shard-00000.parquet"
GROUP_BEFORE = 8  # embeddings
Read = Callable[[int], Any]


@dataclass(frozen=True)
class Sizes:
    """Of an answer, ``channels`` of ``cells`` x ``cells`` and the hidden states of ``tokens``, and of an embedding."""

    channels: int = 1024
    cells: int = 24
    layers: int = 32
    tokens: int = 3
    width: int = 4096
    embedding: int = 256
    side: int = 64


REAL = Sizes()
FORMATS = Formats("log8", "log8")


def observed(
    number: int, phrases: int, generator: torch.Generator, sizes: Sizes = REAL
) -> tuple[Sample, Observation]:
    """A random answer: maps of very unequal cells with a sum of 1, as a softmax leaves them."""
    mask = np.zeros(IMAGE, dtype=bool)
    mask[100:300, 100 + number : 400] = True
    targets = tuple(
        Target(f"{number}-{phrase}", (f"thing {phrase}",), encode_rle(mask), "thing", True, False)
        for phrase in range(phrases)
    )
    sample = Sample(f"s{number}", "png", "train", number, "train2017", f"{number}.jpg", *IMAGE, targets, ())
    cells, states = sizes.cells, (sizes.layers, sizes.tokens, sizes.width)
    maps = torch.randn(phrases, sizes.channels, cells * cells, generator=generator).mul_(2).softmax(-1)
    hidden = [torch.randn(states, generator=generator) for _ in targets]
    return sample, Observation(
        answer_id=answers(sample, "train")[0].answer_id,
        targets=tuple(range(phrases)),
        texts=tuple(target.sentences[0] for target in targets),
        attention=(maps.reshape(phrases, sizes.channels, cells, cells),),
        hidden=tuple(hidden),
        grids=(Grid("image", cells, cells, letterbox(*IMAGE, 14 * cells)),),
    )


def rows_of(sample: Sample, observation: Observation) -> list[Row]:
    """What an answer is in a shard."""
    return phrase_rows(sample, answers(sample, "train")[0], observation, "train", 0, FORMATS)


def write(folder: Path, count: int, phrases: int, sizes: Sizes = REAL) -> tuple[Path, Path]:
    """Attention and embeddings of ``count`` images; their manifests."""
    generator, samples = torch.Generator().manual_seed(0), []

    def rows() -> Any:
        for number in range(count):
            sample, observation = observed(number, phrases, generator, sizes)
            samples.append(sample)
            yield rows_of(sample, observation)

    part = folder / "extract"
    shard = write_shard(part / SHARD, rows())
    attention = Manifest(
        "k", "random", "png-train", None, "h", {}, FORMATS, sizes.channels, (shard,), part
    ).write()
    images = [(sample.archive, sample.image) for sample in samples]
    store = ShardFolder(folder / "embed", sizes.embedding, sizes.side)
    whole = (sizes.embedding, sizes.side, sizes.side)
    store.write(
        store.folder / SHARD, [(image, torch.randn(whole, generator=generator).half()) for image in images]
    )
    digest = images_sha256(images)
    manifest = EmbedManifest("k", "sam", sizes.embedding, sizes.side, count, digest, store.files())
    return attention, manifest.write(store.folder)


def write_before(folder: Path, attention: Path, embedded: Path) -> tuple[Path, Path]:
    """The same shards as they were: compressed maps, embeddings in groups of eight."""
    files = folder / "before-maps.parquet", folder / "before-embeddings.parquet"
    maps = pq.ParquetFile(attention.parent / SHARD)
    with pq.ParquetWriter(files[0], maps.schema_arrow, compression="zstd", write_page_checksum=True) as old:
        for group in range(maps.num_row_groups):
            old.write_table(maps.read_row_group(group))
    pq.write_table(pq.read_table(embedded.parent / SHARD), files[1], row_group_size=GROUP_BEFORE, **PARQUET)
    return files


class Before:
    """The loader as it was: ``to_pylist``, NumPy, one file opened per row group."""

    def __init__(self, attention: Path, embedded: Path) -> None:
        self._attention, self._embedded = attention, embedded
        file = pq.ParquetFile(attention)
        self._places: list[tuple[int, int, int]] = []
        for group in range(file.num_row_groups):
            start = 0
            for _, answer in groupby(file.read_row_group(group, ["answer_id"])["answer_id"].to_pylist()):
                self._places.append((group, start, rows := len(list(answer))))
                start += rows

    def __getitem__(self, index: int) -> tuple[HeadInput, torch.Tensor, torch.Tensor]:
        group, start, count = self._places[index]
        file = pq.ParquetFile(self._attention, page_checksum_verification=True)
        rows = file.read_row_group(group).slice(start, count).to_pylist()
        phrases = [self._phrase(row) for row in rows]
        size = rows[0]["height"], rows[0]["width"]
        grids = [Grid(g["name"], g["rows"], g["columns"], View(**g["view"])) for g in rows[0]["grids"]]
        said = HeadInput(
            (torch.stack([maps for maps, _ in phrases]),), tuple(grids), tuple(h for _, h in phrases), size
        )
        masks = torch.from_numpy(np.stack([decode_rle(row["rle"], *size) for row in rows]).astype(np.uint8))
        return said, masks, self._embedding(index)

    def _phrase(self, row: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        maps = decoded(row["attention"], row["attention_scales"], codec._PLAIN.table)
        hidden = decoded(row["hidden"], row["hidden_scales"], codec._SIGNED.table)
        sizes = [row[f"hidden_{name}"] for name in ("layers", "tokens", "width")]
        return maps.reshape(-1, REAL.cells, REAL.cells), hidden.reshape(sizes)

    def _embedding(self, index: int) -> torch.Tensor:
        file = pq.ParquetFile(self._embedded, page_checksum_verification=True)
        group = file.read_row_group(index // GROUP_BEFORE, columns=["embedding"])
        payload = group["embedding"][index % GROUP_BEFORE].as_py()
        values = np.frombuffer(payload, dtype="<f2").astype(np.float32)
        return torch.from_numpy(values).reshape(1, REAL.embedding, REAL.side, REAL.side)


def decoded(payload: bytes, scales: bytes, table: np.ndarray) -> torch.Tensor:
    """The code undone by NumPy, one phrase at a time: (K, N) float32."""
    factors = np.frombuffer(scales, dtype=np.float32)
    values = table[np.frombuffer(payload, dtype=np.uint8)].reshape(len(factors), -1)
    values *= factors[:, None]
    return torch.from_numpy(values)


def in_order(paths: Sequence[Path]) -> int:
    """Every row group of every file, one after the other; how many bytes they hold."""
    files = [pq.ParquetFile(path, page_checksum_verification=True) for path in paths]
    return sum(
        file.read_row_group(group, use_threads=False).nbytes
        for file in files
        for group in range(file.num_row_groups)
    )


def taken(read: Callable[[Any], object], items: Sequence[object]) -> float:
    """CPU seconds to read all items; none is kept."""
    began = time.process_time()
    for item in items:
        read(item)
    return time.process_time() - began


def same(before: Before, images: TrainingImages, count: int) -> None:
    """Both ways give the same bits."""
    for index in range(count):
        said, masks, embedding = before[index]
        now = images[index]
        assert torch.equal(said.attention[0], now.said.attention[0])
        assert all(map(torch.equal, said.hidden, now.said.hidden))
        assert torch.equal(masks, now.masks) and torch.equal(embedding, now.embedding)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--answers", type=int, default=24)
    parser.add_argument("--phrases", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        attention, embedded = write(folder, options.answers, options.phrases)
        shards = [attention.parent / SHARD, embedded.parent / SHARD]
        before = Before(*write_before(folder, attention, embedded))
        for module in (reader, embeddings):  # as where a set does not fit: what was read is not kept
            module.MEMORY_BYTES = 1
        images = TrainingImages([attention], [embedded], "random")
        same(before, images, min(4, options.answers))
        order = random.Random(0).sample(range(options.answers), options.answers)
        reads: dict[str, Read] = {
            "before": before.__getitem__,
            "read": images.stored,
            "read, decoded on the CPU": images.__getitem__,
        }
        times: dict[str, list[float]] = {way: [] for way in [*reads, "pyarrow, in order"]}
        for _ in range(options.rounds):
            for way, read in reads.items():
                times[way].append(taken(read, order))
            times["pyarrow, in order"].append(taken(in_order, [shards]))
        show(times, in_order(shards), options.answers)


def show(times: dict[str, list[float]], size: int, count: int) -> None:
    """The least of all rounds."""
    table = Table(
        "way", "CPU ms per answer", "less than before", "MB per CPU second", "of pyarrow's",
        title=f"{size / count / 1e6:.1f} MB per answer",
    )  # fmt: skip
    least = {way: min(each) for way, each in times.items()}
    for way, cpu in least.items():
        less, share = least["before"] / cpu, least["pyarrow, in order"] / cpu
        rate = f"{size / cpu / 1e6:.0f}"
        table.add_row(way, f"{1000 * cpu / count:.1f}", f"{less:.1f} x", rate, f"{100 * share:.0f} %")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
