"""`flmm ground` and `flmm chat`: masks for words, from a shell."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from flmm.cli.context import Device, Dtype, Family, Head, Json, Model, SegmenterPath

if TYPE_CHECKING:
    from PIL.Image import Image

app = typer.Typer()

Save = Annotated[Path | None, typer.Option("--save", help="A folder for overlays, masks and JSON.")]


@app.command()
def ground(
    image: Annotated[Path, typer.Argument(help="A picture.")],
    phrases: Annotated[list[str], typer.Argument(help='What to look for, such as "the red circle".')],
    head: Head = "shapes-llava",
    model: Model = None,
    family: Family = None,
    segmenter: SegmenterPath = None,
    dtype: Dtype = "float32",
    device: Device = "auto",
    folder: Save = None,
    as_json: Json = False,
) -> None:
    """The pixels that phrases mean in a picture (docs/chat.md)."""
    from flmm.grounded import facts, save
    from flmm.predictor import Grounder, read_picture

    picture = read_picture(image)
    grounder = Grounder.load(
        head, model=model, family=family, segmenter=segmenter, dtype=dtype, device=device
    )
    found = grounder.ground(picture, phrases)
    told = facts(found)
    if as_json:
        typer.echo(json.dumps({"image": str(image), "phrases": told}, ensure_ascii=False))
    else:
        table = Table("phrase", "score", "box", "pixels")
        for each in told:
            table.add_row(
                each["phrase"], f"{each['score']:.2f}", str(tuple(each["box"])), str(each["pixels"])
            )
        Console().print(table)
    if folder is not None:
        path = save(picture, found, {"image": str(image), "phrases": told}, folder, image.stem)
        typer.echo(f"saved: {path}", err=as_json)


@app.command()
def chat(
    image: Annotated[
        Path | None, typer.Argument(help="A picture (default: an example scene of shapes).")
    ] = None,
    question: Annotated[
        list[str] | None, typer.Option(help="Ask this and stop; may be given several times.")
    ] = None,
    head: Head = "shapes-llava",
    model: Model = None,
    family: Family = None,
    segmenter: SegmenterPath = None,
    dtype: Dtype = "float32",
    device: Device = "auto",
    folder: Save = None,
    as_json: Json = False,
) -> None:
    """Talk with a frozen LMM about a picture; the phrases of its answers get masks (docs/chat.md)."""
    from flmm.chat import Chat, typed
    from flmm.predictor import Grounder, read_picture

    picture = example() if image is None else read_picture(image)
    grounder = Grounder.load(
        head, model=model, family=family, segmenter=segmenter, dtype=dtype, device=device
    )
    console = Console(stderr=as_json)
    talk = Chat(grounder, picture, console, folder=folder, as_json=as_json)
    if question:
        for each in question:
            talk.take(each)
        return
    talk.take_all(typed(console))


def example() -> "Image":
    """A generated scene, so that there is something to talk about right after installation."""
    from PIL.Image import fromarray

    from flmm.shapes.world.scenes import make_scene

    return fromarray(make_scene(11).image)
