"""The last steps as commands: the report, and telling MLflow."""

from typing import Annotated

import typer

from flmm.cli.context import params_of
from flmm.pipeline import paths
from flmm.pipeline.running import step_runs
from flmm.pipeline.step import REPORT, TRACK
from flmm.tracking.uri import tracking_uri

app = typer.Typer()


@app.command()
def report(
    context: typer.Context,
    show: Annotated[bool, typer.Option("--show", help="Only print the table of the last report.")] = False,
) -> None:
    """Write reports/metrics.json and the page; or print its table."""
    params = params_of(context)
    if not show:
        from flmm.report import build

        with step_runs(params, REPORT):
            build(params, out=paths.reports())
        return
    from flmm.report.table import print_rivals, print_table

    print_table(paths.reports() / "metrics.json")
    print_rivals(params)
    typer.echo(f"report: {(paths.reports() / 'index.html').resolve()}")
    store = tracking_uri()
    typer.echo(f"MLflow: {store} (mlflow ui --backend-store-uri {store})")


@app.command()
def track(context: typer.Context) -> None:
    """Build or complete the MLflow runs from the result files."""
    from flmm.tracking.track import track as run

    params = params_of(context)
    with step_runs(params, TRACK):
        run(params, reports=paths.reports())
