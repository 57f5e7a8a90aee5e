"""``flmm repeat``: the step of the heads of further seeds."""

from typing import Annotated

import typer

from flmm.cli.context import BackboneName, params_of
from flmm.cli.evaluating import attention_maps, embeddings
from flmm.cli.steps import drop_maps
from flmm.cli.training import readers_are_named
from flmm.device import claim_gpu, use_threads
from flmm.pipeline import paths
from flmm.pipeline.running import step_runs
from flmm.pipeline.step import Step

app = typer.Typer()


@app.command()
def repeat(
    context: typer.Context,
    backbone: BackboneName,
    seed: Annotated[int, typer.Option(min=0, help="One of `train.seeds`, not the first.")],
) -> None:
    """Train one backbone's head once more with another seed, and count its masks."""
    from flmm.repeat import repeat as run

    params = params_of(context)
    with step_runs(params, Step("repeat", backbone, str(seed))) as running, readers_are_named("repeat"):
        claim_gpu("auto")
        use_threads(params.train.threads)
        graph, keys = running.keys.graph, running.keys
        given = {name: entry for name, entry in graph.benchmarks.items() if entry.words == "spoken"}
        run(
            params,
            backbone,
            seed,
            training=[attention_maps(keys, backbone, part) for part in graph.training_parts],
            maps={
                name: {part: attention_maps(keys, backbone, part) for part in graph.parts_of(name)}
                for name in given
            },
            embeddings=embeddings(keys, [*graph.training_parts, *graph.given_parts]),
            raw=paths.raw(params),
            out=paths.repeated(params, backbone, str(seed)),
            key=running.key,
            checkpoints=paths.repeat_checkpoints(backbone, str(seed)),
        )
    drop_maps(params, backbone)
