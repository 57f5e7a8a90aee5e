"""The page: everything the report shows, rendered into one HTML file that loads nothing from anywhere."""

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from flmm import __version__
from flmm.benchmarks import benchmarks
from flmm.evaluation.records import Record
from flmm.params import Params
from flmm.pipeline import paths
from flmm.report import charts, facts, labels, published, tabulate
from flmm.report.export import FOLDER
from flmm.report.gallery import KINDS, conversations, gallery
from flmm.report.headline import mains
from flmm.report.keywords import Words, keywords
from flmm.report.overview import overview
from flmm.report.previous import Run, changes, previous
from flmm.report.rivals import rivals
from flmm.report.seeds import Spread, seeds
from flmm.report.tabulate import Table
from flmm.report.ways import way_tables

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Tables:
    """The tables of results, in the page's order."""

    overview: Table | None
    previous: Table | None
    masks: list[Table]
    answers: Table | None
    ways: list[Table]
    rivals: Table | None
    words: Words | None
    seeds: Table | None
    full: list[Table]

    @property
    def all(self) -> list[Table]:
        """All of them, in the page's order."""
        words = self.words.table if self.words else None
        found = (
            self.overview,
            self.previous,
            *self.masks,
            self.answers,
            *self.ways,
            self.rivals,
            words,
            self.seeds,
            *self.full,
        )
        return [each for each in found if each is not None]


def tables(
    params: Params,
    records: list[Record],
    fine_tuned: dict[str, list[Record]],
    heads: dict[str, list[Spread]],
    before: Run | None,
) -> Tables:
    """The tables of results of the params' backbones, of the ``fine_tuned`` LMMs by name, of several ``heads``.

    ``before``: the previous run, where there was one.
    """
    masks = [
        tabulate.comparison(records, name, params.backbones, params.suite)
        for name in labels.protocols(records)
    ]
    return Tables(
        overview(records, params.backbones),
        previous(before, mains(records), params.backbones),
        [table for table in masks if table is not None],
        tabulate.answers(records, params.backbones),
        way_tables(params, records),
        rivals(params, records, fine_tuned),
        keywords(params),
        seeds(params, heads),
        tabulate.full(record for record in records if not labels.is_way(record)),
    )


def render(params: Params, records: list[Record], missing: list[Path], results: Tables) -> str:
    """The HTML text. Every text from data (phrases, names, reasons) is escaped by the template engine."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    trainings, imports = facts.trainings(params), facts.imports(params)
    curve_paths = {
        backbone: paths.trained(params, backbone) / "curves.jsonl"
        for backbone in params.backbones
        if backbone not in {each.backbone for each in imports}  # an imported head has none
    }
    curves = {backbone: charts.read_curves(path) for backbone, path in curve_paths.items() if path.exists()}
    return environment.get_template("index.html.j2").render(
        title=params.report.title,
        version=__version__,
        provenance=facts.provenance(params),
        missing=[str(path) for path in missing]
        + [str(path) for name, path in curve_paths.items() if name not in curves],
        results=results,
        changes=changes(results.previous) if results.previous else "",
        folder=FOLDER,
        runs=paths.runs().name,
        dot_charts=charts.dot_charts(records, params.backbones),
        headlines=labels.headlines(records),
        left_out=facts.left_out(params),
        asked=[each.title for each in benchmarks() if each.words == "asked"],
        checks=facts.checks(params),
        words=results.words,
        ablation=published.REFINER_ABLATION,
        ablation_source=published.SOURCE,
        line_charts=charts.line_charts(curves),
        trainings=trainings,
        imports=imports,
        curve_names=list(curves),
        pictures=gallery(params),
        conversations=conversations(params),
        kinds=KINDS,
        benchmark_label=labels.benchmark_label,
        data=facts.data(params),
    )
