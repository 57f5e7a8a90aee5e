"""`flmm pilot`: which attention heads and hidden layers of a backbone are kept."""

import typer

from flmm.cli.context import BackboneName, params_of
from flmm.device import claim_gpu
from flmm.pipeline import paths
from flmm.pipeline.running import step_runs
from flmm.pipeline.step import Step

app = typer.Typer()


@app.command()
def pilot(context: typer.Context, backbone: BackboneName) -> None:
    """Choose the attention heads and layers that the cache keeps, where params.yaml wants a part of them."""
    from flmm.pilot import pilot as run

    params = params_of(context)
    with step_runs(params, Step("pilot", backbone)) as running:
        claim_gpu(params.extract.device)
        samples = [paths.samples(params, part) for part in running.keys.graph.training_parts]
        run(params, backbone, samples, paths.raw(params), paths.pilot(params, backbone).parent)
