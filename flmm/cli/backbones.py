"""`flmm backbones …`: which models there are, and whether one keeps the contract."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from flmm.cli.context import params_path
from flmm.errors import InputError, StepError
from flmm.params import BackboneEntry, load_params

if TYPE_CHECKING:
    from flmm.contract.facts import Facts

app = typer.Typer(help="The frozen LMMs: families, models, and the contract that they keep.")


@app.callback(invoke_without_command=True)
def catalogue(context: typer.Context) -> None:
    """List the catalogue of params.yaml; a model that is not on this machine has no figures."""
    if context.invoked_subcommand is not None:
        return
    from flmm.backbones.registry import families
    from flmm.contract.facts import facts

    table = Table("backbone", "family", "model", "parameters", "channels", "grids", "weights", "per phrase")
    for name, entry in load_params(params_path(context)).catalogue.items():
        table.add_row(name, entry.family, entry.model, *_cells(_told(facts, entry)))
    console = Console(width=None if Console().is_terminal else 200)
    console.print(table)
    console.print(f"families: {', '.join(families())}")
    console.print(
        "weights: in two bytes each; per phrase: attention cache, log8; grids: of a 480 x 640 photograph"
    )


@app.command("check")
def check_model(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="A catalogue name, a model's directory, or a hub name.")],
    family: Annotated[
        str | None, typer.Option(help="Its family (default: the one that reads its `model_type`).")
    ] = None,
) -> None:
    """Load a model and measure whether it keeps the contract; exit code 1 if it does not."""
    from flmm.backbones.lmm import TransformersBackbone
    from flmm.backbones.loading import load
    from flmm.contract.check import check

    params: Path = params_path(context)
    # A model that is not in a catalogue needs none.
    known = load_params(params).catalogue if params.is_file() or not _is_elsewhere(model) else {}
    backbone = load(known[model] if model in known else _entry(model, family), dtype="float32", device="auto")
    assert isinstance(backbone, TransformersBackbone)
    table = Table("property", "", "measured")
    failed = []
    for finding in check(backbone):
        table.add_row(finding.name, "ok" if finding.holds else "FAILS", finding.detail)
        failed += [] if finding.holds else [finding.name]
    Console().print(table)
    if failed:
        raise StepError(f"{model} does not keep the contract: {', '.join(failed)}")


def _is_elsewhere(model: str) -> bool:
    """Whether this is a directory, or has the form of a hub name."""
    return Path(model).is_dir() or model.count("/") == 1


def _entry(model: str, family: str | None) -> BackboneEntry:
    """An entry for a model outside the catalogue."""
    if family is None:
        import transformers

        from flmm.backbones.registry import families
        from flmm.backbones.registry import family as family_of

        if not _is_elsewhere(model):
            raise InputError(f"{model}: no catalogue entry, no directory, and no hub name (owner/name)")
        try:
            kind = transformers.AutoConfig.from_pretrained(model).model_type
        except (OSError, ValueError) as error:
            raise InputError(f"{model}: its config.json cannot be read; name its --family") from error
        family = next((name for name in families() if kind in family_of(name).model_types), None)
        if family is None:
            raise InputError(
                f"{model}: no family reads a {kind!r} model; there are: {', '.join(families())} "
                "(docs/add-a-backbone.md tells how to add one; a model without a 2-D grid of image tokens, such as "
                "one with a Q-Former or a perceiver, cannot be grounded)"
            )
    return BackboneEntry(suite="paper", family=family, model=model, revision=None, trust_remote_code=False)


def _told(facts: Callable[[BackboneEntry], Facts | None], entry: BackboneEntry) -> Facts | str:
    """The facts, or in words why there are none: one broken model must not hide the others."""
    try:
        return facts(entry) or "not on this machine"
    except InputError as error:
        return str(error)


def _cells(found: Facts | str) -> list[str]:
    if isinstance(found, str):
        return [found, "", "", "", ""]
    grids = " + ".join(f"{grid.rows} x {grid.columns}" for grid in found.grids)
    return [
        f"{found.parameters / 1e6:,.1f} M",
        f"{found.channels}",
        grids,
        _size(found.weights),
        _size(found.phrase),
    ]


def _size(count: int) -> str:
    for power, unit in ((30, "GiB"), (20, "MiB")):
        if count >= 2**power:
            return f"{count / 2**power:.1f} {unit}"
    return f"{count / 2**10:.1f} KiB"
