"""`python -m recipes …`, run from a checkout: training and examining the tiny models of the shapes suite."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from flmm.errors import InputError

app = typer.Typer(
    help="Train and examine the tiny models of the shapes suite.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.command()
def pretrain(
    out: Annotated[Path, typer.Option(help="Directory for the model; replaced when the training ends.")],
    family: Annotated[
        str, typer.Option(help="llava_base, from nothing; or llava, llava_next, deepseek_vl, llava_wide.")
    ],
    share: Annotated[float, typer.Option(help="Share of the shipped model's steps, for a try.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the weights and of the scenes.")] = 0,
    checkpoints: Annotated[Path | None, typer.Option(help="Directory for intermediate models.")] = None,
    resume: Annotated[Path | None, typer.Option(help="A stage's result: run the later ones only.")] = None,
    resume_after: Annotated[
        str,
        typer.Option(
            help="That stage: vision, grammar, questions, shapes, reference, location, pointing or answering."
        ),
    ] = "grammar",
    start: Annotated[
        Path | None,
        typer.Option(
            help="A finished llava_base, from which the other families take over (llava_wide: a finished llava)."
        ),
    ] = None,
    float32: Annotated[
        bool,
        typer.Option(help="No bfloat16: five times as fast on a CPU without instructions for it."),
    ] = False,
) -> None:
    """Train a tiny LMM: llava_base from nothing (over two hours on a core), then others from it (two hours each)."""
    from recipes.pretrain import pretrain as train
    from recipes.recipe import Recipe

    train(
        out,
        family=family,
        seed=seed,
        recipe=replace(Recipe().shortened(share), bfloat16=not float32),
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
    from recipes.sam import SamRecipe
    from recipes.sam import pretrain_sam as train

    recipe = SamRecipe() if steps is None else replace(SamRecipe(), steps=steps)
    train(out, seed=seed, recipe=recipe, log=lambda line: print(line, flush=True))


@app.command("finetune-seg")
def finetune_seg(
    out: Annotated[Path, typer.Option(help="Directory for the model; replaced as the training goes on.")],
    start: Annotated[Path, typer.Option(help="The tiny LLaVA to fine-tune.")],
    segmenter: Annotated[Path, typer.Option(help="Directory of the tiny SAM.")],
    steps: Annotated[int | None, typer.Option(help="Steps (default: the shipped model's).")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the new weights and of the scenes.")] = 0,
) -> None:
    """Fine-tune a tiny LLaVA for masks the LISA way: the rival of the frozen ones (docs/rivals.md)."""
    from recipes.seg import SegRecipe
    from recipes.seg import finetune_seg as train

    recipe = SegRecipe() if steps is None else replace(SegRecipe(), steps=steps)
    log = partial(print, flush=True)
    train(out, start=start, segmenter=segmenter, seed=seed, recipe=recipe, log=log)


@app.command()
def examine(
    model: Annotated[Path, typer.Option(help="Directory of a tiny LMM.")],
    scenes: Annotated[int, typer.Option(help="Unseen scenes.")] = 100,
) -> None:
    """Ask a tiny LMM existence and multiple-choice questions about unseen scenes; prints its accuracies."""
    from recipes.examine import examine as measure

    for kind, share in measure(model, scenes).items():
        print(f"{kind:32s} {share:.3f}")


def main() -> None:
    """Run the command; what the user can mend is one line on stderr and exit code 2."""
    try:
        app()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
