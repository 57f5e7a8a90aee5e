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

# What `flmm.Grounder.load` takes.
Head = Annotated[
    str, typer.Option("--head", help="A model that ships with the package, a head's file, or its folder.")
]
Model = Annotated[
    str | None,
    typer.Option("--model", help="The LMM's directory or hub name (default: the one that ships)."),
]
Family = Annotated[
    str | None, typer.Option("--family", help="Its family, where its config.json does not tell it.")
]
SegmenterPath = Annotated[
    str | None,
    typer.Option("--segmenter", help="The segmenter's directory or file (default: the one that ships)."),
]
Dtype = Annotated[str, typer.Option("--dtype", help="Of the LMM: float32, bfloat16 or float16.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def params_path(context: typer.Context) -> Path:
    """The file that `--params` names."""
    path: Path = context.find_root().obj
    return path


def params_of(context: typer.Context) -> Params:
    """The checked content of that file."""
    return load_params(params_path(context))
