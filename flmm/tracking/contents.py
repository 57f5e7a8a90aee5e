"""What each step's run holds, read from its result files: params, metrics, curves, datasets, artifacts."""

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from flmm.evaluation.records import read_records
from flmm.files import read_json, sha256_file, sha256_of
from flmm.params import Params
from flmm.pipeline import content, paths
from flmm.pipeline.keys import Keys
from flmm.pipeline.step import Step
from flmm.pipeline.steps import Graph
from flmm.report.headline import mains
from flmm.report.labels import benchmark_label

# A backbone's runs, and the steps whose results each shows.
RUNS = {
    "prepare": ("prepare",),
    "extract": ("pilot", "extract"),
    "embed": ("embed",),
    "train": ("train", "import"),
    "keywords": ("keywords",),
    "evaluate": ("select", "evaluate", "count", "overlays"),
}
# Values of one part or one benchmark, of which a run shows many.
OF_ONE_ITEM = {"dataset", "split", "refs", "benchmark", "prompt"}
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


class Results:
    """The results of one backbone, and the keys and values that they are of."""

    def __init__(self, params: Params, backbone: str) -> None:
        self.params, self.backbone = params, backbone
        self.keys = Keys(Graph(params))
        self.graph = self.keys.graph

    def steps(self, run: str) -> list[Step]:
        """The steps whose results a run shows."""
        return [
            step
            for step in self.graph.results
            if step.name in RUNS[run] and step.backbone in ("", self.backbone)
        ]

    def values(self, run: str) -> dict[str, str]:
        """The values that decide these results, by their paths in params.yaml, and not what is one item's own."""
        return {
            _name(name): str(value)
            for step in self.steps(run)
            for name, value in _flat(content.values(self.graph, step, self.keys.hashes))
            if name not in OF_ONE_ITEM
        }

    @cached_property
    def identity(self) -> str:
        """What tells a backbone's parent run from others: its head, and how it is evaluated, on whatever benchmarks.

        Raises:
            InputError: an upstream file is not here yet.
        """
        params = self.params
        made_of = {
            "suite": params.suite,
            "backbone": self.backbone,
            "head": self.keys.known(self.graph.head(self.backbone)),
            "evaluate": params.evaluate.model_dump(
                include={"protocols", "max_new_tokens", "description_tokens", "thoughts"}
            ),
            "select": params.select.model_dump(),
            "keywords": params.keywords.model_dump(),
        }
        return sha256_of(made_of)[:16]


def parent(results: Results, reports: Path) -> Content:
    """The whole configuration with the headlines, for comparing backbones; every metric is on ``evaluate``."""
    params, backbone = results.params, results.backbone
    entry = params.catalogue[backbone]
    values = {name: value for run in RUNS for name, value in results.values(run).items()}
    origin = _origin(read_json(paths.trained(params, backbone) / "summary.json"))
    return Content(
        params={**values, "suite": params.suite, "backbone": backbone, "model": entry.model, **origin},
        metrics=_headlines(params, backbone),
        data=_sources(results),
        artifacts=[
            path
            for path in (
                *(reports / name for name in ("metrics.json", "index.html", "tables")),
                paths.results(params, backbone, "overlays"),
            )
            if path.exists()
        ],
    )


def child(results: Results, run: str) -> Content:
    """The run of one step, or of the few that belong together.

    Raises:
        InputError: a result file is missing or damaged (names it).
    """
    made = {
        "prepare": _prepare,
        "extract": _extract,
        "embed": _embed,
        "train": _train,
        "keywords": _keywords,
        "evaluate": _evaluate,
    }
    shown = made[run](results)
    return Content(results.values(run) | shown.params, shown.metrics, shown.data, shown.artifacts)


def _prepare(results: Results) -> Content:
    files = {part: paths.counts(results.params, part) for part in results.graph.parts}
    metrics = _numbers({part: read_json(path) for part, path in files.items()})
    data = _sources(results) + _parts(results)
    return Content(metrics=metrics, data=data, artifacts=list(files.values()))


def _extract(results: Results) -> Content:
    parts = results.graph.extracted_parts(results.backbone)
    files = {part: paths.extract_pointer(results.params, results.backbone, part) for part in parts}
    counts = {
        part: {name: read_json(path)[name] for name in ("rows", "answers", "channels")}
        for part, path in files.items()
    }
    return Content(metrics=_numbers(counts), data=_parts(results), artifacts=list(files.values()))


