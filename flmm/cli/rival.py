"""``flmm rival``: the step of the LMMs that were fine-tuned for grounding."""

from typing import Annotated

import typer

from flmm.cli.context import params_of
from flmm.device import claim_gpu, use_threads
from flmm.pipeline import paths
from flmm.pipeline.running import step_runs
from flmm.pipeline.step import Step

app = typer.Typer()


@app.command()
def rival(
    context: typer.Context,
    name: Annotated[str, typer.Option("--rival", help="A name of the suite's `rivals`.")],
) -> None:
    """Predict and count the masks and answers of one fine-tuned LMM, or count those that it left in files."""
    from flmm.rivals.run import rival as run

    params = params_of(context)
    with step_runs(params, Step("rival", item=name)) as running:
        claim_gpu(params.evaluate.device)
        use_threads(params.train.threads)
        parts = {part: paths.samples(params, part) for part in running.keys.graph.rival_parts(name)}
        run(params, name, parts, raw=paths.raw(params), out=paths.rival(params, name))
