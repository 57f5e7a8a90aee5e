"""The step ``repeat``: the head once more with another seed, and its masks counted: how much of a number is chance.

It reads what `train` and `evaluate` read of the caches; no LMM is loaded, and answers do not depend on the head. Only
benchmarks whose words are given (RES, PNG) are counted.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from flmm.benchmarks import benchmark
from flmm.cache.embeddings import EmbeddingStore
from flmm.device import resolve_device
from flmm.errors import InputError
from flmm.evaluation.count import mask_records
from flmm.evaluation.engine import predict
from flmm.evaluation.records import Record
from flmm.evaluation.run import spoken_parts
from flmm.files import read_json, write_json
from flmm.heads import names
from flmm.heads.checkpoint import load_head
from flmm.heads.segmenter import load_segmenter
from flmm.params import Params
from flmm.training import train


def repeat(
    params: Params,
    backbone: str,
    seed: int,
    *,
    training: Sequence[Path],
    maps: Mapping[str, Mapping[str, Path]],
    embeddings: Sequence[Path],
    raw: Path,
    out: Path,
    key: str,
    checkpoints: Path,
) -> None:
    """Train with ``seed`` in place of ``train.seeds``' first and write ``out/metrics.json``, the head beside it.

    ``training``: manifests of the training parts' attention; ``maps``: those of the evaluated parts, by benchmark and
    part; ``embeddings``: of all of their photographs. A run that was killed goes on from its last checkpoint.

    Raises:
        InputError: a manifest, shard, embedding or segmenter cannot be used.
        StepError: a loss or a mask is not finite, or the disk is full.
    """
    if not _is_trained(out, key):
        own = params.model_copy(update={"train": params.train.model_copy(update={"seeds": [seed]})})
        train(own, backbone, training, embeddings, out, key=key, checkpoints=checkpoints, raw=raw)
    device = resolve_device(params.evaluate.device, "evaluate.device")
    segmenter = load_segmenter(params.active.segmenter, raw).to(device)
    head = load_head(out / "head.safetensors", segmenter).to(device).eval()
    records: list[Record] = []
    for name, parts in maps.items():
        chosen = benchmark(name)
        protocols = chosen.counted(params.evaluate.protocols)
        table = predict(
            spoken_parts(backbone, parts), {names.TRAINED: head}, EmbeddingStore(embeddings), protocols
        )
        records += mask_records(
            chosen, table, suite=params.suite, backbone=backbone, protocols=protocols, seed=params.seed
        )
    write_json(out / "metrics.json", [record.model_dump() for record in records])


def _is_trained(out: Path, key: str) -> bool:
    """Whether a run that was killed later has left the whole head: its summary is written after it."""
    try:
        return (out / "head.safetensors").is_file() and read_json(out / "summary.json")["key"] == key
    except (InputError, KeyError, TypeError):
        return False