def _embed(results: Results) -> Content:
    files = {archive: paths.embed_pointer(results.params, archive) for archive in results.graph.archives}
    rows = {archive: {"rows": read_json(path)["rows"]} for archive, path in files.items()}
    return Content(metrics=_numbers(rows), artifacts=list(files.values()))


def _train(results: Results) -> Content:
    folder = paths.trained(results.params, results.backbone)
    summary = read_json(folder / "summary.json")
    if "imported" in summary:  # a head from elsewhere: nothing was trained, and nothing took time
        files = [folder / name for name in ("head.safetensors", "summary.json")]
        return Content(params=_origin(summary), artifacts=files)
    metrics = _numbers(summary)
    metrics |= _numbers({"seconds": read_json(folder / "timing.json")["seconds"]})
    metrics |= curves((folder / "curves.jsonl").read_text(encoding="utf-8").splitlines())
    files = [folder / name for name in ("head.safetensors", "curves.jsonl", "summary.json", "timing.json")]
    data = [entry for entry in _parts(results) if entry.context == "training"]
    return Content(metrics=metrics, data=data, artifacts=files)


def _origin(summary: dict[str, Any]) -> dict[str, str]:
    """Where an imported head is from, as params of a run; empty for a trained one."""
    return {_name(f"imported.{name}"): str(value) for name, value in summary.get("imported", {}).items()}


def _keywords(results: Results) -> Content:
    read = {part for training in (True, False) for part in results.graph.narratives(training=training)}
    data = [entry for entry in _parts(results) if entry.name in read]
    folder = paths.keywords(results.params, results.backbone)
    return Content(metrics=_words(results), data=data, artifacts=[folder])


def _words(results: Results) -> dict[str, list[Point]]:
    """Precision, recall and F1 of each way to choose words; none where the params ask for no such step."""
    if not results.graph.keywords(results.backbone):
        return {}
    file = paths.keywords(results.params, results.backbone) / "scores.json"
    return _numbers({"keywords": read_json(file)["scores"]})


def _evaluate(results: Results) -> Content:
    params, backbone = results.params, results.backbone
    data = [entry for entry in _parts(results) if entry.context == "evaluation"]
    # What was predicted, what it was counted to, what was drawn, and on which attention heads the baseline works.
    folders = [paths.results(params, backbone, name) for name in ("select", "evaluate", "count", "overlays")]
    present = [folder for folder in folders if folder.exists()]
    scores = _scores(params, backbone)
    # A score wins where a category is called "low" or "high".
    metrics = _bounds(params, backbone, list(scores)) | scores
    return Content(metrics=metrics, data=data, artifacts=present)


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


def _bounds(params: Params, backbone: str, names: list[str]) -> dict[str, list[Point]]:
    """The interval of each score, beside it: ``<name>/low`` and ``<name>/high``."""
    records = read_records(paths.metrics(params, backbone))
    return {
        f"{name}/{bound}": [(0, value)]
        for name, record in zip(names, records, strict=True)
        for bound, value in (("low", record.low), ("high", record.high))
    }


def _headlines(params: Params, backbone: str) -> dict[str, list[Point]]:
    """About ten numbers, one per data set and split, named as on the report page."""
    found = mains(read_records(paths.metrics(params, backbone)))
    names = [
        f"headline/{benchmark_label(record.benchmark)} {record.split} {record.metric}" for record in found
    ]
    return {name: [(0, record.value)] for name, record in zip(metric_names(names), found, strict=True)}


def _sources(results: Results) -> list[Data]:
    found = []
    for source in results.graph.sources:
        record = read_json(paths.digest(results.params, source))
        url = results.params.sources[source].url
        found.append(Data(source, record["sha256"][:DIGEST], url or "by hand", "source"))
    return found


def _parts(results: Results) -> list[Data]:
    return [
        Data(
            part,
            read_json(paths.counts(results.params, part))["sha256"][:DIGEST],
            str(paths.samples(results.params, part)),
            "training" if part in results.graph.training_parts else "evaluation",
        )
        for part in sorted(results.graph.parts)
    ]


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
