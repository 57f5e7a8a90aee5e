"""What each step's run holds, read from its result files: params, metrics, curves, datasets, artifacts."""

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flmm import keys
from flmm.evaluation.records import read_records
from flmm.files import read_json, sha256_file, sha256_of
from flmm.params import Params
from flmm.pipeline import paths

STEPS = ("prepare", "extract", "embed", "train", "evaluate")
DIGEST = 36  # characters that MLflow keeps of a dataset's digest
LONGEST = 200  # characters of a name; a store may take 250, and a name may get a suffix
NOT_ALLOWED = re.compile(r"[^A-Za-z0-9_./ :-]")  # in a metric's or param's name

Point = tuple[int, float]


@dataclass(frozen=True)
class Data:
    """A dataset that went into a run; ``context`` is what for."""

    name: str
    digest: str
    source: str
    context: str


@dataclass(frozen=True)
class Content:
    """Everything that one run shows. ``metrics``: points (step, value) by name; ``artifacts``: files and folders."""

    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, list[Point]] = field(default_factory=dict)
    data: list[Data] = field(default_factory=list)
    artifacts: list[Path] = field(default_factory=list)

    def digest(self) -> str:
        """Equal for equal content."""
        files = [(str(file), sha256_file(file)) for path in self.artifacts for file in _files(path)]
        data = [(entry.name, entry.digest, entry.context) for entry in self.data]
        return sha256_of([self.params, self.metrics, data, files])


def pipeline_key(params: Params, backbone: str) -> str:
    """Backbone, params, code and data of one configuration: the identity of its parent run.

    Raises:
        InputError: nothing was downloaded or prepared yet.
    """
    identity: dict[str, Any] = {
        "suite": params.suite,
        "backbone": backbone,
        "steps": {step: keys.step_key(params, step, backbone) for step in STEPS},
        "cache": [keys.extract_key(params, backbone), keys.embed_key(params)],
        "data": [(data.name, data.digest) for data in (*_sources(params), *_parts(params))],
    }
    return sha256_of(identity)[:16]


def parent(params: Params, backbone: str, reports: Path) -> Content:
    """The whole configuration with every metric, for comparing backbones."""
    values = {key: value for step in STEPS for key, value in _flat_params(params, step, backbone).items()}
    origin = _origin(read_json(paths.trained(params, backbone) / "summary.json"))
    return Content(
        params={"suite": params.suite, "backbone": backbone, **values, **origin},
        metrics=_scores(params, backbone),
        data=_sources(params),
        artifacts=[reports / "metrics.json", reports / "index.html"],
    )


def child(params: Params, backbone: str, step: str) -> Content:
    """One step's run.

    Raises:
        InputError: a result file is missing or damaged (names it).
    """
    made = {"prepare": _prepare, "extract": _extract, "embed": _embed, "train": _train, "evaluate": _evaluate}
    content = made[step](params, backbone)
    given = _flat_params(params, step, backbone) | content.params
    return Content(given, content.metrics, content.data, content.artifacts)


def _prepare(params: Params, backbone: str) -> Content:
    path = paths.samples(params, "any").with_name("summary.json")
    metrics = _numbers({"parts": read_json(path)["parts"], "overlap": read_json(path).get("overlap", {})})
    return Content(metrics=metrics, data=_sources(params) + _parts(params), artifacts=[path])


def _extract(params: Params, backbone: str) -> Content:
    path = paths.results(params, backbone, "extract") / "manifest.json"
    parts = read_json(path)["parts"]
    counts = {
        part: {name: entry[name] for name in ("rows", "answers", "channels")} for part, entry in parts.items()
    }
    return Content(metrics=_numbers(counts), data=_parts(params), artifacts=[path])


def _embed(params: Params, backbone: str) -> Content:
    path = Path("results") / params.suite / "embed" / "manifest.json"
    return Content(metrics=_numbers({"rows": read_json(path)["rows"]}), artifacts=[path])


