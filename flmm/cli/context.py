"""What commands share: the checked params, and the names that options take."""

from pathlib import Path
from typing import Annotated

import typer

from flmm.benchmarks import names
from flmm.params import Params, load_params

BackboneName = Annotated[str, typer.Option("--backbone", help="A name of params.yaml's `backbones`.")]
PartName = Annotated[str, typer.Option("--part", help="<dataset>-<split>, such as refcoco-val.")]
SourceName = Annotated[str, typer.Option("--source", help="A name of the suite's `sources`.")]
ArchiveName = Annotated[
    str, typer.Option("--archive", help="A source with photographs, such as train2014.zip.")
]
BenchmarkName = Annotated[str, typer.Option("--benchmark", help=f"One of {', '.join(names())}.")]


def params_path(context: typer.Context) -> Path:
    """The file that `--params` names."""
    path: Path = context.find_root().obj
    return path


def params_of(context: typer.Context) -> Params:
    """The checked content of that file."""
    return load_params(params_path(context))
