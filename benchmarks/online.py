"""A training epoch from the cache against one online, where LMM and SAM see every image again (`train.online: true`).

    python benchmarks/online.py [--model shapes-llava] [--images 100] [--rounds 3] [--out FILE.json]

Run it in a checkout. Writes a mirror of so many scenes into a temporary folder, prepares and extracts it as the
pipeline does, and trains the suite's head for an epoch, the ways taking turns; same answers in the same order, same
batches. The third way has all answers decoded in memory before its first step, so that its epoch is the head's own
work: no cache can be faster. Time is CPU seconds, for the clock tells of others who use the machine, of all steps of an
epoch; to load the models is no part of it. Then what a cache can gain at the sizes of LLaVA-1.5-7B and SAM ViT-L, in
counted operations (`benchmarks/flops.py`). Quote the ratios.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flops
import torch
from rich.console import Console
from rich.table import Table

from flmm import shipped
from flmm.cache.stored import CPU
from flmm.data.prepare import TRAIN, prepare
from flmm.embed import embed, images_of
from flmm.extract import extract
from flmm.files import write_json
from flmm.params import Params, load_params
from flmm.pipeline.times import PHRASES
from flmm.shapes.mirror import FEWEST_EVALUATION_IMAGES, generate
from flmm.training import train
from flmm.training.images import TrainingImage, TrainingImages
from flmm.training.loop import train_on
from flmm.training.online import train_online

DATASETS = ("refcoco", "png")
KEY = "0123456789ab"
CLOSE = 0.05  # of the first loss: the cache's codes change it a little, other answers change it much
CACHE, ONLINE, HEAD = "from the cache", "online", "head alone"
Train = Callable[..., None]  # of a folder for the results and of what is called at each step


@dataclass(frozen=True)
class Waiting:
    """An answer with so many ``phrases`` that is in memory."""

    index: int
    phrases: int

    def __len__(self) -> int:
        return self.phrases


class InMemory(TrainingImages):
    """The cache's answers, all decoded before the first step."""

    def __init__(self, manifests: Sequence[Path], embed_manifests: Sequence[Path], backbone: str) -> None:
        super().__init__(manifests, embed_manifests, backbone)
        self._decoded = [self[index] for index in range(len(self))]

    def __getitem__(self, index: int) -> TrainingImage:
        return super().stored(index).on(CPU)

    def stored(self, index: int) -> Waiting:
        """Nothing is read."""
        return Waiting(index, len(self._decoded[index].said))

    def ready(self, read: Waiting, device: torch.device) -> TrainingImage:
        """Nothing is decoded."""
        return self._decoded[read.index]


def samples_of(params: Params, folder: Path, images: int) -> list[Path]:
    """The training parts of a mirror of ``images`` training scenes, prepared; its files are in ``raw``."""
    raw = folder / "raw"
    generate(raw, train_images=images, evaluation_images=FEWEST_EVALUATION_IMAGES, seed=params.seed)
    tables = [folder / f"{dataset}-{TRAIN}.parquet" for dataset in DATASETS]
    for dataset, table in zip(DATASETS, tables, strict=True):
        prepare(params, dataset, TRAIN, raw=raw, out=table)
    return tables


def cached(params: Params, model: str, tables: list[Path], folder: Path) -> tuple[list[Path], list[Path]]:
    """Attention of every part and embeddings of every archive: the manifests."""
    raw = folder / "raw"
    maps = [folder / "extract" / table.stem for table in tables]
    for table, out in zip(tables, maps, strict=True):
        extract(params, model, table.stem, table, raw, out, KEY)
    archives = sorted({archive for archive, _ in images_of(tables)})
    embedded = [folder / "embed" / archive for archive in archives]
    for archive, out in zip(archives, embedded, strict=True):
        embed(params, archive, tables, raw, out, KEY)
    return [out / "manifest.json" for out in maps], [out / "manifest.json" for out in embedded]


def epoch(run: Train, out: Path) -> tuple[float, float]:
    """CPU seconds of all steps of a training, from those of all but the first, and the loss of the first."""
    times: list[float] = []
    losses: list[float] = []

    def on_step(record: dict[str, Any]) -> None:
        times.append(time.process_time())
        losses.append(record["loss"])

    run(out, key=KEY, checkpoints=out / "kept", raw=out.parent / "raw", on_step=on_step)
    return (times[-1] - times[0]) * len(times) / (len(times) - 1), losses[0]


def ways_of(
    params: Params, model: str, tables: list[Path], manifests: tuple[list[Path], list[Path]]
) -> dict[str, Train]:
    """The three of them."""
    return {
        CACHE: lambda out, **where: train(params, model, *manifests, out, **where),
        ONLINE: lambda out, **where: train_online(params, model, tables, None, out, **where),
        HEAD: lambda out, **where: train_on(
            params, model, lambda _: InMemory(*manifests, model), out, **where
        ),
    }


def measure(params: Params, model: str, images: int, rounds: int) -> dict[str, Any]:
    """CPU seconds of an epoch each way and round, and of filling the cache, once."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tables = samples_of(params, folder, images)
        began = time.process_time()
        manifests = cached(params, model, tables, folder)
        filled = time.process_time() - began
        taken: dict[str, list[float]] = {CACHE: [], ONLINE: [], HEAD: []}
        for _ in range(rounds):
            first = []
            for way, run in ways_of(params, model, tables, manifests).items():
                seconds, loss = epoch(run, folder / way)
                taken[way].append(seconds)
                first.append(loss)
            assert max(first) / min(first) - 1 < CLOSE, f"the ways do not agree: first losses {first}"
        return {"epochs": taken, "filled": filled}


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--model", default="shapes-llava", choices=shipped.models())
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    params = load_params(suite="shapes", backbones=[options.model])
    # No readers of their own: the seconds of other processes would not count.
    short = params.train.model_copy(update={"epochs": 1, "workers": 0})
    params = params.model_copy(update={"train": short})
    found = measure(params, options.model, options.images, options.rounds)
    epochs = found["epochs"]
    faster = {
        way: statistics.median(a / b for a, b in zip(epochs[ONLINE], seconds, strict=True))
        for way, seconds in epochs.items()
    }
    table = Table(
        "way", "CPU s per epoch, median", "times as fast as online", title=f"{options.images} scenes"
    )
    for way, seconds in epochs.items():
        table.add_row(way, f"{statistics.median(seconds):.1f}", f"{faster[way]:.2f}")
    console = Console(width=100)
    console.print(table)
    console.print(f"the cache was filled, once, in {found['filled']:.1f} CPU s")
    counted = flops.counted(PHRASES, load_params(suite="paper", backbones=[flops.LLAVA]))
    console.print(flops.show(counted, PHRASES))
    if options.out:
        write_json(options.out, {**found, "faster": faster, "operations": counted})


if __name__ == "__main__":
    main()
