"""`flmm shapes …`: making the embedded suite and its models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="The embedded shapes suite: its data and the recipes of its models.", no_args_is_help=True
)


@app.callback()
def _group() -> None:
    """The embedded shapes suite."""


@app.command()
def pretrain(
    out: Annotated[Path, typer.Option(help="Directory for the model; replaced when the training ends.")],
    family: Annotated[str, typer.Option(help="llava_base, from nothing; or llava, llava_next, deepseek_vl.")],
    share: Annotated[float, typer.Option(help="Share of the shipped model's steps, for a try.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the weights and of the scenes.")] = 0,
    checkpoints: Annotated[Path | None, typer.Option(help="Directory for intermediate models.")] = None,
    resume: Annotated[Path | None, typer.Option(help="A stage's result: run the later ones only.")] = None,
    resume_after: Annotated[
        str, typer.Option(help="That stage: vision, first, last, finish or adopt.")
    ] = "first",
    start: Annotated[
        Path | None, typer.Option(help="A finished llava_base, from which the other families take over.")
    ] = None,
) -> None:
    """Train a tiny LMM: llava_base from nothing (over two hours on a core), then others from it (two hours each)."""
    from flmm.shapes.pretrain import pretrain as train
    from flmm.shapes.recipe import Recipe

    train(
        out,
        family=family,
        seed=seed,
        recipe=Recipe().shortened(share),
        checkpoints=checkpoints,
        resume=resume,
        resume_after=resume_after,
        start=start,
        log=lambda line: print(line, flush=True),
    )


@app.command("pretrain-sam")
def pretrain_sam(
    out: Annotated[Path, typer.Option(help="Directory for the segmenter; replaced as the training goes on.")],
    steps: Annotated[int | None, typer.Option(help="Steps (default: the shipped segmenter's).")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the weights and of the scenes.")] = 0,
) -> None:
    """Train the tiny SAM from scratch (about a quarter of an hour on two cores)."""
    from flmm.shapes.sam import SamRecipe
    from flmm.shapes.sam import pretrain_sam as train

    recipe = SamRecipe() if steps is None else replace(SamRecipe(), steps=steps)
    train(out, seed=seed, recipe=recipe, log=lambda line: print(line, flush=True))


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


@app.command()
def examine(
    model: Annotated[Path, typer.Option(help="Directory of a tiny LMM.")],
    scenes: Annotated[int, typer.Option(help="Unseen scenes.")] = 100,
) -> None:
    """Ask a tiny LMM existence and multiple-choice questions about unseen scenes; prints its accuracies."""
    from flmm.shapes.examine import examine as measure

    for kind, share in measure(model, scenes).items():
        print(f"{kind:32s} {share:.3f}")


if __name__ == "__main__":
    app()