def _train(params: Params, backbone: str) -> Content:
    folder = paths.trained(params, backbone)
    summary = read_json(folder / "summary.json")
    if "imported" in summary:  # a head from elsewhere: nothing was trained, and nothing took time
        files = [folder / name for name in ("head.safetensors", "summary.json")]
        return Content(params=_origin(summary), artifacts=files)
    metrics = _numbers(summary)
    metrics |= _numbers({"seconds": read_json(folder / "timing.json")["seconds"]})
    metrics |= curves((folder / "curves.jsonl").read_text(encoding="utf-8").splitlines())
    files = [folder / name for name in ("head.safetensors", "curves.jsonl", "summary.json", "timing.json")]
    data = [entry for entry in _parts(params) if entry.context == "training"]
    return Content(metrics=metrics, data=data, artifacts=files)


def _origin(summary: dict[str, Any]) -> dict[str, str]:
    """Where an imported head is from, as params of a run; empty for a trained one."""
    return {_name(f"imported.{name}"): str(value) for name, value in summary.get("imported", {}).items()}


def _evaluate(params: Params, backbone: str) -> Content:
    data = [entry for entry in _parts(params) if entry.context == "evaluation"]
    # What was predicted, what it was counted to, what was drawn, and on which attention heads the baseline works.
    folders = [paths.results(params, backbone, name) for name in ("select", "evaluate", "count", "overlays")]
    present = [folder for folder in folders if folder.exists()]
    return Content(metrics=_scores(params, backbone), data=data, artifacts=present)


def curves(lines: list[str]) -> dict[str, list[Point]]:
    """The points of every curve of ``curves.jsonl``."""
    points: dict[str, list[Point]] = {}
    for line in lines:
        for name, value in step_metrics(json.loads(line)).items():
            points.setdefault(name, []).append((int(json.loads(line)["step"]), value))
    return points


def step_metrics(record: dict[str, Any]) -> dict[str, float]:
    """One training step's metrics."""
    return {name: float(value) for name, value in record.items() if name != "step"}


def _scores(params: Params, backbone: str) -> dict[str, list[Point]]:
    records = read_records(paths.metrics(params, backbone))
    places = ["/".join((r.benchmark, r.split, r.protocol, r.head, r.metric)) for r in records]
    return {name: [(0, record.value)] for name, record in zip(metric_names(places), records, strict=True)}


def _sources(params: Params) -> list[Data]:
    folder = Path("results") / params.suite / "download"
    records = {name: read_json(folder / f"{name}.json") for name in params.active.sources}
    return [
        Data(name, record["sha256"][:DIGEST], record["url"], "source") for name, record in records.items()
    ]


def _parts(params: Params) -> list[Data]:
    parts = read_json(paths.samples(params, "any").with_name("summary.json"))["parts"]
    return [
        Data(name, entry["sha256"][:DIGEST], str(paths.samples(params, name)), context_of(name))
        for name, entry in sorted(parts.items())
    ]


def context_of(part: str) -> str:
    """What a part is for: ``training`` or ``evaluation``."""
    return "training" if part.endswith("-train") else "evaluation"


def _flat_params(params: Params, step: str, backbone: str) -> dict[str, str]:
    return {_name(name): str(value) for name, value in _flat(keys.step_params(params, step, backbone))}


def _numbers(values: dict[str, Any]) -> dict[str, list[Point]]:
    return {
        _name(name): [(0, float(value))]
        for name, value in _flat(values, "/")
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _flat(values: dict[str, Any], separator: str = ".") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, dict):
            found += [(f"{name}{separator}{below}", deep) for below, deep in _flat(value, separator)]
        else:
            found.append((str(name), value))
    return found


def metric_names(places: list[str]) -> list[str]:
    """Names that MLflow takes, in the same order; different places keep different names.

    A category's name may hold anything: signs that MLflow refuses, slashes, or nothing at all.
    """
    safe = [_name(place) for place in places]
    shared = {name for name, count in Counter(safe).items() if count > 1}
    return [
        f"{name}-{sha256_of(place)[:8]}" if name in shared and name != place else name
        for name, place in zip(safe, places, strict=True)
    ]


def _name(name: str) -> str:
    """A name that MLflow takes: a relative path whose every part says something, not too long."""
    parts = [NOT_ALLOWED.sub("_", part).strip() for part in name.split("/")]
    whole = "/".join(f"_{part}" if part.startswith("..") or not part.strip(".") else part for part in parts)
    return whole if len(whole) <= LONGEST else f"{whole[: LONGEST - 9].rstrip('/. ')}-{sha256_of(name)[:8]}"


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
