"""Several heads of one backbone that differ in their seed alone: mean and spread of what they reach."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

from flmm.evaluation.records import Record, read_records
from flmm.heads import names
from flmm.params import Params
from flmm.pipeline import paths
from flmm.pipeline.steps import Graph
from flmm.report import labels
from flmm.report.tabulate import MISSING, Cell, Row, Table

_HEADS = (names.TRAINED, names.REFINED)


@dataclass(frozen=True)
class Spread:
    """One number of every head: ``values`` in percent, by seed."""

    dataset: str
    split: str
    head: str
    values: Mapping[int, float]

    @property
    def mean(self) -> float:
        """Of all heads."""
        return fmean(self.values.values())

    @property
    def deviation(self) -> float:
        """The sample standard deviation; 0 of a single head."""
        return stdev(self.values.values()) if len(self.values) > 1 else 0.0


def gather(params: Params) -> tuple[dict[str, list[Spread]], list[Path]]:
    """By backbone that several heads are asked for: what those that are counted reach; and files that are not there.

    Raises:
        InputError: a file is there but is not what its step writes.
    """
    graph = Graph(params)
    found: dict[str, list[Spread]] = {}
    missing: list[Path] = []
    for backbone in params.backbones:
        steps = graph.repeats(backbone)
        if not steps:
            continue
        files = {params.train.seeds[0]: paths.metrics(params, backbone)}
        files |= {
            int(step.item): paths.repeated(params, backbone, step.item) / "metrics.json" for step in steps
        }
        missing += [
            path for path in list(files.values())[1:] if not path.exists()
        ]  # the first's is told elsewhere
        heads = {seed: read_records(path) for seed, path in files.items() if path.exists()}
        found[backbone] = spreads(heads)
    return found, missing


def spreads(heads: Mapping[int, Sequence[Record]]) -> list[Spread]:
    """What each data set's headline is of every head, coarse and refined, where every head has been counted on it.

    ``heads``: records by seed.
    """
    values: dict[tuple[str, str, str], dict[int, float]] = {}
    for seed, records in heads.items():
        for record in records:
            headline = labels.benchmark_of(record.benchmark).headline
            if (record.metric, record.protocol) == (
                headline.metric,
                headline.protocol,
            ) and record.head in _HEADS:
                values.setdefault((record.benchmark, record.split, record.head), {})[seed] = record.value
    return [Spread(*place, found) for place, found in values.items() if len(found) == len(heads)]


def seeds(params: Params, found: Mapping[str, Sequence[Spread]]) -> Table | None:
    """Per backbone a row of coarse and one of refined masks; None where every backbone has one head."""
    some = [each for spread in found.values() for each in spread]
    if not some:
        return None
    places = sorted(
        {(each.dataset, each.split) for each in some},
        key=lambda place: (labels.dataset_rank(place[0]), labels.split_rank(*place)),
    )
    groups = [
        tuple(
            Row((backbone, labels.head_label(head)), tuple(_cell(spread, head, place) for place in places))
            for head in _HEADS
        )
        for backbone, spread in found.items()
    ]
    headings = tuple(
        f"{labels.benchmark_label(dataset)} {split} {labels.metric_label(labels.main_metric(dataset), dataset)}"
        for dataset, split in places
    )
    note = (
        f"Mean and standard deviation of {len(params.train.seeds)} heads that differ in their seed alone "
        f"({', '.join(map(str, params.train.seeds))}): initial weights and order of images. All other tables are of "
        "the first one; their intervals are over images, these are over trainings."
    )
    return Table("Several heads", note, ("Backbone", "Head"), headings, tuple(groups))


def _cell(spread: Sequence[Spread], head: str, place: tuple[str, str]) -> Cell:
    for each in spread:
        if (each.head, each.dataset, each.split) == (head, *place):
            return Cell(f"{each.mean:.1f} ± {each.deviation:.1f}")
    return Cell(MISSING, "missing")
