"""What the steps cost on a GPU, at the real sizes of LLaVA-1.5-7B, LLaVA-Next-7B and SAM ViT-L, weights random.

    python benchmarks/gpu.py [--models llava-1.5-7b llava-next-7b] [--images 32] [--out gpu.json]

Nothing is downloaded. Synthetic photographs go through the steps themselves (`extract`, `embed`, `train` from the cache
and online); one image's answer is computed plainly, with the tap and by eager attention that returns all maps; and its
maps are compared with those in float32. An 80 GB card holds the float32 model, too (28 GB). `--models tiny` tries the
script where there is no GPU. Prints a table and writes JSON.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from PIL import Image
from real_sizes import ARCHIVE, PHRASES, SIZES, backbone, photographs, timed
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file

from flmm.backbones.lmm import TransformersBackbone
from flmm.backbones.tap import Rows
from flmm.contract.check import attending
from flmm.data.sample import Sample, write_samples
from flmm.device import hardware
from flmm.embed import embed
from flmm.extract import extract
from flmm.files import write_json
from flmm.heads.sam import build_sam
from flmm.params import Params, load_params
from flmm.protocols import GROUNDING_PROMPT, answers
from flmm.training import train
from flmm.training.online import train_online

PART, KEY, ROUNDS = "png-train", "0123456789ab", 5


class Busy:
    """How long the model's own forwards took on the device, by events in its stream (on a CPU: by the clock)."""

    def __init__(self, model: torch.nn.Module, device: torch.device) -> None:
        self._cuda, self._open, self._spans = device.type == "cuda", [], list[tuple[Any, Any]]()
        model.register_forward_pre_hook(lambda *_: self._open.append(self._now()))
        model.register_forward_hook(lambda *_: self._spans.append((self._open.pop(), self._now())))

    def _now(self) -> Any:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self) -> float:
        """Of all forwards since the last call."""
        if self._cuda:
            torch.cuda.synchronize()
        spans, self._spans = self._spans, []
        return sum(start.elapsed_time(end) / 1000 if self._cuda else end - start for start, end in spans)


