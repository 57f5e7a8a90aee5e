"""`flmm plan`: what a suite's full run needs, told before anything starts. Estimates are marked as such."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from flmm.files import read_table
from flmm.params import BackboneEntry, Params, Source
from flmm.pipeline import paths

# Phrases to be spoken per part where the samples are not prepared yet. RES: one sentence per referred object in
# training (Kazemzadeh 2014, Yu 2016, Mao 2016 with the UMD split), every sentence in evaluation; PNG: 5.1 phrases for
# each of 134,272 and 8,573 narratives, those of Localized Narratives on COCO (Pont-Tuset 2020, Gonzalez 2021).
_PHRASES = {
    "refcoco-train": 42_404,
    "refcoco-val": 10_834,
    "refcoco-testA": 5_657,
    "refcoco-testB": 5_095,
    "refcoco+-train": 42_278,
    "refcoco+-val": 10_758,
    "refcoco+-testA": 5_726,
    "refcoco+-testB": 4_889,
    "refcocog-train": 42_226,
    "refcocog-val": 4_896,
    "refcocog-test": 9_602,
    "png-train": 685_000,
    "png-val": 44_000,
}
# Assumptions of the estimates, printed with them.
_TOKENS = 800  # of a prompt with its image and an answer
_PHRASES_PER_PASS = 5
_RATE = 1.2e14  # floating-point operations per second: 40 % of an A100's bfloat16 peak
_PAPER_TRAINING = 160  # A800 hours of one backbone: 20 h on 8 GPUs, the LMM run again in every epoch


@dataclass(frozen=True)
class Shape:
    """What the cost of a model hangs on; ``cells``: image tokens of a 480 x 640 photograph, all grids."""

    parameters: float
    layers: int
    heads: int
    width: int
    cells: tuple[int, ...]

    @property
    def phrase_bytes(self) -> int:
        """Cache per phrase: all grids' maps and the hidden states of three tokens, a byte each (log8)."""
        return self.layers * self.heads * sum(self.cells) + 3 * self.layers * self.width


# The paper's backbones that are catalogued, from their published configurations.
_SHAPES = {
    "llava-1.5-7b": Shape(7.1e9, 32, 32, 4096, (576,)),
    "llava-next-vicuna-7b": Shape(7.1e9, 32, 32, 4096, (576, 1728)),
    "llava-next-mistral-7b": Shape(7.6e9, 32, 32, 4096, (576, 1728)),
    "deepseek-vl-1.3b": Shape(2.0e9, 24, 16, 2048, (576,)),
    "deepseek-vl-7b": Shape(7.3e9, 30, 32, 4096, (576,)),
    "mgm-2b": Shape(3.0e9, 18, 8, 2048, (576,)),
    "mgm-7b": Shape(7.3e9, 32, 32, 4096, (576,)),
    "mgm-7b-hd": Shape(7.3e9, 32, 32, 4096, (576, 2304)),
    "hpt-air": Shape(8.1e9, 32, 32, 4096, (784,)),
    "hpt-1.5-air": Shape(8.5e9, 32, 32, 4096, (1024,)),
}


def plan(params: Params, console: Console) -> list[str]:
    """Print the needs of the active suite; returns what is missing, a sentence each."""
    missing, download = _sources(params, console)
    phrases, how = _phrases(params)
    console.print(f"\nphrases to read: {phrases:,} ({how})")
    cache = _backbones(params, console, phrases, missing)
    free = shutil.disk_usage(Path()).free
    needed = download + cache
    console.print(f"disk: {_size(needed)} to come, {_size(free)} free")
    if needed > free:
        missing.append(f"disk space: {_size(needed - free)} more")
    if params.suite == "paper" and not _has_gpu():
        missing.append("a GPU: models of billions of parameters are not for a CPU")
    for what in missing:
        console.print(f"missing: {what}", style="bold")
    return missing


def _sources(params: Params, console: Console) -> tuple[list[str], int]:
    """The table of files; what is missing, and the known bytes that are not on this disk."""
    table, missing, total = Table("file", "bytes", "state"), [], 0
    unknown = 0
    for name, source in params.active.sources.items():
        there = (paths.raw(params) / name).is_file()
        if source.url is None and not there:
            missing.append(
                f"{name}: nobody serves it; put its path into params.yaml (suites.{params.suite}.sources)"
            )
        if not there:
            total += source.bytes or 0
            unknown += source.bytes is None
        table.add_row(name, f"{source.bytes:,}" if source.bytes else "unknown", _state(source, there))
    console.print(table)
    console.print(f"to download: {_size(total)}, and {unknown} files of unknown size")
    return missing, total


def _state(source: Source, there: bool) -> str:
    if there:
        return "on this disk"
    return "to be downloaded" if source.url else "by hand"


def _phrases(params: Params) -> tuple[int, str]:
    """Phrases of all parts and how they are known: counted in prepared samples, else published counts."""
    known = {}
    for part in paths.grounding_parts(params):
        file = paths.samples(params, part)
        if file.is_file():
            known[part] = _count(file, part.endswith("-train"))
        elif params.suite == "paper" and part in _PHRASES:
            known[part] = _PHRASES[part]
    counted = sum(paths.samples(params, part).is_file() for part in known)
    absent = len(paths.grounding_parts(params)) - len(known)
    how = f"{counted} parts counted, {len(known) - counted} by published counts"
    return sum(known.values()), how + (f"; {absent} not prepared yet and not counted" if absent else "")


def _count(file: Path, train: bool) -> int:
    rows = read_table(file).to_pylist()
    return sum(
        sum(utterance["target"] >= 0 for utterance in row["narrative"])
        if row["narrative"]
        else sum(1 if train else len(target["sentences"]) for target in row["targets"])
        for row in rows
    )


def _backbones(params: Params, console: Console, phrases: int, missing: list[str]) -> int:
    """The table of costs per backbone; the bytes of all attention caches."""
    table = Table("backbone", "weights on the GPU", "attention cache", "extract, GPU hours (estimate)")
    total = 0
    for name in params.backbones:
        shape = _shape(name, params.catalogue[name])
        if shape is None:
            table.add_row(name, "unknown", "unknown", "unknown")
            missing.append(f"{name}: its configuration is not on this machine, so that its costs are unknown")
            continue
        cache = phrases * shape.phrase_bytes
        hours = 2 * shape.parameters * _TOKENS * phrases / _PHRASES_PER_PASS / _RATE / 3600
        table.add_row(name, _size(2 * shape.parameters), _size(cache), f"{hours:.1f}")
        total += cache
    console.print(table)
    console.print(
        f"estimate of extract: {_TOKENS} tokens for every {_PHRASES_PER_PASS} phrases at {_RATE:.1e} operations a "
        f"second. train: the paper took {_PAPER_TRAINING} A800 hours with the LMM in the loop, an upper bound here, "
        "where the LMM is not run again; not measured."
    )
    return total


def _shape(name: str, entry: BackboneEntry) -> Shape | None:
    if name in _SHAPES:
        return _SHAPES[name]
    from flmm.contract.facts import facts

    found = facts(entry)
    if found is None:
        return None
    cells = tuple(grid.rows * grid.columns for grid in found.grids)
    return Shape(
        found.parameters, found.layers, found.channels // len(cells) // found.layers, found.width, cells
    )


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _size(count: float) -> str:
    for unit, factor in (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20)):
        if count >= factor:
            return f"{count / factor:,.1f} {unit}"
    return f"{count / 1024:,.1f} KiB"
