"""The command ``flmm``: the steps, and the tools beside them."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from flmm.cli.app import app as demo
from flmm.cli.attention import app as attention
from flmm.cli.backbones import app as backbones
from flmm.cli.cache import app as cache
from flmm.cli.pilot import app as pilot
from flmm.cli.repeat import app as repeat
from flmm.cli.report import app as report
from flmm.cli.rival import app as rival
from flmm.cli.steps import app as steps
from flmm.cli.talk import app as talk
from flmm.cli.tools import app as tools
from flmm.errors import InputError, StepError
from flmm.shapes.cli import app as shapes

# Set before mlflow or dvc is imported, and inherited by their own processes: neither tells anybody of our runs.
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
app.add_typer(steps)  # without a name of their own: `flmm train`
app.add_typer(pilot)
app.add_typer(repeat)
app.add_typer(report)
app.add_typer(rival)
app.add_typer(tools)
app.add_typer(talk)
app.add_typer(demo)
app.add_typer(attention)
app.add_typer(backbones, name="backbones")
app.add_typer(cache, name="cache")
app.add_typer(shapes, name="shapes")


@app.callback()
def common(
    context: typer.Context,
    params: Annotated[Path, typer.Option(help="The file with every number of the pipeline.")] = Path(
        "params.yaml"
    ),
) -> None:
    """F-LMM Pipeline: pixels out of large multimodal models that stay frozen."""
    context.obj = params


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
