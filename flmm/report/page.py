"""The page: everything the report shows, rendered into one HTML file that loads nothing from anywhere."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from flmm import __version__
from flmm.benchmarks import benchmarks
from flmm.evaluation.records import Record
from flmm.params import Params
from flmm.pipeline import paths
from flmm.report import charts, facts, labels, published, tabulate
from flmm.report.gallery import KINDS, gallery
from flmm.report.keywords import keywords

_TEMPLATES = Path(__file__).parent / "templates"


def render(params: Params, records: list[Record], missing: list[Path]) -> str:
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
    masks = [
        tabulate.comparison(records, name, params.backbones, params.suite)
        for name in labels.protocols(records)
    ]
    return environment.get_template("index.html.j2").render(
        title=params.report.title,
        version=__version__,
        provenance=facts.provenance(params),
        missing=[str(path) for path in missing]
        + [str(path) for name, path in curve_paths.items() if name not in curves],
        masks=[table for table in masks if table is not None],
        answers=tabulate.answers(records, params.backbones),
        dot_charts=charts.dot_charts(records, params.backbones),
        headlines=labels.headlines(records),
        left_out=facts.left_out(params),
        asked=[each.title for each in benchmarks() if each.words == "asked"],
        checks=facts.checks(params),
        words=keywords(params),
        ablation=published.REFINER_ABLATION,
        ablation_source=published.SOURCE,
        line_charts=charts.line_charts(curves),
        trainings=trainings,
        imports=imports,
        curve_names=list(curves),
        pictures=gallery(params),
        kinds=KINDS,
        benchmark_label=labels.benchmark_label,
        data=facts.data(params),
        full=tabulate.full(records),
    )
