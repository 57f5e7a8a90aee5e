"""Facts beside the numbers: where they come from (commit, params, data) and what was checked on the way."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flmm import paths
from flmm.files import read_json, sha256_of
from flmm.git import checked_out
from flmm.params import Params
from flmm.report import labels


@dataclass(frozen=True)
class Provenance:
    """What a reader needs to know to make the same page again."""

    suite: str
    commit: str
    params_hash: str
    backbones: tuple[str, ...]
    segmenter: str
    seed: int
    excludes_evaluation_images: bool


def provenance(params: Params, project: Path = Path()) -> Provenance:
    """The facts of the page's head; the hash covers every value of params.yaml that the run used."""
    return Provenance(
        suite=params.suite,
        commit=_commit_words(project),
        params_hash=sha256_of(params.model_dump(mode="json"))[:12],
        backbones=tuple(params.backbones),
        segmenter=params.active.segmenter.name,
        seed=params.seed,
        excludes_evaluation_images=params.prepare.exclude_evaluation_images,
    )


def _commit_words(project: Path) -> str:
    """The commit's first 12 digits, plus ``(modified)`` when tracked files differ; or ``no git commit``."""
    commit = checked_out(project)
    if commit is None:
        return "no git commit"
    return f"{commit.digits[:12]}{' (modified)' if commit.modified else ''}"


@dataclass(frozen=True)
class Check:
    """A claim that every run checks; ``holds`` is None where its result is missing."""

    claim: str
    found: str
    holds: bool | None


def checks(params: Params, results: Path) -> list[Check]:
    """Per backbone: the answers with and without the head are the same tokens, and no weight changed."""
    found = []
    for backbone in params.backbones:
        for benchmark in paths.benchmarks(params):
            if benchmark in labels.ANSWER_BENCHMARKS:
                path = results / params.suite / backbone / "evaluate" / benchmark / "facts.json"
                found += _answer_checks(backbone, benchmark, path)
    return found


def _answer_checks(backbone: str, benchmark: str, path: Path) -> list[Check]:
    name = labels.benchmark_label(benchmark)
    same = f"{backbone}: {name} answers with the head attached equal the plain LMM’s, token for token"
    frozen = f"{backbone}: the LMM’s weights have the same hash before and after {name}"
    if not path.exists():
        return [Check(same, f"missing: {path}", None), Check(frozen, f"missing: {path}", None)]
    facts = read_json(path)
    equal, total = int(facts["answers_equal"]), int(facts["answers"])
    spoken = f"{equal} of {total} answers; the attached head made {int(facts['masks']):,} masks meanwhile"
    before, after = str(facts["weights_hash_before"]), str(facts["weights_hash_after"])
    unchanged = before == after
    hashes = f"sha256 {before[:12]}…" if unchanged else f"sha256 {before[:12]}… became {after[:12]}…"
    return [
        Check(same, spoken, equal == total),
        Check(frozen, hashes, unchanged),
    ]


@dataclass(frozen=True)
class Training:
    """What learned and from how much; ``parts`` are the trainable parameters of each part of the head."""

    backbone: str
    parameters: int
    parts: str
    answers: int
    phrases: int
    epochs: int
    steps: int


def trainings(params: Params, results: Path) -> list[Training]:
    """``train``'s summary of every backbone that has been trained."""
    found = []
    for backbone in params.backbones:
        path = results / params.suite / backbone / "train" / "summary.json"
        if path.exists():
            summary = read_json(path)
            parts = summary["trainable_parameters_by_part"]
            found.append(
                Training(
                    backbone, int(summary["trainable_parameters"]),
                    ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in parts.items()),
                    *(int(summary[name]) for name in ("answers", "phrases", "epochs", "steps")),
                )
            )  # fmt: skip
    return found


@dataclass(frozen=True)
class Part:
    """What `prepare` made of one part; ``skipped`` is already in words."""

    name: str
    images: int | None
    samples: int | None
    targets: int | None
    skipped: str
    digest: str


@dataclass(frozen=True)
class Overlap:
    """Evaluation photographs in a training part, its samples on them, and how many of those were left out."""

    part: str
    evaluation_images: int
    samples: int
    excluded_samples: int


@dataclass(frozen=True)
class Data:
    """``summary.json`` of `prepare`, or its absence."""

    parts: tuple[Part, ...]
    overlaps: tuple[Overlap, ...]
    missing: str = ""


def data(samples: Path) -> Data:
    """Sizes, skipped entries, digests and leakage counts from ``<samples>/summary.json``."""
    path = samples / "summary.json"
    if not path.exists():
        return Data((), (), missing=str(path))
    summary = read_json(path)
    return Data(
        tuple(_part(name, entry) for name, entry in sorted(summary["parts"].items())),
        tuple(Overlap(part=name, **entry) for name, entry in sorted(summary["overlap"].items())),
    )


def _part(name: str, entry: Mapping[str, Any]) -> Part:
    skipped = entry.get("skipped", {})
    words = "; ".join(f"{reason} ({count:,})" for reason, count in sorted(skipped.items())) or "none"
    return Part(
        name, entry.get("images"), entry.get("samples", entry.get("questions")), entry.get("targets"), words,
        str(entry["sha256"])[:12],
    )  # fmt: skip
