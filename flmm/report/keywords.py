"""The page's block about which words of an answer are grounded: each way to choose them, counted on the same words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flmm.errors import InputError
from flmm.files import read_json
from flmm.params import Params
from flmm.phrases import WAYS
from flmm.pipeline import paths
from flmm.pipeline.steps import Graph
from flmm.report.published import KEYWORDS, SOURCE
from flmm.report.tabulate import MISSING, Cell, Row, Table

_METRICS = {"precision": "Precision", "recall": "Recall", "f1": "F1"}


@dataclass(frozen=True)
class Words:
    """``table``: None before anything was counted. ``left_out``: a sentence for each way that was not counted."""

    table: Table | None
    left_out: tuple[str, ...]
    missing: tuple[str, ...]


def keywords(params: Params) -> Words | None:
    """What the step ``keywords`` counted of every backbone; None where the params ask for no such step.

    Raises:
        InputError: a file is there but is not what the step writes.
    """
    graph = Graph(params)
    files = {
        name: paths.keywords(params, name) / "scores.json"
        for name in params.backbones
        if graph.keywords(name)
    }
    if not files:
        return None
    left_out: dict[str, None] = {}
    groups = []
    for backbone, path in files.items():
        if not path.exists():
            continue
        found = read_json(path)
        try:
            groups.append(_rows(backbone, found["scores"]))
            sentences = [f"{WAYS[way]}: left out, because {why}." for way, why in found["left_out"].items()]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{path}: not what `flmm keywords` writes ({error!r}); run it again") from error
        left_out |= dict.fromkeys(sentences)
    missing = tuple(str(path) for path in files.values() if not path.exists())
    return Words(_table(groups, params.suite) if groups else None, tuple(left_out), missing)


def _rows(backbone: str, scores: Mapping[str, Any]) -> tuple[Row, ...]:
    """A row per way; one that was not counted has no figures."""
    return tuple(
        Row(
            (backbone, label),
            tuple(
                Cell(f"{float(scores[way][metric]):.1f}") if way in scores else Cell(MISSING, "missing")
                for metric in _METRICS
            ),
            "lead" if way == "linear" else "",
        )
        for way, label in WAYS.items()
    )


def _table(groups: list[tuple[Row, ...]], suite: str) -> Table:
    published = " and ".join(f"{value:.1f} for {name}" for name, value in KEYWORDS)
    note = f"Percent of the words of PNG’s validation narratives. Published: F1 {published} ({SOURCE})."
    if suite == "shapes":
        note += " Its narratives are about photographs; these are made of a few patterns, and easy to learn."
    return Table("Words", note, ("Backbone", "Words from"), tuple(_METRICS.values()), tuple(groups))
