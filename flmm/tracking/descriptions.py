"""What MLflow shows above the experiment and above each run: Markdown, with the numbers and links to the rest."""

from collections.abc import Mapping, Sequence

from flmm.evaluation.records import Record, read_records
from flmm.params import Params
from flmm.pipeline import paths
from flmm.report.headline import mains, to_percent
from flmm.report.labels import benchmark_label

TAG = "mlflow.note.content"  # where MLflow keeps a description
EXPERIMENT = """One run per backbone, with a run of each step below it; `prepare` and `embed`, which all of them
share, have one of their own. `headline/…` are the numbers to compare, in
percent; every metric, with its interval, is on the run `evaluate`. A run of earlier parameters stays; its name ends
with *(earlier)* and its tag `current` is `false`. LMMs that were fine-tuned for masks have a run each, with the tag
`rival`; `frozen` says which backbone they are compared with.

To compare backbones: search `tags.step = 'pipeline' and tags.current = 'true'`, tick the runs, *Compare*. The report
page, its tables and the overlays are among each run's artifacts; its head is the registered model of the same name.
"""
# What a step's run shows; by its name.
STEPS = {
    "prepare": "The samples of every part: how many, and what was left out.",
    "extract": "What the frozen LMM looked at: how many phrases of each part are in the cache of attention.",
    "embed": "The segmenter's image embeddings: pictures of each archive. They are the same for all backbones.",
    "train": "The head: its curves step by step, its file, and the registered model [{backbone}](#/models/{backbone}).",
    "repeat": "The head once more with other seeds: mean and standard deviation of the headlines, and the heads.",
    "keywords": "Which words of an answer are grounded: precision, recall and F1 of each way to choose them.",
    "evaluate": (
        "Every metric as `<data set>/<split>/<protocol>/<head>/<metric>`, with its 95 % interval over images as "
        "`…/low` and `…/high`. Masks are in percent, answers are fractions. Predictions and overlays are artifacts."
    ),
}


def of_step(step: str, backbone: str) -> str:
    """A child run's description."""
    return STEPS[step].format(backbone=backbone)


def of_parent(params: Params, backbone: str) -> str:
    """A backbone's description: what it is, its headlines with their intervals, and where the rest is.

    Raises:
        InputError: the records are missing or damaged.
    """
    entry = params.catalogue[backbone]
    rows = [
        [_result(record), _value(record), _interval(record), str(record.n)]
        for record in mains(read_records(paths.metrics(params, backbone)))
    ]
    return (
        f"A mask head on the frozen `{entry.model}` (family `{entry.family}`), suite `{params.suite}`.\n\n"
        f"{_table(['result', 'percent', '95 % interval', 'n'], rows)}\n"
        "Every metric is on the run `evaluate` below this one; the report page is the artifact `index.html`. "
        f"The head is the registered model [{backbone}](#/models/{backbone}).\n"
    )


def of_experiment(params: Params, experiment: str, runs: Mapping[str, Mapping[str, str]]) -> str:
    """The experiment's description: how to read it, and the headlines of the backbones that were tracked last.

    ``experiment``: its id. ``runs``: by backbone, the id of its run ``pipeline``.

    Raises:
        InputError: the records of a backbone are missing or damaged.
    """
    values: dict[str, dict[str, str]] = {}
    for backbone in runs:
        for record in mains(read_records(paths.metrics(params, backbone))):
            values.setdefault(_result(record), {})[backbone] = _value(record)
    links = [
        f"[{backbone}](#/experiments/{experiment}/runs/{ids['pipeline']})" for backbone, ids in runs.items()
    ]
    rows = [[result, *(found.get(backbone, "") for backbone in runs)] for result, found in values.items()]
    return f"{EXPERIMENT}\nSuite `{params.suite}`, percent:\n\n{_table(['result', *links], rows)}"


def _result(record: Record) -> str:
    return f"{benchmark_label(record.benchmark)} {record.split} {record.metric}"


def _value(record: Record) -> str:
    return f"{to_percent(record) * record.value:.1f}"


def _interval(record: Record) -> str:
    low, high = (to_percent(record) * bound for bound in (record.low, record.high))
    return f"{low:.1f} to {high:.1f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    rule = [":---", *["---:"] * (len(header) - 1)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (header, rule, *rows))