@contextmanager
def peak(device: torch.device, found: dict[str, float], name: str) -> Iterator[None]:
    """Note the most gigabytes of the device that were in use."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.reset_peak_memory_stats()
    yield
    found[f"{name}, GiB at most"] = torch.cuda.max_memory_allocated() / 2**30


@torch.no_grad()
def forwards(lmm: TransformersBackbone, image: Image.Image, device: torch.device) -> dict[str, float]:
    """Milliseconds of the forward of one prompt: plain, with the tap, and eager with all maps; in turns."""
    prompt = lmm.read(image, GROUNDING_PROMPT)
    columns = torch.cat(prompt.columns).to(device)
    last = torch.arange(prompt.length - PHRASES, prompt.length, device=device)
    rows = Rows(0, last, columns, torch.full((1, PHRASES), 1 / PHRASES, device=device))

    def forward(**more: Any) -> None:
        lmm.model(**prompt.inputs, logits_to_keep=1, **more)

    def plain() -> None:
        with attending(lmm, "sdpa"):
            forward()

    def tapped() -> None:
        with lmm.tap.reading([rows]) as recording:
            forward()
        recording.attention()

    def eager() -> None:
        with attending(lmm, "eager"):
            forward(output_attentions=True)

    ways = {"plain SDPA": plain, "with the tap": tapped, "eager, all maps": eager}
    found: dict[str, float] = {"tokens of the prompt": prompt.length}
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(ROUNDS + 1):
        for name, run in ways.items():
            with peak(device, found, name):
                seconds = timed(run, device)
            taken[name] += [seconds] if number else []
    return found | {f"{name}, ms": 1000 * statistics.median(values) for name, values in taken.items()}


def difference(lmm: TransformersBackbone, sample: Sample, image: Image.Image) -> dict[str, float]:
    """How far maps in the model's precision are from those in float32, relative to each map's largest value."""
    answer = answers(sample, "train")[0]
    (low,) = lmm.observe(image, [answer], GROUNDING_PROMPT)
    lmm.model.float()
    (high,) = lmm.observe(image, [answer], GROUNDING_PROMPT)
    found = []
    for mine, exact in zip(low.attention, high.attention, strict=True):  # (P, C, h, w)
        largest = exact.flatten(2).amax(-1)[..., None, None]
        found.append(((mine.float() - exact).abs() / largest).flatten())
    every = torch.cat(found)
    return {"maps: mean difference": every.mean().item(), "maps: largest difference": every.max().item()}


def steps(name: str, lmm: TransformersBackbone, params: Params, folder: Path, count: int) -> dict[str, float]:
    """Images and answers a second of the steps themselves."""
    device = lmm.model.device
    catalogue, raw = SIZES[name][0], folder / "raw"
    samples = folder / "samples.parquet"
    busy, found = Busy(lmm.model, device), {}
    with patch("flmm.backbones.load", lambda *_, **__: lmm):
        with peak(device, found, "extract"):
            took = timed(
                lambda: extract(params, catalogue, PART, samples, raw, folder / "extract", KEY), device
            )
        found |= {"extract, images/s": count / took, "extract, share of model": busy.seconds() / took}
        took = timed(lambda: embed(params, ARCHIVE, [samples], raw, folder / "embed", KEY), device)
        found["embed, images/s (SAM loaded anew)"] = count / took
        where = {"key": KEY, "raw": raw}
        for way, maps in (("cache", True), ("online", False)):
            times: list[float] = []
            clock = {"on_step": lambda _, times=times: times.append(time.perf_counter())}
            out = folder / way
            with peak(device, found, f"train, {way}"):
                if maps:
                    files = ([folder / "extract/manifest.json"], [folder / "embed/manifest.json"])
                    train(params, catalogue, *files, out, checkpoints=out / "kept", **where, **clock)
                else:
                    train_online(
                        params, catalogue, [samples], None, out, checkpoints=out / "kept", **where, **clock
                    )
            begun = len(times) // 4  # steps until everything is warm
            rate = params.train.batch_size * (len(times) - 1 - begun) / (times[-1] - times[begun])
            found[f"train, {way}, answers/s"] = rate
    return found


def settings(name: str, folder: Path, device: torch.device) -> Params:
    """The paper suite's params with a random SAM, on this device, for one short epoch."""
    params = load_params(suite="paper", backbones=[SIZES[name][0]])
    sam = folder / "sam"
    sam.mkdir()
    torch.manual_seed(0)
    save_file(build_sam(SIZES[name][-1]).state_dict(), sam / "model.safetensors")
    write_json(sam / "config.json", SIZES[name][-1])
    suite = params.active.model_copy(
        update={"segmenter": params.active.segmenter.model_copy(update={"checkpoint": str(sam)})}
    )
    cuda = device.type == "cuda"
    where = {"device": device.type}
    precision = {} if cuda else {"dtype": "float32"}
    return params.model_copy(
        update={
            "suites": {**params.suites, "paper": suite},
            "extract": params.extract.model_copy(update={**where, **precision, "train_draws": 1}),
            "embed": params.embed.model_copy(update={**where, **precision}),
            "train": params.train.model_copy(update={"epochs": 1, "batch_size": 2}),
        }
    )


def measure(name: str, count: int, device: torch.device) -> dict[str, float]:
    """Everything about one model."""
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        samples = photographs(folder / "raw", count)
        write_samples(folder / "samples.parquet", samples)
        params = settings(name, folder, device)
        lmm = backbone(name, device, getattr(torch, params.extract.dtype))
        image = Image.open(folder / "raw" / ARCHIVE / samples[0].image)
        found = forwards(lmm, image, device) | steps(name, lmm, params, folder, count)
        return found | difference(lmm, samples[0], image)


def main() -> None:
    """Measure every model that was asked for; print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=SIZES, default=["llava-1.5-7b", "llava-next-7b"])
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--out", type=Path, default=Path("gpu.json"))
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = {name: measure(name, arguments.images, device) for name in arguments.models}
    arguments.out.write_text(json.dumps({"hardware": hardware(device), "models": found}, indent=2) + "\n")
    table = Table(hardware(device), *found)
    for row in dict.fromkeys(row for each in found.values() for row in each):
        table.add_row(row, *(f"{each[row]:.4g}" if row in each else "" for each in found.values()))
    Console().print(table)


if __name__ == "__main__":
    main()
