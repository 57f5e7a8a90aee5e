"""`flmm attention`: where each head of the LMM looks while it says a phrase."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def attention(
    image: Annotated[Path, typer.Argument(help="A picture.")],
    phrases: Annotated[list[str], typer.Argument(help='Words to look for, such as "the red circle".')],
    head: Annotated[
        str, typer.Option(help="A model that ships with the package, a head's file, or its folder.")
    ] = "shapes-llava",
    model: Annotated[
        str | None, typer.Option(help="The LMM's directory or hub name (default: the one that ships).")
    ] = None,
    family: Annotated[
        str | None, typer.Option(help="Its family, where its config.json does not tell it.")
    ] = None,
    segmenter: Annotated[
        str | None, typer.Option(help="The segmenter's directory or file (default: the one that ships).")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    save: Annotated[Path, typer.Option(help="The folder of the pictures (default: this one).")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print numbers for programs.")] = False,
) -> None:
    """Draw each phrase's attention maps by layer and head, one PNG per phrase (docs/attention.md)."""
    from flmm.attention.phrases import show
    from flmm.predictor import Grounder

    grounder = Grounder.load(head, model=model, family=family, segmenter=segmenter, device=device)
    show(grounder, image, phrases, save, as_json=as_json)
