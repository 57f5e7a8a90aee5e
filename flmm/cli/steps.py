"""One subcommand per step, with the step's name: what Snakemake's rules call. No logic: paths in, one function called.

Nothing heavy (torch, transformers, mlflow) is imported before a command needs it, because Snakemake starts one
process per job.
"""

from dataclasses import asdict
from typing import Annotated

import typer

from flmm.cli.context import ArchiveName, BackboneName, BenchmarkName, PartName, SourceName, params_of
from flmm.cli.evaluating import attention_maps, evaluate_words
from flmm.cli.training import train_head
from flmm.device import claim_gpu, use_threads
from flmm.errors import InputError
from flmm.files import write_json
from flmm.params import Params
from flmm.pipeline import paths
from flmm.pipeline.dropping import drop_training_maps
from flmm.pipeline.keys import Keys
from flmm.pipeline.running import step_runs
from flmm.pipeline.step import GENERATE, Step
from flmm.pipeline.steps import Graph

app = typer.Typer()


@app.command()
def generate(context: typer.Context) -> None:
    """Write the suite's mirror of upstream files, where the suite has a generator."""
    from flmm.shapes.mirror import generate as run

    params = params_of(context)
    sizes = params.active.generate
    if sizes is None:
        raise InputError(
            f"params.yaml: suite {params.suite} has no generator (suites.{params.suite}.generate)"
        )
    with step_runs(params, GENERATE):
        run(
            paths.mirror(),
            train_images=sizes.train_images,
            evaluation_images=sizes.evaluation_images,
            seed=params.seed,
        )


@app.command()
def download(context: typer.Context, source: SourceName) -> None:
    """Fetch one upstream file, or link a local one, and check it."""
    from flmm.data.download import download as run

    params = params_of(context)
    keys = Keys(_graph_with(params, source))
    entry = params.sources[source]
    run(source, entry, paths.raw(params) / source, params.download, keys.origin(source))


@app.command()
def digest(context: typer.Context, source: SourceName) -> None:
    """Write down what one upstream file is: all that is versioned of it."""
    params = params_of(context)
    keys = Keys(_graph_with(params, source))
    file = paths.raw(params) / source
    if not file.is_file():
        raise InputError(f"{file}: no such file; run `flmm download --source {source}` first")
    record = {"bytes": file.stat().st_size, "sha256": keys.hashes.file(file), "origin": keys.origin(source)}
    write_json(paths.digest(params, source), record)
    keys.hashes.save()


@app.command()
def prepare(context: typer.Context, part: PartName) -> None:
    """Turn upstream files into the samples or questions of one part."""
    from flmm.data.prepare import prepare as run

    params = params_of(context)
    with step_runs(params, Step("prepare", item=part)) as running:
        graph = running.keys.graph
        dataset, split = graph.place(part)
        leaking = graph.leaking_parts if part in graph.training_parts else []
        evaluation = [paths.samples(params, name) for name in leaking]
        run(
            params,
            dataset,
            split,
            raw=paths.raw(params),
            out=paths.samples(params, part),
            evaluation=evaluation,
        )


@app.command()
def embed(context: typer.Context, archive: ArchiveName) -> None:
    """Embed the images of one archive with the frozen SAM; those that are there stay."""
    from flmm.embed import embed as run

    params = params_of(context)
    with step_runs(params, Step("embed", item=archive)) as running:
        claim_gpu(params.embed.device)
        samples = [paths.samples(params, part) for part in running.keys.graph.embedded_parts(archive)]
        key = str(running.keys.store(archive))
        folder = paths.embed_shards(params.active.segmenter.name, key, archive)
        manifest = run(params, archive.removesuffix(".zip"), samples, paths.raw(params), folder, key)
        running.facts = {"store": key, "rows": manifest.images, "images_sha256": manifest.images_sha256}


@app.command()
def extract(
    context: typer.Context,
    backbone: BackboneName,
    part: PartName,
    share: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Only the shards of this one of `extract.jobs` jobs, from 0; the rest is for the step.",
        ),
    ] = None,
) -> None:
    """Let a frozen LMM speak one part and keep its attention."""
    from flmm.extract import extract as run
    from flmm.extract import extract_share
    from flmm.pilot import read_pilot

    params = params_of(context)
    with step_runs(params, Step("extract", backbone, part), partly=share is not None) as running:
        claim_gpu(params.extract.device)
        folder = paths.extract_shards(backbone, running.key, part)
        chosen = running.keys.graph.pilot(backbone)
        selection = read_pilot(paths.pilot(params, backbone)) if chosen else None
        what = (
            params,
            backbone,
            part,
            paths.samples(params, part),
            paths.raw(params),
            folder,
            running.key,
            selection,
        )
        if share is not None:
            extract_share(*what, share=share)
            return
        manifest = run(*what)
        running.facts = {
            "rows": manifest.rows,
            "answers": manifest.answers,
            "channels": manifest.channels,
            "processor_hash": manifest.processor_hash,
            "formats": asdict(manifest.formats),
        }


