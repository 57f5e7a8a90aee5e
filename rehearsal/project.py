"""The project that is rehearsed: a work folder with the mirror, the models and a params.yaml of the paper's suite."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml

from flmm.benchmarks import benchmark
from flmm.errors import InputError
from flmm.files import md5_file, sha256_file, write_text
from flmm.heads.sam import VIT_B, build_sam
from flmm.params import Params, parse_params
from rehearsal.mirror import write_mirror
from tests.tiny_models import BUILDERS

REPOSITORY = Path(__file__).resolve().parents[1]
SUITE = "paper"
# What is smaller than in params.yaml. All else, such as precisions, protocols and storage, is as it stands there.
_SMALL: dict[tuple[str, ...], Any] = {
    ("suites", SUITE, "train", "epochs"): 1,
    ("suites", SUITE, "train", "threads"): 1,
    ("suites", SUITE, "train", "head", "base_channels"): 8,
    ("evaluate", "max_new_tokens"): 4,
    ("evaluate", "description_tokens"): 16,
    ("evaluate", "thoughts", "questions"): 1,
    ("overlays", "pictures"): 1,
    ("report", "title"): "A rehearsal: random models, made-up pictures",
}


def make_project(work: Path, families: list[str] | None = None, segmenter: Path | None = None) -> Params:
    """Write mirror, models and params.yaml into the directory ``work``; ``families``: of which (None: of all).

    ``segmenter``: the directory of a SAM that takes the place of the random one in the published layout.

    One backbone a family is rehearsed, under the first name that params.yaml's catalogue has for it. What a finished
    or broken rehearsal left in ``work`` stays: equal files have equal keys, and the pipeline goes on.

    Raises:
        InputError: a family that is not in the catalogue, or a suite that is not as ``rehearsal/mirror.py`` knows it.
    """
    raw = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    first = _first_of_each_family(raw["catalogue"])
    chosen = list(first) if families is None else families
    if unknown := [family for family in chosen if family not in first or family not in BUILDERS]:
        raise InputError(f"rehearsal: no family {', '.join(unknown)}; there are {', '.join(first)}")
    raw |= {"suite": SUITE, "backbones": [first[family] for family in chosen]}
    for path, value in _SMALL.items():
        _set(raw, path, value)
    suite = raw["suites"][SUITE]
    raw["evaluate"]["benchmarks"] = _with_data(raw["evaluate"]["benchmarks"], suite["datasets"])
    mirror = work / "mirror"
    shutil.rmtree(mirror, ignore_errors=True)
    mirror.mkdir(parents=True)
    write_mirror(mirror, parse_params(copy.deepcopy(raw)).active, raw["seed"])
    if segmenter is None:
        _save_sam(mirror / suite["segmenter"]["checkpoint"])
    else:
        del suite["sources"][suite["segmenter"]["checkpoint"]]
        suite["segmenter"] = {"name": segmenter.name, "checkpoint": str(segmenter.resolve())}
    suite["sources"] = {name: _source(mirror / name) for name in suite["sources"]}
    for family in chosen:
        folder = work / "models" / first[family]
        shutil.rmtree(folder, ignore_errors=True)
        BUILDERS[family](folder)
        raw["catalogue"][first[family]] |= {"model": str(folder), "revision": None}
    params = parse_params(copy.deepcopy(raw))
    write_text(work / "params.yaml", yaml.safe_dump(raw, sort_keys=False))
    link = work / "workflow"
    link.unlink(missing_ok=True)
    link.symlink_to(REPOSITORY / "workflow")
    return params


def _first_of_each_family(catalogue: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, entry in catalogue.items():
        if entry["suite"] == SUITE:
            found.setdefault(entry["family"], name)
    return found


def _with_data(benchmarks: list[str], datasets: dict[str, Any]) -> list[str]:
    """The benchmarks that the suite has data for: Visual-CoT's photographs are not in it (docs/data.md)."""
    readers = {dataset["reader"] for dataset in datasets.values()}
    return [name for name in benchmarks if benchmark(name).reader in readers]


def _save_sam(file: Path) -> None:
    """A random SAM in the published layout, of the smallest published size."""
    torch.manual_seed(0)
    torch.save(build_sam(VIT_B).state_dict(), file)


def _source(file: Path) -> dict[str, Any]:
    """A file as params.yaml names it, with everything that is checked."""
    return {
        "url": f"file://{file.resolve()}",
        "bytes": file.stat().st_size,
        "sha256": sha256_file(file),
        "md5": md5_file(file),
    }


def _set(section: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        section = section[key]
    if path[-1] not in section:
        raise InputError(f"rehearsal: params.yaml has no {'.'.join(path)}; mend rehearsal/project.py")
    section[path[-1]] = value
