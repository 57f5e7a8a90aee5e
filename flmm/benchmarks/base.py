"""What a benchmark is, and how the package finds them: every module of ``flmm.benchmarks`` with a ``BENCHMARK``."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, Protocol

import numpy as np

from flmm.errors import InputError

Columns = Mapping[str, Any]  # name -> one value per row: a NumPy array (masks) or a list (answers)
Words = Literal["spoken", "answered", "described", "asked"]
_NO_BENCHMARKS = ("base", "metrics")  # modules of the package that hold none


class Asked(Protocol):
    """A question as its upstream file has it (``flmm.data.question.Question``), or ``Short``."""

    @property
    def text(self) -> str: ...

    @property
    def hint(self) -> str: ...

    @property
    def options(self) -> Sequence[str]: ...


@dataclass(frozen=True)
class Short:
    """A question that is its text and nothing else."""

    text: str
    hint: str = ""
    options: tuple[str, ...] = ()


def short_answer(question: Asked) -> str:
    """The user text in the wording in which LLaVA-1.5 is asked short questions."""
    return f"{question.text}\nAnswer the question using a single word or phrase."


@dataclass(frozen=True)
class Ratio:
    """A number as sums over rows: ``scale`` times the sum of ``over`` by the sum of ``under``, each (N,).

    ``counted`` (N,): the rows that the number is about; all others weigh nothing. So that any images can be left out
    or counted twice, every metric has this form (``flmm.evaluation.intervals``).
    """

    over: np.ndarray
    under: np.ndarray
    counted: np.ndarray
    scale: float = 1.0

    @property
    def value(self) -> float:
        """The number; 0 where there is nothing to divide by."""
        under = float(np.sum(self.under[self.counted]))
        return self.scale * float(np.sum(self.over[self.counted])) / under if under else 0.0

    def of(self, rows: np.ndarray) -> "Ratio":
        """The same number of some of the rows, (N,) booleans."""
        return Ratio(self.over, self.under, self.counted & rows, self.scale)


@dataclass(frozen=True)
class Weighed:
    """A number that is no ratio of sums, such as an average precision.

    ``of_weights``: how often each row is taken, (D, N), to the number of each of the D draws. ``counted`` (N,): the
    rows that the number is about.
    """

    of_weights: Callable[[np.ndarray], np.ndarray]
    counted: np.ndarray

    @property
    def value(self) -> float:
        """The number of every row taken once."""
        return float(self.of_weights(np.ones((1, len(self.counted))))[0])


Number = Ratio | Weighed


@dataclass(frozen=True)
class Metric:
    """A number of a benchmark. ``unit``: percent (0-100) or fraction (0-1), as the literature prints it.

    A metric that exists per category is recorded as ``<name>/<category>``.
    """

    name: str
    unit: Literal["percent", "fraction"]
    label: str = ""  # where the name is no heading


# What every benchmark of questions reports besides its own numbers (``flmm.evaluation.count``).
ANSWERS_EQUAL = Metric("answers_equal", "fraction", "answers equal")


@dataclass(frozen=True)
class Headline:
    """The one number that stands for a benchmark."""

    metric: str
    protocol: str
    head: str


@dataclass(frozen=True)
class Way:
    """A way to answer a question with or without a second look at a part of the picture.

    ``name``: its protocol in results. ``grounds``: what the head looks for: the words that ``phrase`` takes from the
    question, an object that the LMM is asked to name first, or nothing, and then there is one look.
    ``label``: in words, for tables.
    """

    name: str
    grounds: Literal["phrase", "named", "nothing"]
    label: str
    phrase: Callable[[str], str] = str


PLAIN_WAY = Way("plain", "nothing", "no chain of thought")


@dataclass(frozen=True)
class Benchmark:
    """A benchmark: where its data comes from, how its words come about, how it is counted, what people read.

    ``reader``: the reader of its data sets in params.yaml. ``datasets``: what those with a name of their own are called
    (in the order of tables). ``splits``: their order.
    ``words``: ``spoken`` (an LMM is made to say them by `extract`), ``answered`` (the LMM answers a question, and its
    answer is grounded), ``described`` (it describes the picture, and the phrases of the description are grounded) or
    ``asked`` (the LMM answers, and there are no masks).
    ``protocols``: in the order of tables; those of spoken words also have to be in ``evaluate.protocols``.
    ``count``: the metrics of the rows of one data set, split, protocol and head, each as a ratio of sums (or
    ``Weighed``). Columns of masks: ``iou``, ``intersection``, ``area_union``, ``is_thing``, ``is_plural``,
    ``category``, each (N,); of answers: ``answer``, ``label``, ``options``, ``group``, ``category``; of descriptions:
    see ``flmm.benchmarks.gcg``.
    ``prompt``: what the LMM is asked; nothing is, where words are spoken.
    ``ways``: of its visual chain of thought, ``PLAIN_WAY`` among them; each is a protocol of its own. ``count_ways``:
    the numbers of their answers, of the columns ``answer``, ``label`` and ``grade`` (0-1, or None without a judge).
    ``gains``: those of the numbers of which also the difference to ``PLAIN_WAY`` is told, as ``<name>_gain``.
    ``notes``: per protocol a sentence for the report's tables. ``averaged``: a table of answers also shows the mean of
    a data set's splits. ``place``: among benchmarks with the same ``words``, the smaller one comes first.
    """

    name: str
    title: str
    reader: str
    datasets: Mapping[str, str]
    splits: tuple[str, ...]
    words: Words
    protocols: tuple[str, ...]
    metrics: tuple[Metric, ...]
    headline: Headline
    count: Callable[[Columns, str], Mapping[str, Number]]
    prompt: Callable[[Asked], str] = short_answer
    notes: Mapping[str, str] = field(default_factory=dict)
    averaged: bool = False
    place: int = 100
    ways: tuple[Way, ...] = ()
    count_ways: Callable[[Columns], dict[str, Ratio]] | None = None
    gains: tuple[str, ...] = ()

    def counted(self, protocols: Sequence[str]) -> list[str]:
        """The protocols under which it is counted where params.yaml asks for ``protocols`` of spoken words."""
        if self.words != "spoken":
            return list(self.protocols)
        return [protocol for protocol in protocols if protocol in self.protocols]


def names() -> tuple[str, ...]:
    """Every benchmark's name, by its file; nothing is imported."""
    return _names(tuple(importlib.import_module("flmm.benchmarks").__path__))


