"""The hours that `flmm plan` tells: by measured times those of every step, and what all its estimates assume."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from flmm.heads.names import HEADS
from flmm.params import Extract, Params
from flmm.pipeline import costs
from flmm.pipeline.cache_plan import Load, phrase_columns
from flmm.pipeline.steps import Graph
from flmm.pipeline.times import FILE, PHRASES, Times

_PAPER_TRAINING = 160  # A800 hours of one backbone: 20 h on 8 GPUs, the LMM run again in every epoch


def text(seconds: float) -> str:
    """Seconds as hours."""
    return f"{seconds / 3600:,.1f}"


def embedding(images: int, times: Times) -> str:
    """Hours for so many images."""
    return text(images * times.steps.embed.seconds)


def show(graph: Graph, times: Times, loads: Sequence[Load], console: Console) -> None:
    """Print the table of what each backbone takes beside the LMM."""
    epochs = graph.params.train.epochs
    table = Table("hours of", "writing, beside extract", f"train, epochs: {epochs}", "evaluate, all heads")
    for load in loads:
        table.add_row(load.name, *_cells(graph, times, load))
    console.print(table)


def _cells(graph: Graph, times: Times, load: Load) -> tuple[str, str, str]:
    """Of one backbone: phrases written, answers trained on in each epoch and seed, phrases predicted by each head."""
    steps, train = times.steps, graph.params.train
    repeats = len(graph.repeats(load.name))
    size = phrase_columns(load.shape, graph.params.extract).total / _measured_bytes(graph.params.extract)
    writing = (load.training + load.evaluation) * steps.write.seconds * size
    answers = load.training / PHRASES * train.epochs * (1 + repeats)
    training = answers * (steps.train.seconds + steps.read.seconds * size)
    predicting = load.evaluation * steps.evaluate.seconds * (len(HEADS) + repeats)
    with_the_lmm = train.online and load.name in graph.trained
    return text(writing), "unknown (train.online)" if with_the_lmm else text(training), text(predicting)


def _measured_bytes(extract: Extract) -> int:
    """Of a phrase that was written and read: all heads and layers, a byte a value."""
    stored = {"heads": "all", "layers": "all", "attention": "log8", "hidden": "log8"}
    return phrase_columns(costs.LLAVA_7B, extract.model_copy(update=stored)).total


def assumptions(params: Params, times: Times | None) -> str:
    """What the estimates stand on, and how to get measured times where there are none."""
    return " ".join(
        [
            "Estimates, not measured." if times is None else _measured(times),
            "Published counts: before `prepare` leaves anything out; a photograph of two parts "
            "counts twice; PNG as if every narrative were spoken once per protocol. Image tokens: of a photograph "
            f"of 640 x 480. extract: {costs.PROMPT_TOKENS} tokens of words per image read and "
            f"{costs.PHRASE_TOKENS} per phrase"
            + ("." if times else f", at {costs.RATE:.1e} operations a second (an A100 at 40 %)."),
            f"Questions: those about a picture together, {costs.TOGETHER} at most, second looks alone, "
            f"{params.evaluate.max_new_tokens} new tokens each (evaluate.max_new_tokens), the weights read once for "
            + ("each." if times else f"each at {costs.BANDWIDTH:.1e} bytes a second."),
            "Weights: two bytes per parameter.",
            f"train: the paper took {_PAPER_TRAINING} A800 hours a backbone with the LMM in the loop "
            "(train.online), an upper bound where the LMM is not run again." if times is None else _heads(params),
            "keywords: the narratives that it reads once more (keywords.narratives and "
            "keywords.evaluation_narratives) are not counted: minutes. Cache: three tokens a phrase; where training "
            "shards are not kept, Snakemake makes a backbone's when those before are gone. pilot: pilot.images "
            "photographs more per backbone are read: minutes.",
            "Hours: of an assumed A100. `make rehearse`, or `python -m rehearsal.times` alone, measures this "
            f"machine's; they are then taken from {FILE}." if times is None else "",
        ]
    ).strip()  # fmt: skip


def _measured(times: Times) -> str:
    return (
        f"Estimates. Hours: of times measured on {times.device} (CPU cores: {times.cores}, {times.dtype}) on "
        f"{times.date} ({FILE}), tensors made up; where you run on another machine, delete that file or measure "
        "there. A token: as one of LLaVA-1.5-7B, in proportion to a model's parameters."
    )


def _heads(params: Params) -> str:
    online = ", not of the LMM in the loop" if params.train.online else ""
    return (
        f"train: answers of {PHRASES} phrases{online}, read by the trainer itself, files in the page cache; of "
        "LLaVA-1.5-7B's 1,024 channels, the paper's head and SAM ViT-L, whatever the suite has. Writing and reading: "
        f"in proportion to a phrase's bytes. evaluate: {len(HEADS)} heads and the repeated ones, each as slow as the "
        "trained one; masks of answers to questions are not counted. embed: of SAM ViT-L."
    )
