"""Pictures of whole conversations, drawn by ``overlays``: what was asked, said and seen, from the tables of `evaluate`.

A description (GCG) is one exchange: the picture with the mask of every phrase, each phrase in the colour of its mask. A
chain of thought (Visual-CoT) is two: what the LMM named and the box around its mask, then the part that it looked at
again and its answer. They are chosen by score, evenly from the worst to the best.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from flmm.benchmarks import Benchmark
from flmm.benchmarks.base import Short
from flmm.colours import painted
from flmm.data.sample import decode_rle
from flmm.evaluation.asking import which_object
from flmm.evaluation.crops import enlarged
from flmm.evaluation.script import Said, script
from flmm.evaluation.tables import DESCRIPTIONS, LOOKS, PREDICTIONS, THOUGHTS
from flmm.files import atomic_path, read_table, write_json
from flmm.heads.names import REFINED
from flmm.phrases import Span
from flmm.protocols import GROUNDING_PROMPT

LIST = "conversations.json"
USER, LMM = "user", "LMM"
_MARK = (230, 60, 30)  # of the box that was looked at again

Row = dict[str, Any]
# A conversation that can be drawn: what it is called, its score, and how it is drawn from its photograph.
Told = tuple[Row, float, Callable[[Image.Image], Image.Image]]


def write_conversations(
    chosen: Benchmark, tables: Path, opened: Callable[[str, str], Image.Image], out: Path, *, count: int
) -> list[Row]:
    """Write ``out/conversation-*.png`` of at most ``count`` conversations, and their list; none of other benchmarks.

    ``tables``: the folder that `evaluate` wrote. ``opened``: the RGB picture of an archive and a name. Each entry:
    file, rank (1 is the worst), of, text, answer, sample, dataset, split, score (mean IoU of its refined masks, 0-1).

    Raises:
        InputError: a table or a picture is absent or damaged. StepError: a file cannot be written.
    """
    told: list[Told] = []
    if chosen.words == "described":
        told = list(_descriptions(chosen, tables))
    elif (tables / LOOKS).exists():
        told = list(_chains(chosen, tables))
    told.sort(key=lambda each: (each[1], each[0]["dataset"], each[0]["split"], each[0]["sample"]))
    entries: list[Row] = []
    for number, place in enumerate(_spread(len(told), count)):
        row, score, draw = told[place]
        name = f"conversation-{number:02d}.png"
        with atomic_path(out / name) as temporary:
            draw(opened(row.pop("archive"), row.pop("image"))).save(temporary, format="PNG")
        entries.append({"file": name, "rank": place + 1, "of": len(told), "score": score, **row})
    for stale in set(out.glob("conversation-*.png")) - {out / entry["file"] for entry in entries}:
        stale.unlink()
    write_json(out / LIST, entries)
    return entries


def _spread(length: int, count: int) -> list[int]:
    """At most ``count`` places of a list, evenly from the first to the last, each once."""
    return sorted({round(place) for place in np.linspace(0, length - 1, min(count, length))}) if count else []


def _descriptions(chosen: Benchmark, tables: Path) -> Iterable[Told]:
    masks: dict[tuple[str, str, str], list[Row]] = {}
    for row in _refined(tables / PREDICTIONS):
        masks.setdefault((row["dataset"], row["split"], row["sample_id"]), []).append(row)
    asked = chosen.prompt(Short(GROUNDING_PROMPT))
    for row in read_table(tables / DESCRIPTIONS).to_pylist():
        mine = sorted(
            masks.get((row["dataset"], row["split"], row["sample_id"]), []), key=lambda each: each["phrase"]
        )
        score = fmean(each["iou"] for each in mine) if mine else 0.0
        entry = _entry(row, row["sample_id"], asked, row["text"])
        yield entry, score, _described(asked, row["text"], mine)


def _described(asked: str, answer: str, masks: Sequence[Row]) -> Callable[[Image.Image], Image.Image]:
    def draw(image: Image.Image) -> Image.Image:
        shown = painted(image, [decode_rle(each["rle"], each["height"], each["width"]) for each in masks])
        said = [Said(USER, asked), Said(LMM, answer, _spans(answer, [each["text"] for each in masks]))]
        return script([(image, "image"), (shown, "masks of the answer's phrases")], said)

    return draw


def _spans(text: str, phrases: Sequence[str]) -> tuple[Span, ...]:
    """Where phrases are in a text, in its order."""
    spans, at = [], 0
    for phrase in phrases:
        start = text.index(phrase, at)
        at = start + len(phrase)
        spans.append((start, at))
    return tuple(spans)


def _chains(chosen: Benchmark, tables: Path) -> Iterable[Told]:
    named = {way.name for way in chosen.ways if way.grounds == "named"}
    looks = {
        (row["dataset"], row["split"], row["sample_id"]): row
        for row in _refined(tables / LOOKS)
        if row["protocol"] in named
    }
    for row in read_table(tables / THOUGHTS).to_pylist():
        look = looks.get((row["dataset"], row["split"], row["question_id"]))
        if row["protocol"] in named and look is not None:
            entry = _entry(row, row["question_id"], row["text"], row["answer"])
            yield entry, look["iou"], _chain(row, look)


def _chain(row: Row, look: Row) -> Callable[[Image.Image], Image.Image]:
    def draw(image: Image.Image) -> Image.Image:
        mask = decode_rle(look["rle"], look["height"], look["width"])
        found = painted(image, [mask])
        box = tuple(row["crop"])
        ImageDraw.Draw(found).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), outline=_MARK)
        panels = [(image, "image"), (found, "the box around what it named")]
        if row["pictures"] > 1:
            panels.append((enlarged(image, box), "looked at again"))
        phrase = row["phrase"]
        said = [
            Said(USER, which_object(row["text"])),
            Said(LMM, phrase or "(nothing)", ((0, len(phrase)),) if phrase else ()),
            Said(USER, row["text"]),
            Said(LMM, row["answer"] or "(nothing)"),
            Said("expected", row["label"]),
        ]
        return script(panels, said)

    return draw


def _entry(row: Row, sample: str, text: str, answer: str) -> Row:
    return {
        "text": text,
        "answer": answer,
        "sample": sample,
        **{name: row[name] for name in ("dataset", "split", "archive", "image")},
    }


def _refined(path: Path) -> list[Row]:
    return [row for row in read_table(path).to_pylist() if row["head"] == REFINED]