@app.command()
def train(context: typer.Context, backbone: BackboneName) -> None:
    """Train one backbone's head on its cached attention, or with the LMM in the loop (train.online)."""
    from flmm.tracking.live import LiveCurves

    params = params_of(context)
    step = Step("train", backbone)
    with step_runs(params, step) as running, LiveCurves(params, backbone) as curves:
        claim_gpu("auto")
        train_head(
            running.keys,
            backbone,
            paths.results(params, backbone, "train"),
            key=running.key,
            checkpoints=paths.checkpoints(backbone),
            raw=paths.raw(params),
            on_step=curves.add,
        )
    drop_maps(params, backbone)


@app.command("import")
def import_(context: typer.Context, backbone: BackboneName) -> None:
    """Take the published head that the backbone's entry names, instead of training one."""
    from flmm.imported import import_head as run

    params = params_of(context)
    source = params.head_source(backbone)
    if source is None:
        raise InputError(f"params.yaml: catalogue.{backbone} names no published head (docs/checkpoints.md)")
    with step_runs(params, Step("import", backbone)):
        raw = paths.raw(params)
        run(params, backbone, raw / source, raw, paths.results(params, backbone, "train"))


@app.command()
def select(context: typer.Context, backbone: BackboneName) -> None:
    """Choose the attention heads of the baseline without training."""
    from flmm.evaluation.select import select as run

    params = params_of(context)
    with step_runs(params, Step("select", backbone)) as running:
        use_threads(params.train.threads)
        maps = [attention_maps(running.keys, backbone, part) for part in running.keys.graph.training_parts]
        run(params, maps, paths.results(params, backbone, "select"))
    drop_maps(params, backbone)


@app.command()
def keywords(context: typer.Context, backbone: BackboneName) -> None:
    """Fit the linear layer that chooses which words of an answer are grounded, and count it."""
    from flmm.evaluation.keywords import keywords as run

    params = params_of(context)
    with step_runs(params, Step("keywords", backbone)) as running:
        claim_gpu(params.extract.device)
        training, evaluation = (
            [paths.samples(params, part) for part in running.keys.graph.narratives(training=training)]
            for training in (True, False)
        )
        out = paths.keywords(params, backbone)
        run(params, backbone, training, evaluation, paths.raw(params), out, running.key)


@app.command()
def evaluate(context: typer.Context, backbone: BackboneName, benchmark: BenchmarkName) -> None:
    """Predict one backbone's masks or answers of one benchmark."""
    params = params_of(context)
    with step_runs(params, Step("evaluate", backbone, benchmark)) as running:
        claim_gpu(params.evaluate.device)
        use_threads(params.train.threads)
        evaluate_words(running.keys, backbone, benchmark)


@app.command()
def count(context: typer.Context, backbone: BackboneName) -> None:
    """Count one backbone's predictions and answers: every metric, in seconds."""
    from flmm.evaluation.count import count as run

    params = params_of(context)
    with step_runs(params, Step("count", backbone)) as running:
        graph = running.keys.graph
        tables = {name: paths.evaluated(params, backbone, name) for name in graph.benchmarks}
        questions = {part: paths.samples(params, part) for part in graph.asked_parts}
        run(params, backbone, tables, questions, paths.results(params, backbone, "count"))


@app.command()
def overlays(context: typer.Context, backbone: BackboneName, benchmark: BenchmarkName) -> None:
    """Draw one backbone's masks of one benchmark over their photographs."""
    from flmm.evaluation.overlays import overlays as run

    params = params_of(context)
    with step_runs(params, Step("overlays", backbone, benchmark)):
        predictions = paths.evaluated(params, backbone, benchmark)
        out = paths.overlays(params, backbone, benchmark)
        run(params, backbone, benchmark, predictions, paths.raw(params), out)


def _graph_with(params: Params, source: str) -> Graph:
    if source not in params.sources:
        raise InputError(f"unknown source {source!r}; suite {params.suite} has: {', '.join(params.sources)}")
    return Graph(params)


def drop_maps(params: Params, backbone: str) -> None:
    for folder in drop_training_maps(params, backbone):
        typer.echo(f"{folder}: deleted (extract.keep_training_maps: false)")
