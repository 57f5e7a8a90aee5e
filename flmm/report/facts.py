"""Facts beside the numbers: where they come from (commit, params, data) and what was checked on the way."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flmm.benchmarks import benchmark as benchmark_named
from flmm.errors import InputError
from flmm.files import read_json, sha256_of
from flmm.git import checked_out
from flmm.heads import names
from flmm.params import Params
from flmm.pipeline import paths
from flmm.pipeline.steps import Graph


@dataclass(frozen=True)
class Provenance:
    """What a reader needs to know to make the same page again."""

    suite: str
    commit: str
    params_hash: str
    backbones: tuple[str, ...]
    segmenter: str
    seed: int
    made: str
    trained: tuple[str, ...]
    excludes_evaluation_images: bool


def provenance(params: Params, project: Path = Path()) -> Provenance:
    """The facts of the page's head; the hash covers every value of params.yaml that the run used.

    ``made``: the day. ``trained``: per backbone how long its head was trained, and on what.
    """
    return Provenance(
        suite=params.suite,
        commit=_commit_words(project),
        params_hash=sha256_of(params.model_dump(mode="json"))[:12],
        backbones=tuple(params.backbones),
        segmenter=params.active.segmenter.name,
        seed=params.seed,
        made=datetime.now(UTC).date().isoformat(),
        trained=_times(params),
        excludes_evaluation_images=params.prepare.exclude_evaluation_images,
    )


def _times(params: Params) -> tuple[str, ...]:
    """``name: 3 min on …`` of every head that was trained here; resumed ones tell their last part only."""
    found = []
    for backbone in params.backbones:
        path = paths.trained(params, backbone) / "timing.json"
        if path.exists() and (timing := read_json(path)).get("hardware"):
            minutes, seconds = divmod(round(float(timing["seconds"])), 60)
            resumed = " since its last interruption" if timing.get("resumed_after_step") else ""
            threads = f", {timing['threads']} threads" if timing.get("device") == "cpu" else ""
            found.append(
                f"{backbone}: {minutes} min {seconds:02d} s{resumed} on {timing['hardware']}{threads}"
            )
    return tuple(found)


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


def checks(params: Params) -> list[Check]:
    """Per backbone: the answers with and without the head are the same tokens, and no weight changed."""
    found = []
    for backbone in params.backbones:
        for benchmark in params.evaluate.benchmarks:
            chosen = benchmark_named(benchmark)
            if chosen.words == "asked":
                path = paths.evaluated(params, backbone, benchmark) / "facts.json"
                found += _answer_checks(backbone, chosen.title, path)
    return found


def _answer_checks(backbone: str, name: str, path: Path) -> list[Check]:
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


def trainings(params: Params) -> list[Training]:
    """``train``'s summary of every backbone that has been trained."""
    found = []
    for backbone, summary in _summaries(params):
        if "imported" in summary:
            continue
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
class Import:
    """A head that was not trained here: the file or address that it is from, and its SHA-256."""

    backbone: str
    file: str
    sha256: str


def imports(params: Params) -> list[Import]:
    """Where the head of every backbone is from that was not trained here.

    Raises:
        InputError: a summary says that its head was imported, but not from where.
    """
    found = []
    for backbone, summary in _summaries(params):
        if "imported" in summary:
            source = summary["imported"]
            try:
                found.append(Import(backbone, str(source["file"]), str(source["sha256"])))
            except (KeyError, TypeError) as error:
                path = paths.trained(params, backbone) / "summary.json"
                raise InputError(f"{path}: imported: no file and sha256; import the head again") from error
    return found


def _summaries(params: Params) -> list[tuple[str, dict[str, Any]]]:
    files = [(name, paths.trained(params, name) / "summary.json") for name in params.backbones]
    return [(backbone, read_json(path)) for backbone, path in files if path.exists()]


def left_out(params: Params) -> list[str]:
    """A sentence for every head that was not evaluated, with its backbones and the reason."""
    found: dict[str, list[str]] = {}
    for backbone in params.backbones:
        for benchmark in params.evaluate.benchmarks:
            path = paths.evaluated(params, backbone, benchmark) / "facts.json"
            for head, why in (read_json(path).get("left_out", {}) if path.exists() else {}).items():
                name = names.labels().get(head, head)
                where = found.setdefault(f"{name}: left out, because {why}", [])
                where += [backbone] if backbone not in where else []
    return [f"{sentence} ({', '.join(where)})." for sentence, where in found.items()]


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
    """What `prepare` counted of every part, and the files that are not there."""

    parts: tuple[Part, ...]
    overlaps: tuple[Overlap, ...]
    missing: tuple[str, ...] = ()


def data(params: Params) -> Data:
    """Sizes, skipped entries, digests and leakage counts of every part."""
    files = {part: paths.counts(params, part) for part in sorted(Graph(params).parts)}
    found = {part: read_json(path) for part, path in files.items() if path.exists()}
    return Data(
        tuple(_part(part, entry) for part, entry in found.items()),
        tuple(Overlap(part=part, **entry["overlap"]) for part, entry in found.items() if "overlap" in entry),
        tuple(str(path) for part, path in files.items() if part not in found),
    )


def _part(name: str, entry: Mapping[str, Any]) -> Part:
    skipped = entry.get("skipped", {})
    words = "; ".join(f"{reason} ({count:,})" for reason, count in sorted(skipped.items())) or "none"
    return Part(
        name, entry.get("images"), entry.get("samples", entry.get("questions")), entry.get("targets"), words,
        str(entry["sha256"])[:12],
    )  # fmt: skip
