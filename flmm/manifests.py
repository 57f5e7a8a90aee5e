"""The small files by which DVC knows a backbone's big ones: one manifest of its maps, one list of its scores."""

from pathlib import Path
from typing import Any

from flmm import keys, paths
from flmm.errors import InputError
from flmm.files import read_json, write_json
from flmm.params import Params


def shard_manifest(params: Params, backbone: str, part: str) -> Path:
    """The manifest beside one part's attention shards, at the address of the present params and code."""
    return paths.extract_shards(backbone, keys.extract_key(params, backbone), part) / "manifest.json"


def embed_manifest(params: Params) -> Path:
    """The manifest beside the image embeddings, at the address of the present params and code."""
    return paths.embed_shards(params.active.segmenter.name, keys.embed_key(params)) / "manifest.json"


def extract_manifest(params: Params, backbone: str) -> Path:
    """All parts' manifests of one backbone in one file: what DVC versions."""
    return paths.results(params, backbone, "extract") / "manifest.json"


def benchmark_manifests(params: Params, backbone: str, benchmark: str) -> list[Path]:
    """The maps that a benchmark evaluates, and those of training (for the baseline); none for POPE and MMBench."""
    parts = paths.benchmark_parts(params, benchmark)
    train = [part for part in paths.grounding_parts(params) if part.endswith("-train")]
    maps = [] if benchmark in paths.REASONED else parts  # the LMM answers those while they are evaluated
    return [shard_manifest(params, backbone, part) for part in (maps + train if parts else [])]


def write_extract_manifest(params: Params, backbone: str) -> None:
    """Gather the parts' manifests.

    Raises:
        InputError: a part was not extracted yet (names the file).
    """
    parts = {
        part: read_json(shard_manifest(params, backbone, part)) for part in paths.grounding_parts(params)
    }
    key = keys.extract_key(params, backbone)
    write_json(extract_manifest(params, backbone), {"key": key, "parts": parts})


def check_extract_manifest(params: Params, backbone: str) -> None:
    """Refuse maps that other params or other code made.

    Raises:
        InputError: the backbone's manifest has another key than the present params and code.
    """
    path = extract_manifest(params, backbone)
    found, expected = read_json(path).get("key"), keys.extract_key(params, backbone)
    if found != expected:
        raise InputError(
            f"{path}: maps of key {found}, but the params and code make {expected}; run extract again"
        )


def write_scores(params: Params, backbone: str) -> None:
    """Put the records of all benchmarks of one backbone into one file.

    Raises:
        InputError: a benchmark was not evaluated yet (names the file).
    """
    folder = paths.results(params, backbone, "evaluate")
    records: list[Any] = []
    for benchmark in paths.benchmarks(params):
        records += read_json(folder / benchmark / "metrics.json")
    write_json(folder / "metrics.json", records)
