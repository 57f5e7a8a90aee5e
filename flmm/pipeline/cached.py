"""What lies in ``cache/``: attention shards, image embeddings and checkpoints, by the params' use of them.

Everything there can be made again, and a deleted folder costs nothing until a step that runs reads it.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flmm.cache.shards import broken_shard
from flmm.errors import InputError
from flmm.files import read_json, sha256_file
from flmm.pipeline import paths
from flmm.pipeline.state import State
from flmm.pipeline.step import Step

CACHE = Path("cache")
# Below the folder of each step that caches: who made it, its key and, but for checkpoints, the part or archive.
_DEPTH = {"extract": 3, "embed": 3, "train": 2, "repeat": 3}

# A step that has to run reads it; no step has to run, but these params made it; these params know nothing of it.
Use = Literal["needed", "current", "unused"]


@dataclass(frozen=True)
class Cached:
    """One folder of the cache: its ``step``, size in bytes, when it was last written (seconds, Unix), and its use."""

    folder: Path
    step: str
    size: int
    written: float
    use: Use


def cached(state: State) -> list[Cached]:
    """Every folder of the cache, by step and place."""
    uses = _uses(state)
    found = []
    for step, depth in _DEPTH.items():
        for folder in sorted((CACHE / step).glob("/".join("*" * depth))):
            files = [path.stat() for path in folder.rglob("*") if path.is_file()]
            size, written = (
                sum(file.st_size for file in files),
                max((file.st_mtime for file in files), default=0),
            )
            found.append(Cached(folder, step, size, written, uses.get(folder, "unused")))
    return found


def _uses(state: State) -> dict[Path, Use]:
    graph, running = state.graph, state.running
    read = {each for step in running for each in graph.reads(step)} | running
    return {
        folder: "needed" if step in read else "current"
        for step in graph.results
        for folder in [_folder(state, step)]
        if folder is not None
    }


def _folder(state: State, step: Step) -> Path | None:
    """Where a step's cache lies, where it has one and its key is known."""
    key = state.keys.store(step.item) if step.name == "embed" else state.keys.key(step)
    if key is None:
        return None
    if step.name == "extract":
        return paths.extract_shards(step.backbone, key, step.item)
    if step.name == "embed":
        return paths.embed_shards(state.graph.params.active.segmenter.name, key, step.item)
    if step.name == "repeat":
        return paths.repeat_checkpoints(step.backbone, step.item) / key
    return paths.checkpoints(step.backbone) / key if step.name == "train" else None


def damage(each: Cached) -> Iterator[str]:
    """What is wrong with a folder's shards: absent, cut short, or a page that is not what was written. Reads them."""
    manifest = each.folder / "manifest.json"
    if not manifest.is_file():
        yield f"{each.folder}: without a manifest: the step that writes it did not end"
        return
    try:
        sums = {str(shard["file"]): shard.get("sha256") for shard in read_json(manifest)["shards"]}
    except (InputError, KeyError, TypeError, AttributeError):
        yield f"{manifest}: not a manifest; run {each.step} again"
        return
    for name, sha256 in sums.items():
        yield from _damage_of(each.folder / name, each.step, sha256)


def _damage_of(path: Path, step: str, sha256: str | None) -> Iterator[str]:
    """The same of one shard; the manifest of attention has a sum of each whole file."""
    from flmm.pipeline.footers import open_checked  # loads torch

    try:
        open_checked(path, step).check()
        if sha256 is not None and sha256_file(path) != sha256:
            raise broken_shard(path, step, "not the bytes that were written")
    except InputError as error:
        yield str(error)


def delete(folders: list[Path]) -> None:
    """Remove folders of the cache and the folders above them that are empty then; a manifest goes first.

    So a removal that is cut off leaves shards without a manifest, which no step takes for whole.
    """
    for folder in folders:
        (folder / "manifest.json").unlink(missing_ok=True)
        shutil.rmtree(folder)
        for above in folder.parents:
            if above == CACHE or any(above.iterdir()):
                break
            above.rmdir()
