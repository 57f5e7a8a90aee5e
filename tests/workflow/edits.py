"""The edit table: what somebody may change in a finished project, and the steps that have to run then.

Rules are named as Snakemake prints them; ``jobs`` says how many of a rule where it matters.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from tests.workflow.conftest import Project

TELL = {"count", "report", "track"}
DRAWN = {"overlays", *TELL}
FROM_EVALUATE = {"evaluate", *DRAWN}
FROM_TRAIN = {"train", *FROM_EVALUATE}
FROM_EXTRACT = {"extract", "select", *FROM_TRAIN}
FROM_KEYWORDS = {"keywords", "report", "track"}
RIVAL = {"rival", "report", "track"}
FROM_MODEL = {"keywords", *FROM_EXTRACT}  # also what reads narratives without the attention
NOTHING: set[str] = set()


@dataclass(frozen=True)
class Edit:
    """``apply`` changes the project; ``rules`` are those that have to run, ``jobs`` how many of some of them."""

    name: str
    apply: Callable[[Project], None]
    rules: set[str]
    jobs: dict[str, int]


def value(*path: str, to: object) -> Callable[[Project], None]:
    """Another value in params.yaml."""
    return lambda project: project.set(*path, value=to)


def line(file: str, text: str) -> Callable[[Project], None]:
    """A line at the end of a source file."""

    def change(project: Project) -> None:
        path = project.folder / file
        path.write_text(f"{path.read_text()}{text}\n")

    return change


def new(file: str, text: str = "") -> Callable[[Project], None]:
    """A new file."""

    def change(project: Project) -> None:
        (project.folder / file).write_text(text)

    return change


def gone(pattern: str) -> Callable[[Project], None]:
    """Files or folders that are deleted."""

    def change(project: Project) -> None:
        found = list(project.folder.glob(pattern))
        assert found, pattern
        for path in found:
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    return change


def moved_mirror(project: Project) -> None:
    """The same bytes at another address."""
    (project.folder / "elsewhere").mkdir(exist_ok=True)
    shutil.copyfile(project.folder / "data/mirror/refcoco.zip", project.folder / "elsewhere/refcoco.zip")
    project.set("suites", "shapes", "sources", "refcoco.zip", "url", value="file:elsewhere/refcoco.zip")


def filled_in_sum(project: Project) -> None:
    """The sum that was recorded, written into params.yaml."""
    found = json.loads((project.folder / "results/shapes/download/refcoco.zip.json").read_text())["sha256"]
    project.set("suites", "shapes", "sources", "refcoco.zip", "sha256", value=found)


def with_viscot(project: Project) -> None:
    """One benchmark more, of which nothing is there."""
    project.set("evaluate", "benchmarks", value=[*project.params()["evaluate"]["benchmarks"], "viscot"])


FROM_GENERATE = {"generate", "download", "digest", "prepare", "embed", "rival", *FROM_MODEL}
FROM_QUESTIONS = {"prepare", "evaluate", "rival", *TELL}
SHAPES = ("suites", "shapes")
CODE = "\nANOTHER = 1"
EDITS = [
    Edit("nothing", lambda project: None, NOTHING, {}),
    # What fixes no result.
    Edit("retries", value("download", "retries", to=9), NOTHING, {}),
    Edit("timeout", value("download", "timeout", to=9), NOTHING, {}),
    Edit("rows per shard", value("extract", "samples_per_shard", to=7), NOTHING, {}),
    Edit("device of extract", value("extract", "device", to="cpu"), NOTHING, {}),
    Edit("jobs of extract", value("extract", "jobs", to=3), NOTHING, {}),
    Edit("training shards", value("extract", "keep_training_maps", to=False), NOTHING, {}),
    Edit("photographs of a pilot that is not asked for", value("pilot", "images", to=5), NOTHING, {}),
    Edit("device of embed", value("embed", "device", to="cpu"), NOTHING, {}),
    Edit("images per shard", value("embed", "images_per_shard", to=3), NOTHING, {}),
    Edit("workers", value("train", "workers", to=1), NOTHING, {}),
    Edit("checkpoints", value("train", "checkpoint_every", to=7), NOTHING, {}),
    Edit("device of evaluate", value("evaluate", "device", to="cpu"), NOTHING, {}),
    Edit("remote code", value("catalogue", "shapes-llava", "trust_remote_code", to=True), NOTHING, {}),
    Edit("an unused backbone", value("catalogue", "shapes-llava-next", "revision", to="x"), NOTHING, {}),
    Edit("the other suite", value("suites", "paper", "train", "lr", to=1.0), NOTHING, {}),
    Edit("an address with the same bytes", moved_mirror, {"download", "digest"}, {"download": 1, "digest": 1}),
    Edit("a sum", filled_in_sum, NOTHING, {}),
    # Params of every section.
    Edit("another seed", value("seed", to=8), FROM_GENERATE, {}),
    Edit("more scenes", value(*SHAPES, "generate", "train_images", to=25), FROM_GENERATE, {}),
    Edit("leaking photographs", value("prepare", "exclude_evaluation_images", to=False),
         {"prepare", "embed", *FROM_MODEL}, {"prepare": 2, "extract": 2}),
    Edit("a photograph less", value("prepare", "exclude", to=["val2017/000000000001.jpg"]),
         {"prepare", "embed", "rival", *FROM_MODEL}, {}),
    Edit("storage of maps", value("extract", "attention", to="float16"), FROM_EXTRACT, {"extract": 6}),
    Edit("kept heads", value("extract", "heads", to=4), {"pilot", *FROM_EXTRACT}, {"pilot": 1, "extract": 6}),
    Edit("draws", value(*SHAPES, "extract", "train_draws", to=1), FROM_EXTRACT, {"extract": 2}),
    Edit("precision of SAM", value("embed", "dtype", to="bfloat16"), {"embed", *FROM_TRAIN}, {"evaluate": 4}),
    Edit("learning rate", value(*SHAPES, "train", "lr", to=0.5), FROM_TRAIN, {"evaluate": 4}),
    Edit("threads", value(*SHAPES, "train", "threads", to=2), {"select", "rival", *FROM_TRAIN}, {}),
    Edit("weight decay", value("train", "weight_decay", to=0.5), FROM_TRAIN, {}),
    Edit("one more seed", value("train", "seeds", to=[7, 8]), {"repeat", "report", "track"}, {"repeat": 1}),
    Edit("another head's seed", value("train", "seeds", to=[8]), FROM_TRAIN, {"train": 1}),
    Edit("training without a cache", value("train", "online", to=True), {"embed", *FROM_TRAIN}, {"embed": 1}),
    Edit("U-Net", value(*SHAPES, "train", "head", "base_channels", to=8), FROM_TRAIN, {}),
    Edit("localization heads", value("select", "heads", to=2), {"select", *FROM_EVALUATE}, {"evaluate": 3}),
    Edit("narratives", value(*SHAPES, "keywords", "narratives", to=5), FROM_KEYWORDS, {"keywords": 1}),
    Edit("threshold of keywords", value("keywords", "threshold", to=0.5), FROM_KEYWORDS, {}),
    Edit("longest answer", value("evaluate", "max_new_tokens", to=5), {"rival", *FROM_EVALUATE},
         {"evaluate": 2, "overlays": 1}),
    Edit("questions that get a second look", value("evaluate", "thoughts", "questions", to=5), {"evaluate", *TELL},
         {"evaluate": 1}),
    Edit("protocols", value("evaluate", "protocols", to=["standard"]), FROM_EVALUATE, {"evaluate": 2, "overlays": 2}),
    Edit("a benchmark less", value("evaluate", "benchmarks", to=["res", "png", "pope"]), TELL, {}),
    Edit("a benchmark more", with_viscot, {"download", "digest", "prepare", *FROM_EVALUATE},
         {"prepare": 2, "evaluate": 1, "overlays": 1}),
    Edit("pictures", value("overlays", "pictures", to=3), {"overlays", "report", "track"}, {"overlays": 3}),
    Edit("title", value("report", "title", to="Another"), {"report", "track"}, {}),
    # Source files.
    Edit("a comment in the generator", line("flmm/shapes/world/scenes.py", "# hm"), NOTHING, {}),
    Edit("a comment in a reader", line("flmm/data/pope.py", "# hm"), NOTHING, {}),
    Edit("an empty new module", new("flmm/data/empty.py"), NOTHING, {}),
    Edit("a new family", new("flmm/backbones/unknown.py"), NOTHING, {}),
    Edit("another family's code", line("flmm/backbones/llava_next.py", CODE), NOTHING, {}),
    Edit("code that moves values", line("flmm/params.py", CODE), NOTHING, {}),
    Edit("code that reads ahead", line("flmm/ahead.py", CODE), NOTHING, {}),
    Edit("the CLI", line("flmm/cli/steps.py", CODE), NOTHING, {}),
    Edit("code of a reader", line("flmm/data/pope.py", CODE), FROM_QUESTIONS, {"prepare": 3, "evaluate": 1}),
    Edit("code of the family", line("flmm/backbones/llava.py", CODE), {"rival", *FROM_MODEL}, {"extract": 6}),
    Edit("code of the tap", line("flmm/backbones/tap.py", CODE), {"rival", *FROM_MODEL}, {"extract": 6}),
    Edit("code that asks several questions together", line("flmm/backbones/questions.py", CODE),
         {"evaluate", "rival", *TELL}, {"evaluate": 1}),
    Edit("code of the trainer", line("flmm/training/trainer.py", CODE), FROM_TRAIN, {}),
    Edit("code of repeated trainings", line("flmm/repeat.py", CODE), NOTHING, {}),
    Edit("code of the keyword selector", line("flmm/keywords.py", CODE), FROM_KEYWORDS, {}),
    Edit("code of a metric", line("flmm/benchmarks/metrics.py", CODE), {"rival", *TELL}, {}),
    Edit("code of a benchmark's counting", line("flmm/benchmarks/png.py", CODE), TELL, {}),
    Edit("code that counts second looks", line("flmm/evaluation/count_ways.py", CODE), {"rival", *TELL}, {}),
    Edit("code of the pictures", line("flmm/evaluation/overlays.py", CODE), {"overlays", "report", "track"}, {}),
    Edit("code of the page", line("flmm/report/page.py", CODE), {"report", "track"}, {}),
    Edit("a template", line("flmm/report/templates/index.html.j2", "<!-- x -->"), {"report", "track"}, {}),
    Edit("code of tracking", line("flmm/tracking/track.py", CODE), {"track"}, {}),
    # Files that are gone, and models.
    Edit("attention cache", gone("cache/extract"), NOTHING, {}),
    Edit("embeddings", gone("cache/embed"), NOTHING, {}),
    Edit("mirror", gone("data/mirror"), NOTHING, {}),
    Edit("archives", gone("data/raw"), NOTHING, {}),
    Edit("Snakemake's memory", gone(".snakemake"), NOTHING, {}),
    Edit("a head", gone("results/shapes/shapes-llava/train/head.safetensors"), {"train"}, {}),
    Edit("a keyword selector", gone("results/**/keywords/keywords.safetensors"), {"keywords"}, {}),
    Edit("predictions", gone("results/**/evaluate/res/predictions.parquet"), {"evaluate"}, {"evaluate": 1}),
    Edit("the page", gone("reports/index.html"), {"report"}, {}),
    Edit("a note beside a model's weights", new("flmm/shapes/models/shapes-llava/notes.txt", "x"), FROM_MODEL, {}),
    Edit("a rival's weights", new("flmm/shapes/rivals/shapes-llava-seg/notes.txt", "x"), RIVAL, {"rival": 1}),
    Edit("code of the rivals", line("flmm/rivals/predict.py", CODE), RIVAL, {"rival": 1}),
    Edit("a rival less", value(*SHAPES, "rivals", to={}), {"report", "track"}, {}),
    Edit("the code of conversations", line("flmm/backbones/dialogue.py", "TURNS = 3"), NOTHING, {}),
    Edit("a model's card", line("flmm/shapes/models/shapes-llava/README.md", "hm"), NOTHING, {}),
    Edit("another model", new("flmm/shapes/models/shapes-llava-next/notes.txt", "x"), NOTHING, {}),
]  # fmt: skip
