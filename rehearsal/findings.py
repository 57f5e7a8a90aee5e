"""What a rehearsal has to have left behind."""

from __future__ import annotations

from pathlib import Path

from mlflow import MlflowClient

from flmm.files import read_json
from flmm.params import Params
from flmm.pipeline.steps import Graph

# Steps without a run of their own in MLflow: they are told with others, or are about MLflow themselves.
_UNTOLD = {"download", "digest", "select", "count", "overlays", "report", "track"}


def findings(work: Path, params: Params) -> list[str]:
    """What is missing of report, headlines and MLflow's runs, a sentence each."""
    graph, missing = Graph(params), []
    headlines = read_json(work / "reports" / "headline.json")
    for backbone in params.backbones:
        for name in params.evaluate.benchmarks:
            for dataset, split in map(graph.place, graph.parts_of(name)):
                if split not in headlines.get(backbone, {}).get(dataset, {}):
                    missing.append(f"reports/headline.json: {backbone} has no {dataset} {split}")
    page = (work / "reports" / "index.html").read_text(encoding="utf-8")
    missing += [f"reports/index.html: no word of {name}" for name in params.backbones if name not in page]
    told = _told(work)
    wanted = {(step.name, step.backbone) for step in graph.results if step.name not in _UNTOLD}
    missing += [
        f"MLflow: no current run of {name} {backbone}".strip() for name, backbone in sorted(wanted - told)
    ]
    return missing


def _told(work: Path) -> set[tuple[str, str]]:
    """Step and backbone of every run in the project's own MLflow that is of the present results."""
    client = MlflowClient(f"sqlite:///{work / 'mlflow.db'}")
    runs = client.search_runs(
        [experiment.experiment_id for experiment in client.search_experiments()],
        "tags.current = 'true'",
        max_results=5000,
    )
    return {(run.data.tags.get("step", ""), run.data.tags.get("backbone", "")) for run in runs}
