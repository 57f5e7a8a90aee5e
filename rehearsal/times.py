"""`python -m rehearsal.times`, run from a checkout: what each step takes per item at real sizes, for `flmm plan`."""

from __future__ import annotations

import platform
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import torch
import transformers
import typer

from benchmarks.loader import REAL, Sizes
from benchmarks.real_sizes import LLAMA_7B
from flmm.device import hardware, resolve_device
from flmm.errors import InputError, StepError
from flmm.files import write_json
from flmm.heads.sam import VIT_L
from flmm.params import Params, load_params
from flmm.pipeline.times import FILE, PHRASES, Item, StepTimes, Times
from rehearsal.clock import Clock
from rehearsal.head_times import head_times
from rehearsal.model_times import decoder, embedding
from rehearsal.project import REPOSITORY, SUITE


@dataclass(frozen=True)
class Model:
    """The sizes that are measured: the decoder's, the answers' and embeddings', SAM's, and the head's width."""

    text: Mapping[str, int]
    cache: Sizes
    sam: Mapping[str, Any]
    base_channels: int


LLAVA = Model(LLAMA_7B, REAL, VIT_L, base_channels=64)


def measure(model: Model, params: Params, clock: Clock) -> Times:
    """All times on the clock's device: bfloat16 on a GPU, float32 on a CPU; SAM and the head as ``params`` say."""
    gpu = clock.device.type == "cuda"
    dtype = torch.bfloat16 if gpu else torch.float32
    layers = decoder(model.text, model.cache.cells**2, PHRASES, clock, dtype)
    embedded = embedding(model.sam, clock, getattr(torch, params.embed.dtype))
    head = params.train.head.model_copy(update={"base_channels": model.base_channels})
    settings = params.train.model_copy(update={"head": head, **({} if gpu else {"precision": "float32"})})
    with tempfile.TemporaryDirectory() as folder:
        found = head_times(model.cache, model.sam, settings, PHRASES, Path(folder), clock)
    answer = f"answer of {PHRASES} phrases"
    return Times(
        device=hardware(clock.device) if gpu else hardware(clock.device).rpartition(", ")[0],
        cores=torch.get_num_threads(),
        dtype=str(dtype).removeprefix("torch."),
        date=datetime.now(UTC).date().isoformat(),
        versions={
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        parameters=layers.parameters,
        steps=StepTimes(
            extract=Item(seconds=layers.token, per="token read"),
            generate=Item(seconds=layers.generated, per="token generated"),
            write=Item(seconds=found.write, per="phrase"),
            embed=Item(seconds=embedded, per="image"),
            read=Item(seconds=found.read, per=answer),
            train=Item(seconds=found.train, per=answer),
            evaluate=Item(seconds=found.evaluate, per="phrase"),
        ),
    )


def write_times(
    out: Annotated[Path, typer.Option(help="The file to write; `flmm plan` reads this one.")] = FILE,
) -> None:
    """Measure what each step takes per item at the sizes of LLaVA-1.5-7B and SAM ViT-L, on made-up tensors."""
    began = time.monotonic()
    params = load_params(REPOSITORY / "params.yaml", suite=SUITE, backbones=["llava-1.5-7b"])
    times = measure(LLAVA, params, Clock(resolve_device("auto")))
    write_json(out, times.model_dump())
    for step, item in times.steps:
        print(f"{step}: {item.seconds:.3g} s per {item.per}")
    print(f"{time.monotonic() - began:.0f} s on {times.device}; {out}")


def main() -> None:
    """Run the command; what the user can mend is one line on stderr and exit code 2."""
    try:
        typer.run(write_times)
    except (InputError, StepError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InputError) else 1)


if __name__ == "__main__":
    main()
