"""`flmm shapes …`: making the data of the embedded suite."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The embedded shapes suite: its data.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """The embedded shapes suite."""


@app.command()
def generate(
    out: Annotated[Path, typer.Option(help="Directory for the mirror's files.")],
    train_images: Annotated[int, typer.Option(help="Training images.")] = 2000,
    evaluation_images: Annotated[int, typer.Option(help="Evaluation images of all grounding splits.")] = 400,
    seed: Annotated[int, typer.Option(help="Seed of the scenes and texts.")] = 7,
) -> None:
    """Write the suite's data sets in their upstream formats (under a minute)."""
    from flmm.shapes.mirror import generate as write

    counts = write(out, train_images=train_images, evaluation_images=evaluation_images, seed=seed)
    print(", ".join(f"{name} {count}" for name, count in counts.items()))
