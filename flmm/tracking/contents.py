"""What each step's run holds, read from its result files: params, metrics, curves, datasets, artifacts."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flmm.files import read_json, sha256_file, sha256_of
from flmm.pipeline import paths
from flmm.report import seeds
from flmm.tracking.descriptions import of_parent, of_step
from flmm.tracking.durations import jobs, seconds, system
from flmm.tracking.metrics import bounds, curves, headlines, scores
from flmm.tracking.names import Point, numbers, safe
from flmm.tracking.results import RUNS, Results

DIGEST = 36  # characters that MLflow keeps of a dataset's digest


@dataclass(frozen=True)
class Data:
    """A dataset that went into a run; ``context`` is what for."""

    name: str
    digest: str
    source: str
    context: str


@dataclass(frozen=True)
class Content:
    """Everything that one run shows. ``metrics``: points (step, value) by name; ``artifacts``: files and folders;

    ``seconds``: how long the step took, None where nothing has recorded it; ``system``: what else it took, as metrics;
    ``note``: the run's description, Markdown.
    """

    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, list[Point]] = field(default_factory=dict)
    data: list[Data] = field(default_factory=list)
    artifacts: list[Path] = field(default_factory=list)
    seconds: float | None = None
    system: dict[str, float] = field(default_factory=dict)
    note: str = ""

    def digest(self) -> str:
        """Equal for equal content; what the steps took is none of it."""
        files = [(str(file), sha256_file(file)) for path in self.artifacts for file in _files(path)]
        data = [(entry.name, entry.digest, entry.context) for entry in self.data]
        return sha256_of([self.params, self.metrics, data, files, self.note])


def parent(results: Results, reports: Path) -> Content:
    """The whole configuration with the headlines, for comparing backbones; every metric is on ``evaluate``."""
    params, backbone = results.params, results.backbone
    entry = params.catalogue[backbone]
    values = {name: value for run in RUNS for name, value in results.values(run).items()}
    origin = _origin(read_json(paths.trained(params, backbone) / "summary.json"))
    return Content(
        params={**values, "suite": params.suite, "backbone": backbone, "model": entry.model, **origin},
        metrics=headlines(params, backbone),
        data=_sources(results),
        artifacts=[
            path
            for path in (
                *(reports / name for name in ("metrics.json", "index.html", "tables")),
                paths.results(params, backbone, "overlays"),
            )
            if path.exists()
        ],
        note=of_parent(params, backbone),
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
        "repeat": _repeat,
        "keywords": _keywords,
        "evaluate": _evaluate,
    }
    shown = made[run](results)
    measured = jobs(results, run)
    took = seconds(measured) if shown.seconds is None else shown.seconds
    values = results.values(run) | shown.params
    note = of_step(run, results.backbone)
    return replace(shown, params=values, seconds=took, system=system(measured), note=note)


def _prepare(results: Results) -> Content:
    files = {part: paths.counts(results.params, part) for part in results.graph.parts}
    metrics = numbers({part: read_json(path) for part, path in files.items()})
    data = _sources(results) + _parts(results)
    return Content(metrics=metrics, data=data, artifacts=list(files.values()))


def _extract(results: Results) -> Content:
    parts = results.graph.extracted_parts(results.backbone)
    files = {part: paths.extract_pointer(results.params, results.backbone, part) for part in parts}
    counts = {
        part: {name: read_json(path)[name] for name in ("rows", "answers", "channels")}
        for part, path in files.items()
    }
    return Content(metrics=numbers(counts), data=_parts(results), artifacts=list(files.values()))


def _embed(results: Results) -> Content:
    files = {archive: paths.embed_pointer(results.params, archive) for archive in results.graph.archives}
    rows = {archive: {"rows": read_json(path)["rows"]} for archive, path in files.items()}
    return Content(metrics=numbers(rows), artifacts=list(files.values()))


def _train(results: Results) -> Content:
    folder = paths.trained(results.params, results.backbone)
    summary = read_json(folder / "summary.json")
    if "imported" in summary:  # a head from elsewhere: nothing was trained, and nothing took time
        files = [folder / name for name in ("head.safetensors", "summary.json")]
        return Content(params=_origin(summary), artifacts=files)
    metrics = numbers(summary)
    took = float(read_json(folder / "timing.json")["seconds"])
    metrics |= numbers({"seconds": took})
    metrics |= curves((folder / "curves.jsonl").read_text(encoding="utf-8").splitlines())
    files = [folder / name for name in ("head.safetensors", "curves.jsonl", "summary.json", "timing.json")]
    data = [entry for entry in _parts(results) if entry.context == "training"]
    return Content(metrics=metrics, data=data, artifacts=files, seconds=took)


def _origin(summary: dict[str, Any]) -> dict[str, str]:
    """Where an imported head is from, as params of a run; empty for a trained one."""
    return {safe(f"imported.{name}"): str(value) for name, value in summary.get("imported", {}).items()}


def _repeat(results: Results) -> Content:
    params, backbone = results.params, results.backbone
    found, _ = seeds.gather(params)
    metrics: dict[str, list[Point]] = {}
    for each in found[backbone]:
        place = "/".join((each.dataset, each.split, each.head))
        metrics |= numbers({f"{place}/mean": each.mean, f"{place}/deviation": each.deviation})
        metrics[safe(f"{place}/by seed")] = list(each.values.items())  # the seed stands where a step would
    data = [entry for entry in _parts(results) if entry.context == "training"]
    told = {"train.seeds": ", ".join(map(str, params.train.seeds))}
    return Content(told, metrics, data, [paths.results(params, backbone, "repeat")])


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
    return numbers({"keywords": read_json(file)["scores"]})


def _evaluate(results: Results) -> Content:
    params, backbone = results.params, results.backbone
    data = [entry for entry in _parts(results) if entry.context == "evaluation"]
    # What was predicted, what it was counted to, what was drawn, and on which attention heads the baseline works.
    folders = [paths.results(params, backbone, name) for name in ("select", "evaluate", "count", "overlays")]
    present = [folder for folder in folders if folder.exists()]
    found = scores(params, backbone)
    # A score wins where a category is called "low" or "high".
    metrics = bounds(params, backbone, list(found)) | found
    return Content(metrics=metrics, data=data, artifacts=present)


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


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
