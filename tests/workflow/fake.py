"""The real step graph with steps that do no work: each writes a digest of what it is made of, as a real one would."""

import hashlib
import json
from pathlib import Path

from flmm.files import write_json
from flmm.params import Params
from flmm.pipeline import paths
from flmm.pipeline.bookkeeping import CACHES, stage_of
from flmm.pipeline.keys import Keys, record_of
from flmm.pipeline.outputs import outputs, record
from flmm.pipeline.state import State
from flmm.pipeline.step import TRACK, Step
from flmm.pipeline.steps import Graph
from flmm.tracking.uri import tracking_uri

# What the fake servers hold: bytes by address. A local file holds its own.
Served = dict[str, bytes]
ARRIVING = ("generate", "download", "digest")


def run(params: Params, served: Served, stage: str = "") -> list[Step]:
    """One call of Snakemake: everything that has to run (of one stage of dvc.yaml), in order; returns what ran."""
    state = State(params)
    ran = _ordered(state, stage)
    hashes = state.keys.hashes
    arriving = [step for step in ran if step.name in ARRIVING]
    for step in arriving:
        _arrive(Keys(state.graph, hashes), step, served)  # afresh: each arrival may tell a key
    keys = Keys(state.graph, hashes)
    for step in ran:
        if step not in arriving:
            _do(keys, step)
    hashes.save()
    return ran


def _ordered(state: State, stage: str) -> list[Step]:
    done: list[Step] = []

    def visit(step: Step) -> None:
        if step in done or step not in state.running:
            return
        if stage not in ("", stage_of(step)) and step.name not in CACHES:
            return  # another stage's
        for read in state.graph.reads(step):
            visit(read)
        done.append(step)

    for step in sorted(state.running):
        if stage in ("", stage_of(step)):
            visit(step)
    return done


def _arrive(keys: Keys, step: Step, served: Served) -> None:
    if step.name == "download":
        _download(keys, step.item, served)
    elif step.name == "digest":
        file = paths.raw(keys.params) / step.item
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        content = {"bytes": file.stat().st_size, "sha256": sha256, "origin": keys.origin(step.item)}
        write_json(paths.digest(keys.params, step.item), content)
    else:
        _do(keys, step)


def _do(keys: Keys, step: Step) -> None:
    graph = keys.graph
    made_of = [keys.own(step), *(_content(graph, read) for read in graph.reads(step))]
    for path in outputs(graph, step)[1:]:
        digest = hashlib.sha256(repr(made_of).encode()).hexdigest()
        told = {"uri": tracking_uri()} if step == TRACK else {}
        write_json(path, {path.name: digest, "number": int(digest[:4], 16), **told})  # a metric, for DVC
    key = keys.known(step)
    if step.name == "extract":
        _shard(paths.extract_shards(step.backbone, key, step.item))
    if step.name == "embed":
        name = keys.params.active.segmenter.name
        _shard(paths.embed_shards(name, str(keys.store(step.item)), step.item))
    write_json(record(graph, step), {"key": key})


def _download(keys: Keys, source: str, served: Served) -> None:
    entry = keys.params.sources[source]
    file = paths.raw(keys.params) / source
    content = _bytes(keys, source, served)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    assert entry.sha256 in (None, sha256)
    write_json(record_of(file), {"bytes": len(content), "sha256": sha256, "origin": keys.origin(source)})


def _bytes(keys: Keys, source: str, served: Served) -> bytes:
    url = keys.params.sources[source].url or ""
    return served[url] if url.startswith("http") else Path(url.removeprefix("file:")).read_bytes()


def _content(graph: Graph, step: Step) -> str:
    """What a step's reader sees: bytes of a download, the results of any other step but for their record."""
    if step.name == "download":
        return hashlib.sha256((paths.raw(graph.params) / step.item).read_bytes()).hexdigest()
    files = outputs(graph, step)[1:] or [record(graph, step)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()


def _shard(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "shard-00000.parquet").write_text("shard")
    (folder / "manifest.json").write_text(json.dumps({"shards": [{"file": "shard-00000.parquet"}]}))
