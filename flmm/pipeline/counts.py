"""How much a part has to say: counted where it is prepared, else by the data sets' publications."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flmm.files import read_table
from flmm.pipeline import paths
from flmm.pipeline.steps import Graph

Picture = tuple[str, str]  # archive, image


@dataclass(frozen=True)
class Part:
    """One part of the run. ``prompts``: times that a model reads an image for it (samples, or questions).

    ``spoken``: phrases by what their answers are filed under: ``paper``, ``standard``, ``both`` (the same words under
    both) or ``train``, all draws together; of questions the answers: ``answered``, and without masks ``plain`` and
    ``head attached``, since these are asked twice. ``images``: different photographs; ``pictures``: which, where they
    were counted. ``counted``: False for published figures.
    """

    name: str
    prompts: int
    spoken: Mapping[str, int]
    images: int
    pictures: frozenset[Picture] = field(default=frozenset(), repr=False)
    counted: bool = False

    @property
    def phrases(self) -> int:
        """Of all protocols and draws."""
        return sum(self.spoken.values())


# RefCOCO and RefCOCO+ (UNC split), RefCOCOg (UMD split): photographs, referred objects, sentences (Yu 2016, Mao 2016,
# Nagaraja 2016).
_REFERRING = {
    "refcoco-train": (16_994, 42_404, 120_624),
    "refcoco-val": (1_500, 3_811, 10_834),
    "refcoco-testA": (750, 1_975, 5_657),
    "refcoco-testB": (750, 1_810, 5_095),
    "refcoco+-train": (16_992, 42_278, 120_191),
    "refcoco+-val": (1_500, 3_805, 10_758),
    "refcoco+-testA": (750, 1_975, 5_726),
    "refcoco+-testB": (750, 1_798, 4_889),
    "refcocog-train": (21_899, 42_226, 80_512),
    "refcocog-val": (1_300, 2_573, 4_896),
    "refcocog-test": (2_600, 5_023, 9_602),
}
# PNG: photographs and narratives of Localized Narratives on COCO (Pont-Tuset 2020), 5.1 phrases in each (Gonzalez
# 2021).
_NARRATIVES = {"png-train": (118_287, 134_272, 685_000), "png-val": (5_000, 8_573, 44_000)}
# Questions and photographs of ReasonSeg (Lai 2024) and POPE (Li 2023); of MMBench the rotations of its questions (Liu
# 2024), rounded.
_QUESTIONS = {
    "reasonseg-val": (200, 200),
    "reasonseg-test": (779, 779),
    "pope-random": (3_000, 500),
    "pope-popular": (3_000, 500),
    "pope-adversarial": (3_000, 500),
    "mmbench-dev": (4_400, 1_100),
    "mmbench-dev_v11": (4_400, 1_100),
}


def part_counts(graph: Graph, name: str) -> Part | None:
    """What one part has to say; None where it is not prepared and nothing was published of it."""
    file, passes = paths.samples(graph.params, name), _passes(graph, name)
    draws = graph.params.extract.train_draws if graph.place(name)[1] == paths.TRAIN else 0
    if file.is_file():
        return _questions(name, file, passes) if passes else _samples(name, file, draws)
    return _published(name, draws, passes) if graph.params.suite == "paper" else None


def image_count(parts: list[Part]) -> int:
    """Different photographs of several parts; one that two uncounted parts share is counted twice."""
    known = frozenset[Picture]().union(*(part.pictures for part in parts))
    return len(known) + sum(part.images for part in parts if not part.counted)


def is_question(graph: Graph, name: str) -> bool:
    """Whether a part is answered in the model's own words."""
    return bool(_passes(graph, name))


def asked(graph: Graph, parts: Iterable[Part]) -> tuple[int, int]:
    """How many times a picture is read to be asked about, and how many answers are given in all.

    A second look costs two answers of its own: to what is looked at, and to the question with both pictures.
    """
    pictures = answers = 0
    for part in parts:
        passes = len(_passes(graph, part.name))
        if passes:
            looks = 2 * _second_looks(graph, part)
            pictures += min(part.images, part.prompts) * passes + looks
            answers += part.phrases + looks
    return pictures, answers


def _second_looks(graph: Graph, part: Part) -> int:
    """Questions of a part times the ways in which each of them is looked at again."""
    wanted = graph.params.evaluate.thoughts.questions
    ways = [
        way
        for name, entry in graph.benchmarks.items()
        if part.name in graph.parts_of(name)
        for way in entry.ways
        if way.grounds != "nothing"
    ]
    questions = next(iter(part.spoken.values()))
    return len(ways) * (questions if wanted is None else min(wanted, questions))


def _passes(graph: Graph, name: str) -> tuple[str, ...]:
    """How each question of a part is asked; empty for a part whose words are given."""
    words = {entry.words for each, entry in graph.benchmarks.items() if name in graph.parts_of(each)}
    if "asked" in words:
        return ("plain", "head attached")
    return ("answered",) if words & {"answered", "described"} else ()


def _published(name: str, draws: int, passes: tuple[str, ...]) -> Part | None:
    if name in _REFERRING:
        images, objects, sentences = _REFERRING[name]
        spoken = {"train": objects * draws} if draws else {"paper": objects, "standard": sentences}
        return Part(name, images, spoken, images)
    if name in _NARRATIVES:
        images, narratives, phrases = _NARRATIVES[name]
        # At most: a narrative whose phrases are all nouns is spoken once for both.
        spoken = {"train": phrases} if draws else {"paper": phrases, "standard": phrases}
        return Part(name, narratives, spoken, images)
    if name in _QUESTIONS:
        questions, images = _QUESTIONS[name]
        return Part(name, questions, dict.fromkeys(passes, questions), images)
    return None


def _questions(name: str, file: Path, passes: tuple[str, ...]) -> Part:
    rows = read_table(file, ["archive", "image"]).to_pylist()
    pictures = _pictures(rows)
    return Part(name, len(rows), dict.fromkeys(passes, len(rows)), len(pictures), pictures, counted=True)


def _samples(name: str, file: Path, draws: int) -> Part:
    rows = read_table(file, ["archive", "image", "targets", "narrative"]).to_pylist()
    spoken: Counter[str] = Counter()
    for row in rows:
        spoken.update(_spoken(row, draws))
    pictures = _pictures(rows)
    return Part(name, len(rows), dict(spoken), len(pictures), pictures, counted=True)


def _spoken(row: dict[str, Any], draws: int) -> dict[str, int]:
    """The phrases of one sample, as ``extract`` files them."""
    targets = row["targets"]
    if not row["narrative"]:
        if draws:
            return {"train": draws * len(targets)}
        return {"paper": len(targets), "standard": sum(len(target["sentences"]) for target in targets)}
    mentions = [piece["target"] for piece in row["narrative"] if piece["target"] >= 0]
    if draws:
        return {"train": len(mentions)}  # a narrative has one wording
    nouns = sum(targets[target]["is_noun"] for target in mentions)
    if nouns == len(mentions):
        return {"both": nouns}
    return {"paper": len(mentions), "standard": nouns}


def _pictures(rows: list[dict[str, Any]]) -> frozenset[Picture]:
    return frozenset((row["archive"], row["image"]) for row in rows)
