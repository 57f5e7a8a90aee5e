"""Commands beside the steps: what a run needs, masks of other systems, published checkpoints."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from flmm.benchmarks import names
from flmm.cli.context import BackboneName, params_of, params_path
from flmm.errors import InputError, StepError
from flmm.params import Params, load_params
from flmm.pipeline import paths

app = typer.Typer()


@app.command()
def plan(
    context: typer.Context,
    suite: Annotated[
        str | None, typer.Option(help="shapes or paper (default: the one that params.yaml runs).")
    ] = None,
    backbones: Annotated[
        str | None, typer.Option(help="Names, with commas between (default: those that params.yaml runs).")
    ] = None,
) -> None:
    """Print what a full run needs before anything starts: downloads, disk, GPU, and what is missing."""
    from rich.console import Console

    from flmm.pipeline.plan import plan as run

    params = load_params(
        params_path(context), suite=suite, backbones=backbones.split(",") if backbones else None
    )
    run(params, Console(width=None if sys.stdout.isatty() else 160))


@app.command()
def record(context: typer.Context) -> None:
    """After `snakemake`: tell DVC that the results are current, and MLflow which dvc.lock they are of."""
    from flmm.pipeline.bookkeeping import record as run
    from flmm.tracking.lock import tell_lock

    params = params_of(context)
    run(params)
    try:
        tell_lock(params, Path("dvc.lock"))
    except StepError as error:  # DVC's part is done, and nothing depends on the tag
        typer.echo(f"warning: {error}", err=True)


@app.command()
def keys(context: typer.Context) -> None:
    """Write every step's own key to results/SUITE/keys, by which DVC sees what an edit changes."""
    from flmm.pipeline.bookkeeping import write_keys

    write_keys(params_of(context))


@app.command()
def stage(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A stage of dvc.yaml.")],
    backbone: Annotated[str, typer.Argument(help="A name of params.yaml's `backbones`.")] = "",
    benchmark: Annotated[str, typer.Argument(help="A benchmark.")] = "",
) -> None:
    """Make one stage's results by Snakemake: what `dvc repro` calls."""
    from flmm.pipeline.bookkeeping import run_stage
    from flmm.pipeline.experiment import share_cache

    share_cache()
    run_stage(params_of(context), name, backbone, benchmark)


@app.command("import-checkpoint")
def import_checkpoint(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A published F-LMM checkpoint: .pth or .safetensors.")],
    backbone: BackboneName,
) -> None:
    """Check a published head against a backbone; print the lines by which params.yaml takes it."""
    import tempfile

    from flmm.files import sha256_file
    from flmm.imported import import_head as run

    params = _with_backbone(context, backbone)
    with tempfile.TemporaryDirectory() as folder:
        run(params, backbone, file, paths.raw(params), Path(folder))
    typer.echo(f"{file}: fits {backbone}. In params.yaml, catalogue.{backbone}:")
    typer.echo(f"    head: {{url: 'file:{file.resolve()}', sha256: {sha256_file(file)}}}")


@app.command("export-checkpoint")
def export_checkpoint(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The file to write: .pth or .safetensors.")],
    backbone: BackboneName,
) -> None:
    """Write a trained head in the published layout, bit for bit."""
    from flmm.heads.published import export_checkpoint as run
    from flmm.imported import grids_by_layer

    params = _with_backbone(context, backbone)
    grids = grids_by_layer(params.catalogue[backbone])
    run(paths.head(params, backbone), file, backbone=backbone, grids=grids)
    typer.echo(f"{file}: written")


@app.command()
def score(
    samples: Annotated[
        Path,
        typer.Argument(
            help="Samples or questions: data/samples/SUITE/refcoco-val.parquet, …/pope-random.parquet."
        ),
    ],
    predictions: Annotated[
        Path | None,
        typer.Argument(
            help="Of any system: masks (Parquet, or JSON with COCO run lengths), answers (JSON lines of "
            "question_id and text) or descriptions (a folder in GLaMM's layout)."
        ),
    ] = None,
    protocol: Annotated[str, typer.Option(help="paper or standard; for masks of spoken words.")] = "standard",
    benchmark: Annotated[
        str | None,
        typer.Option(help=f"Whose counting applies: {', '.join(names())} (default: the data set's)."),
    ] = None,
    system: Annotated[
        str, typer.Option(help="Who made the predictions: their name in the records.")
    ] = "yours",
    out: Annotated[Path | None, typer.Option(help="Write the records to this JSON file.")] = None,
    template: Annotated[
        Path | None, typer.Option(help="Write what has to be predicted or answered to this file, and stop.")
    ] = None,
    text_model: Annotated[
        str | None,
        typer.Option(
            help="For GCG's mask recall: a text model's directory or hub name, as bert-base-uncased."
        ),
    ] = None,
) -> None:
    """Count anybody's masks, descriptions, or answers, as we count our own (docs/protocols.md)."""
    from flmm.evaluation.score_cli import run

    run(samples, predictions, protocol, system, out, template, benchmark, text_model)


def _with_backbone(context: typer.Context, backbone: str) -> Params:
    params = params_of(context)
    if backbone not in params.backbones:
        raise InputError(f"unknown backbone {backbone!r}; params.yaml runs: {', '.join(params.backbones)}")
    return params
