"""`flmm cache …`: what the cache holds, whether it is whole, and deleting what nobody needs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from flmm.cli.context import params_of
from flmm.errors import StepError

if TYPE_CHECKING:
    from flmm.pipeline.cached import Cached

app = typer.Typer(help="Attention shards, image embeddings and checkpoints: all of it can be made again.")


@app.callback(invoke_without_command=True)
def listed(context: typer.Context) -> None:
    """List the folders of the cache with their size, their age and their use."""
    if context.invoked_subcommand is not None:
        return
    found = _cached(context)
    table = Table("folder", "size", "last written", "use")
    for each in sorted(found, key=lambda each: -each.size):
        table.add_row(str(each.folder), decimal(each.size), _ago(each.written), each.use)
    console = Console(width=None if Console().is_terminal else 160)
    console.print(table)
    for use, meaning in (
        ("needed", "a step that has to run reads or writes it"),
        ("current", "of these params, but every step that reads it is done"),
        ("unused", "of other params, code or data"),
    ):
        console.print(f"{use}: {decimal(sum(each.size for each in found if each.use == use))}: {meaning}")


@app.command()
def verify(context: typer.Context) -> None:
    """Read every shard and compare its checksums; exit code 1 if one is damaged or absent."""
    from flmm.pipeline.cached import damage
    from flmm.progress import tracked

    folders = [each for each in _cached(context) if each.step not in ("train", "repeat")]
    found = [problem for folder in tracked(folders, "verify") for problem in damage(folder)]
    for problem in found:
        typer.echo(problem)
    if found:
        raise StepError(f"{len(found)} problems; delete these folders and run the pipeline again")
    typer.echo(f"{len(folders)} folders are whole")


@app.command()
def clean(
    context: typer.Context,
    current: Annotated[
        bool, typer.Option("--current", help="Delete what is current as well: results stay valid without it.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Delete; without it, only say what would go.")] = False,
) -> None:
    """Delete what these params do not use; never what a step that has to run reads."""
    from flmm.pipeline.cached import delete

    uses = {"unused", "current"} if current else {"unused"}
    going = [each for each in _cached(context) if each.use in uses]
    for each in going:
        typer.echo(f"{each.folder}  {decimal(each.size)}  {each.use}")
    if yes:
        delete([each.folder for each in going])
    word = "deleted" if yes else "would be deleted (--yes deletes)"
    typer.echo(f"{len(going)} folders, {decimal(sum(each.size for each in going))}: {word}")


def _cached(context: typer.Context) -> list[Cached]:
    from flmm.pipeline.cached import cached
    from flmm.pipeline.state import State

    return cached(State(params_of(context)))


def _ago(written: float) -> str:
    hours = (time.time() - written) / 3600
    return (
        f"{hours * 60:.0f} min ago"
        if hours < 2
        else f"{hours:.0f} h ago"
        if hours < 48
        else f"{hours / 24:.0f} days ago"
    )
