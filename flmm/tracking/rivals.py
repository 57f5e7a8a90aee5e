"""A run of MLflow per fine-tuned LMM, with its masks' and answers' numbers, beside the runs of the backbones."""

from flmm.evaluation.records import read_records
from flmm.files import read_json
from flmm.params import Params
from flmm.pipeline import content, paths
from flmm.pipeline.keys import Keys
from flmm.pipeline.step import Step
from flmm.pipeline.steps import Graph
from flmm.tracking.contents import DIGEST, Content, Data
from flmm.tracking.names import metric_names

Tags = dict[str, str]


def runs(params: Params) -> list[tuple[str, str, Tags, Content]]:
    """Key, name, tags and content of each run; tag `rival` is the LMM's name, `frozen` its backbone's.

    Raises:
        InputError: a result file is missing or damaged.
    """
    keys = Keys(Graph(params))
    return [_run(keys, step) for step in keys.graph.rivals]


def _run(keys: Keys, step: Step) -> tuple[str, str, Tags, Content]:
    params, name = keys.params, step.item
    entry, folder = params.active.rivals[name], paths.rival(params, name)
    tags = {"suite": params.suite, "step": step.name, "rival": name, "frozen": entry.frozen}
    records = read_records(folder / "metrics.json")
    places = ["/".join((r.benchmark, r.split, r.protocol, r.metric)) for r in records]
    metrics = {
        f"{place}{suffix}": [(0, value)]
        for place, record in zip(metric_names(places), records, strict=True)
        for suffix, value in (("", record.value), ("/low", record.low), ("/high", record.high))
    }
    values = content.values(keys.graph, step, keys.hashes)
    parts = keys.graph.rival_parts(name)
    data = [
        Data(
            part,
            read_json(paths.counts(params, part))["sha256"][:DIGEST],
            str(paths.samples(params, part)),
            "evaluation",
        )
        for part in parts
    ]
    told = {key: str(value) for key, value in {**values, "folder": entry.folder}.items()}
    return f"{keys.known(step)}-rival-{name}", name, tags, Content(told, metrics, data, [folder])
