"""Commands beside the steps: what a run needs, masks of other systems, published checkpoints."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from flmm import paths
from flmm.benchmarks import names
from flmm.context import BackboneName, check_backbone, params_of, params_path
from flmm.errors import InputError
from flmm.params import BackboneEntry, load_params

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

    from flmm.plan import plan as run

    params = load_params(
        params_path(context), suite=suite, backbones=backbones.split(",") if backbones else None
    )
    run(params, Console(width=None if sys.stdout.isatty() else 160))


@app.command("import-checkpoint")
def import_checkpoint(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A published F-LMM checkpoint: .pth or .safetensors.")],
    backbone: BackboneName,
) -> None:
    """Take a published checkpoint as the backbone's head: `evaluate` works on it without training."""
    from flmm.heads.published import import_checkpoint as run
    from flmm.heads.segmenter import load_segmenter

    params = params_of(context)
    check_backbone(params, backbone)
    target = paths.results(params, backbone, "train") / "head.safetensors"
    segmenter = params.active.segmenter
    sam = load_segmenter(segmenter, paths.raw(params))
    config = run(
        file,
        target,
        backbone=backbone,
        segmenter=segmenter.name,
        sam=sam,
        upsample=params.train.head.upsample,
        grids=_grids_by_layer(params.catalogue[backbone]),
    )
    typer.echo(f"{target}: {config.channels} channels, {config.layers} layers, U-Net {config.base_channels}")


@app.command("export-checkpoint")
def export_checkpoint(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The file to write: .pth or .safetensors.")],
    backbone: BackboneName,
) -> None:
    """Write a trained head in the published layout, bit for bit."""
    from flmm.heads.published import export_checkpoint as run

    params = params_of(context)
    check_backbone(params, backbone)
    grids = _grids_by_layer(params.catalogue[backbone])
    run(paths.results(params, backbone, "train") / "head.safetensors", file, backbone=backbone, grids=grids)
    typer.echo(f"{file}: written")


def _grids_by_layer(entry: BackboneEntry) -> int:
    """How many grids' maps the authors' heads of this family take side by side, layer by layer; else 1."""
    from flmm.backbones.registry import family
    from flmm.contract.facts import facts

    if not family(entry.family).published_by_layer:
        return 1
    found = facts(entry)
    if found is None:
        raise InputError(
            f"{entry.model}: its configuration is not on this machine, and it tells the order of a head's channels; "
            "load the model once (flmm backbones check)"
        )
    return len(found.grids)


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
            help="Of any system: masks (Parquet, or JSON with COCO run lengths) or answers (JSON lines of "
            "question_id and text)."
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
) -> None:
    """Count anybody's masks, or answers to POPE and MMBench, as we count our own (docs/protocols.md)."""
    from flmm.evaluation.score_cli import run

    run(samples, predictions, protocol, system, out, template, benchmark)