@cache
def _names(folders: tuple[str, ...]) -> tuple[str, ...]:
    found = (module.name for module in pkgutil.iter_modules(folders))
    return tuple(sorted(name for name in found if name not in _NO_BENCHMARKS))


def benchmark(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
        InputError: there is none (lists those that there are), or its file holds another one.
    """
    if name not in names():
        raise InputError(f"unknown benchmark {name!r}; there are: {', '.join(names())}")
    found = getattr(importlib.import_module(f"flmm.benchmarks.{name}"), "BENCHMARK", None)
    if not isinstance(found, Benchmark) or found.name != name:
        raise InputError(f"flmm/benchmarks/{name}.py: holds no BENCHMARK of the name {name!r}")
    return found


def benchmarks() -> list[Benchmark]:
    """All of them, in the order of tables: spoken words, answered questions, descriptions, questions without masks."""
    order = {"spoken": 0, "answered": 1, "described": 2, "asked": 3}
    return sorted(map(benchmark, names()), key=lambda each: (order[each.words], each.place, each.name))


@cache
def _datasets(_: tuple[str, ...]) -> dict[str, str]:
    return {dataset: each.name for each in benchmarks() for dataset in each.datasets}


def of_dataset(dataset: str) -> Benchmark | None:
    """The benchmark of a data set: the one that lists it, else the one whose data set's name it begins with.

    So ``refcoco_mini`` is counted in tables like ``refcoco``. None where there is no such benchmark.
    """
    known = _datasets(names())
    fitting = [name for name in known if dataset == name or dataset.startswith(name)]
    return benchmark(known[max(fitting, key=len)]) if fitting else None
