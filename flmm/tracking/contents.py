"""What each step's run holds, read from its result files: params, metrics, curves, datasets, artifacts."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flmm import keys, paths
from flmm.files import read_json, sha256_file, sha256_of
from flmm.params import Params

STEPS = ("prepare", "extract", "embed", "train", "evaluate")
DIGEST = 36  # characters that MLflow keeps of a dataset's digest
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
    return Content(
        params={"suite": params.suite, "backbone": backbone, **values},
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
    return Content(_flat_params(params, step, backbone), content.metrics, content.data, content.artifacts)


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
    return Content(metrics=_numbers({"rows": read_json(path)["images"]}), artifacts=[path])


def _train(params: Params, backbone: str) -> Content:
    folder = paths.results(params, backbone, "train")
    metrics = _numbers(read_json(folder / "summary.json"))
    metrics |= _numbers({"seconds": read_json(folder / "timing.json")["seconds"]})
    metrics |= curves((folder / "curves.jsonl").read_text(encoding="utf-8").splitlines())
    files = [folder / name for name in ("head.safetensors", "curves.jsonl", "summary.json", "timing.json")]
    data = [entry for entry in _parts(params) if entry.context == "training"]
    return Content(metrics=metrics, data=data, artifacts=files)


def _evaluate(params: Params, backbone: str) -> Content:
    folder = paths.results(params, backbone, "evaluate")
    data = [entry for entry in _parts(params) if entry.context == "evaluation"]
    return Content(metrics=_scores(params, backbone), data=data, artifacts=[folder])


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
    records = read_json(paths.results(params, backbone, "evaluate") / "metrics.json")
    fields = ("benchmark", "split", "protocol", "head", "metric")
    return {
        _name("/".join(record[field] for field in fields)): [(0, float(record["value"]))]
        for record in records
    }


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


def _name(name: str) -> str:
    return NOT_ALLOWED.sub("_", name)


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
