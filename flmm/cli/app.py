"""``flmm app``: the web demo."""

from typing import Annotated

import typer

app = typer.Typer()


@app.command("app")
def run(
    head: Annotated[
        str | None,
        typer.Option(
            help="A trained head: its folder or file (default: the models that ship with the package)."
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(help="The head's model: a directory or hub name.")] = None,
    segmenter: Annotated[str | None, typer.Option(help="The head's segmenter: a directory or file.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    host: Annotated[
        str, typer.Option(help="Where to listen; 0.0.0.0 lets others of the network in.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port.", min=1, max=65535)] = 7860,
) -> None:
    """Talk about pictures in the browser; needs the extra `demo` (docs/app.md)."""
    from flmm.app.serve import loaders, serve
    from flmm.errors import InputError

    if head is None and (model or segmenter):
        raise InputError("--model and --segmenter belong to a head: give --head, too")
    serve(loaders(head, model=model, segmenter=segmenter, device=device), host, port)
