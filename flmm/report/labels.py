"""Words for people, and what stands where in tables: all of it read off the benchmarks and the heads.

A record's ``benchmark`` is a data set, such as refcoco+; its benchmark (``flmm.benchmarks``) is RES. A data set that no
benchmark knows is shown under its own name, and read like the first benchmark's.
"""

from collections.abc import Iterable

from flmm.benchmarks import Benchmark, Metric, benchmarks, of_dataset
from flmm.evaluation.records import Record
from flmm.heads import names

# For rows of questions without masks: a head makes none there, it is only attached while the LMM speaks.
ANSWERING_HEADS = {names.PLAIN: "plain LMM", names.ATTACHED: "with the head attached"}


def benchmark_of(dataset: str) -> Benchmark:
    """The benchmark that a data set's records are read as."""
    return of_dataset(dataset) or benchmarks()[0]


def is_asked(dataset: str) -> bool:
    """Whether its records are about answers and not about masks."""
    return benchmark_of(dataset).words == "asked"


def main_metric(dataset: str) -> str:
    """The metric that stands for a data set in comparisons."""
    return benchmark_of(dataset).headline.metric


def mains(records: Iterable[Record], *, asked: bool) -> list[Record]:
    """The records of the main metric, of answers or of masks, without those of a chain of thought."""
    return [
        r for r in records
        if r.metric == main_metric(r.benchmark) and is_asked(r.benchmark) == asked and not is_way(r)
    ]  # fmt: skip


def is_way(record: Record) -> bool:
    """Whether a record is of a chain of thought, which has tables of its own."""
    return record.protocol in {way.name for way in benchmark_of(record.benchmark).ways}


def benchmark_label(dataset: str) -> str:
    """``refcoco+`` as RefCOCO+; a name that no benchmark lists as it is."""
    return benchmark_of(dataset).datasets.get(dataset, dataset)


def head_label(head: str, dataset: str = "") -> str:
    """A head in words; what it is called depends on whether the data set is about masks or answers."""
    known = ANSWERING_HEADS if dataset and is_asked(dataset) else names.labels()
    return known.get(head, head)


def short_head_label(head: str, asked: bool) -> str:
    """A head in few letters, for a terminal; with answers a head is only attached."""
    return "head attached" if asked and head != names.PLAIN else names.short_labels().get(head, head)


def metric_label(metric: str, dataset: str) -> str:
    """A metric's column heading."""
    found = _metric(metric, dataset)
    return found.label if found and found.label else metric


def format_value(value: float, metric: str, dataset: str) -> str:
    """Percent with one decimal, fractions with three, as recorded: no unit is changed."""
    found = _metric(metric, dataset)
    return f"{value:.1f}" if found is not None and found.unit == "percent" else f"{value:.3f}"


def _metric(metric: str, dataset: str) -> Metric | None:
    """``metric`` may be of a category: ``<name>/<category>``."""
    name = metric.split("/", 1)[0]
    return next((each for each in benchmark_of(dataset).metrics if each.name == name), None)


Rank = tuple[int, str]  # a sort key: known names in their order, unknown ones after them by name


def rank(order: Iterable[str], name: str) -> Rank:
    """Where ``name`` stands in ``order``."""
    known = list(order)
    return (known.index(name) if name in known else len(known), name)


def dataset_rank(dataset: str) -> Rank:
    """Where a data set stands."""
    return rank((name for each in benchmarks() for name in each.datasets), dataset)


def split_rank(dataset: str, split: str) -> Rank:
    """Where a split stands among those of its data set."""
    return rank(benchmark_of(dataset).splits, split)


def protocol_rank(protocol: str) -> Rank:
    """Where a protocol stands."""
    known = [name for each in benchmarks() for name in each.protocols]
    known += [way.name for each in benchmarks() for way in each.ways]
    return rank(dict.fromkeys(known), protocol)


def metric_rank(dataset: str, metric: str) -> Rank:
    """Where a metric stands among those of its data set."""
    return rank((each.name for each in benchmark_of(dataset).metrics), metric)


def head_rank(head: str) -> Rank:
    """Where a head stands."""
    return rank(names.labels(), head)


def places(records: Iterable[Record]) -> list[tuple[str, str]]:
    """The (data set, split) pairs that occur, in reading order."""
    found = {(r.benchmark, r.split) for r in records}
    return sorted(found, key=lambda place: (dataset_rank(place[0]), split_rank(*place)))


def protocols(records: Iterable[Record]) -> list[str]:
    """The protocols that occur, in reading order."""
    return sorted({r.protocol for r in records}, key=protocol_rank)


def headlines(records: Iterable[Record]) -> list[str]:
    """Per benchmark with masks that occurs, its name and its main metric."""
    datasets = sorted({r.benchmark for r in records if not is_asked(r.benchmark)}, key=dataset_rank)
    found = {each.title: each.headline.metric for each in map(benchmark_of, datasets)}
    return [f"{title} by {metric}" for title, metric in found.items()]
