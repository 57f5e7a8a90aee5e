"""`flmm attention`: where each head of the LMM looks while it says a phrase."""

from pathlib import Path
from typing import Annotated

import typer

from flmm.cli.context import Device, Family, Head, Json, Model, SegmenterPath

app = typer.Typer()


@app.command()
def attention(
    image: Annotated[Path, typer.Argument(help="A picture.")],
    phrases: Annotated[list[str], typer.Argument(help='Words to look for, such as "the red circle".')],
    head: Head = "shapes-llava",
    model: Model = None,
    family: Family = None,
    segmenter: SegmenterPath = None,
    device: Device = "auto",
    save: Annotated[Path, typer.Option(help="The folder of the pictures (default: this one).")] = Path(),
    as_json: Json = False,
) -> None:
    """Draw each phrase's attention maps by layer and head, one PNG per phrase (docs/attention.md)."""
    from flmm.attention.phrases import show
    from flmm.predictor import Grounder

    grounder = Grounder.load(head, model=model, family=family, segmenter=segmenter, device=device)
    show(grounder, image, phrases, save, as_json=as_json)
