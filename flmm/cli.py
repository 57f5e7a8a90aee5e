"""The command ``flmm``: one subcommand per step, with the step's name. No logic: paths in, one function called.

Nothing heavy (torch, transformers, mlflow) is imported before a command needs it, because Snakemake starts one
process per job.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from flmm import keys, manifests, paths
from flmm.context import BackboneName, check_backbone, params_of
from flmm.contract.cli import app as backbones
from flmm.errors import InputError, StepError
from flmm.shapes.cli import app as shapes
from flmm.tools import app as tools

# Set before mlflow or dvc is imported, and inherited by their own processes.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("DVC_NO_ANALYTICS", "true")

app = typer.Typer(
    help="F-LMM Pipeline: pixels out of large multimodal models that stay frozen.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # errors are plain lines, also in a job's log
    add_completion=False,
)
app.add_typer(shapes, name="shapes")
app.add_typer(tools)  # without a name of their own: commands beside the steps
app.add_typer(backbones, name="backbones")


@app.callback()
def common(
    context: typer.Context,
    params: Annotated[Path, typer.Option(help="The file with every number of the pipeline.")] = Path(
        "params.yaml"
    ),
) -> None:
    """F-LMM Pipeline: pixels out of large multimodal models that stay frozen."""
    context.obj = params


@app.command()
def download(
    context: typer.Context, source: Annotated[str, typer.Option(help="A name of the suite's `sources`.")]
) -> None:
    """Fetch one upstream file and check it."""
    from flmm.data.download import download as run

    params = params_of(context)
    if source not in params.active.sources:
        raise InputError(
            f"unknown source {source!r}; suite {params.suite} has: {', '.join(params.active.sources)}"
        )
    run(source, params.active.sources[source], paths.raw(params) / source, params.download)


@app.command()
def prepare(context: typer.Context) -> None:
    """Turn the downloaded files into samples and questions."""
    from flmm.data.prepare import prepare as run

    params = params_of(context)
    run(params, paths.raw(params), paths.samples(params, "any").parent)


@app.command()
def extract(
    context: typer.Context,
    backbone: BackboneName,
    part: Annotated[str, typer.Option(help="<dataset>-<split>, such as refcoco-val.")],
) -> None:
    """Let a frozen LMM speak one part and keep its attention."""
    from flmm.extract import extract as run

    params = params_of(context)
    check_backbone(params, backbone)
    if part not in paths.grounding_parts(params):
        raise InputError(
            f"unknown part {part!r}; suite {params.suite} has: {', '.join(paths.grounding_parts(params))}"
        )
    folder = manifests.shard_manifest(params, backbone, part).parent
    key = keys.extract_key(params, backbone)
    run(params, backbone, part, paths.samples(params, part), paths.raw(params), folder, key)


@app.command()
def manifest(context: typer.Context, backbone: BackboneName) -> None:
    """Gather the manifests of one backbone's attention: what DVC versions of it."""
    params = params_of(context)
    check_backbone(params, backbone)
    manifests.write_extract_manifest(params, backbone)


@app.command()
def embed(context: typer.Context) -> None:
    """Embed every image once with the frozen SAM."""
    from flmm.embed import embed as run

    params = params_of(context)
    samples = [paths.samples(params, part) for part in paths.grounding_parts(params)]
    run(params, samples, paths.raw(params), manifests.embed_manifest(params).parent, keys.embed_key(params))


@app.command()
def train(context: typer.Context, backbone: BackboneName) -> None:
    """Train one backbone's head on its cached attention."""
    from flmm.tracking.live import LiveCurves
    from flmm.training import train as run

    params = params_of(context)
    check_backbone(params, backbone)
    manifests.check_extract_manifest(params, backbone)
    parts = [part for part in paths.grounding_parts(params) if part.endswith("-train")]
    shards = [manifests.shard_manifest(params, backbone, part) for part in parts]
    with LiveCurves(params, backbone) as curves:
        run(
            params,
            backbone,
            shards,
            manifests.embed_manifest(params),
            paths.results(params, backbone, "train"),
            on_step=curves.add,
        )


@app.command()
def evaluate(
    context: typer.Context,
    backbone: BackboneName,
    benchmark: Annotated[str, typer.Option(help="res, png, reasonseg, viscot, pope or mmbench.")],
) -> None:
    """Evaluate one backbone on one benchmark."""
    from flmm.evaluation import evaluate as run

    params = params_of(context)
    check_backbone(params, backbone)
    if benchmark not in paths.benchmarks(params):
        known = ", ".join(paths.benchmarks(params))
        raise InputError(f"unknown benchmark {benchmark!r}; params.yaml runs: {known}")
    manifests.check_extract_manifest(params, backbone)
    run(
        params,
        backbone,
        benchmark,
        head_path=paths.results(params, backbone, "train") / "head.safetensors",
        extract_manifests=manifests.benchmark_manifests(params, backbone, benchmark),
        embed_manifest=manifests.embed_manifest(params),
        raw=paths.raw(params),
        out=paths.results(params, backbone, "evaluate") / benchmark,
    )


@app.command()
def scores(context: typer.Context, backbone: BackboneName) -> None:
    """Gather the records of one backbone's benchmarks."""
    params = params_of(context)
    check_backbone(params, backbone)
    manifests.write_scores(params, backbone)


@app.command()
def report(
    context: typer.Context,
    show: Annotated[bool, typer.Option("--show", help="Only print the table of the last report.")] = False,
) -> None:
    """Write reports/metrics.json and the page; or print its table."""
    params = params_of(context)
    if not show:
        from flmm.report import build

        build(
            params, results=Path("results"), samples=paths.samples(params, "any").parent, out=Path("reports")
        )
        return
    from flmm.report.table import print_table

    print_table(Path("reports/metrics.json"))
    typer.echo(f"report: {Path('reports/index.html').resolve()}")
    store = os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    typer.echo(f"MLflow: {store} (mlflow ui --backend-store-uri {store})")


@app.command()
def track(context: typer.Context) -> None:
    """Build or complete the MLflow runs from the result files."""
    from flmm.tracking.track import track as run

    run(params_of(context), reports=Path("reports"))


@app.command()
def record() -> None:
    """After `snakemake`: tell DVC that the results are current."""
    from flmm.state import record as run

    run()


@app.command()
def adopt(context: typer.Context) -> None:
    """After `dvc pull` or `dvc checkout`: tell Snakemake that the results are current."""
    from flmm.state import adopt as run

    run(params_of(context))


def main() -> None:
    """Run the command; what goes wrong is one line on stderr and an exit code.

    Exit codes: 2 bad input or usage, 1 a step that failed, 130 Ctrl-C (typer's own).
    """
    try:
        app()
    except InputError as error:
        _fail(error, 2)
    except StepError as error:
        _fail(error, 1)


def _fail(error: Exception, code: int) -> None:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    sys.exit(code)
