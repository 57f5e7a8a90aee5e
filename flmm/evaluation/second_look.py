"""The chain of thought's part of the step ``evaluate``: which questions, and the tables of what was seen and said."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from flmm.backbones.base import Backbone
from flmm.benchmarks import Benchmark
from flmm.data.images import ImageStore
from flmm.data.question import Question
from flmm.data.sample import Sample
from flmm.evaluation import thoughts
from flmm.evaluation.judge import graded
from flmm.evaluation.predictions import counts, prediction_rows, table_of
from flmm.evaluation.qa import Pictures
from flmm.evaluation.reasoning import described
from flmm.evaluation.tables import LOOKS, THOUGHTS, dataset_and_split
from flmm.evaluation.thoughts import Case, Thinker, Thought
from flmm.files import write_table
from flmm.heads.model import MaskHead
from flmm.heads.segmenter import Segmenter
from flmm.params import Params


def wanted(params: Params, benchmark: Benchmark) -> bool:
    """Whether a benchmark's chain of thought is asked for."""
    return bool(benchmark.ways) and params.evaluate.thoughts.questions != 0


class SecondLook:
    """Answers of one backbone in the ways of one benchmark, written to the folder ``out``."""

    def __init__(
        self, params: Params, backbone: Backbone, head: MaskHead, segmenter: Segmenter, benchmark: Benchmark,
        out: Path, description: str,
    ) -> None:  # fmt: skip
        self._params, self._benchmark, self._out = params, benchmark, out
        self._settings, self._description = params.evaluate.thoughts, f"{description}: chain of thought"
        self._thinker = Thinker(
            backbone, head, segmenter, benchmark,
            margin=self._settings.margin, max_new_tokens=params.evaluate.max_new_tokens,
        )  # fmt: skip

    def at_samples(self, samples: Mapping[str, Sequence[Sample]], images: ImageStore) -> dict[str, Any]:
        """Write answers and masks of questions that have a region, by part; returns what was done, for facts.json.

        Raises:
            InputError: a picture or a question cannot be read.
            StepError: a head's logits are not finite, or the judge does not answer.
        """
        chosen = [sample for some in samples.values() for sample in self._drawn(some)]
        cases = [
            Case(s.sample_id, s.dataset, s.split, s.archive, s.image, s.question, s.targets[0].sentences[0])
            for s in chosen
        ]
        looks: list[dict[str, object]] = []

        def keep(number: int, way: str, thought: Thought) -> None:
            looks.extend(_look_rows(chosen[number], way, thought))

        rows = thoughts.think(
            self._thinker, cases, lambda number: images.of(chosen[number]), keep, self._description
        )
        facts = self._write(rows)
        write_table(self._out / LOOKS, table_of(looks))
        return facts

    def at_questions(self, parts: Mapping[str, Sequence[Question]], pictures: Pictures) -> dict[str, Any]:
        """The same of questions without a region.

        Raises:
            InputError, StepError: as ``at_samples``.
        """
        chosen = [(part, question) for part, some in parts.items() for question in self._drawn(some)]
        cases = [
            Case(q.question_id, *dataset_and_split(part), q.archive, q.image, q.text, q.answer)
            for part, q in chosen
        ]

        def picture(number: int) -> Image.Image:
            return pictures.of(chosen[number][1])

        return self._write(thoughts.think(self._thinker, cases, picture, lambda *_: None, self._description))

    def _drawn(self, items: Sequence[thoughts.Item]) -> list[thoughts.Item]:
        return thoughts.drawn(items, self._settings.questions, self._params.seed)

    def _write(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        judge = self._settings.judge
        if judge is not None and self._benchmark.words == "answered":
            rows = graded(rows, judge, self._description)
        write_table(self._out / THOUGHTS, thoughts.thoughts_table(rows))
        return thoughts.facts(rows)


def _look_rows(sample: Sample, way: str, thought: Thought) -> list[dict[str, object]]:
    """A way's masks as rows of a predictions table: none where it looks once."""
    if thought.looked is None:
        return []
    answer = described(sample, thought.looked.phrase, way)
    return [
        row
        for head, mask in thought.looked.masks.items()
        for row in prediction_rows(
            answer, np.stack([counts(sample, mask)]), dataset=sample.dataset, split=sample.split, head=head
        )
    ]
