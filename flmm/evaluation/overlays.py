"""The step ``overlays``: image, ground truth, coarse and refined mask side by side, failures included."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from flmm.benchmarks import benchmark
from flmm.data.images import ImageStore
from flmm.data.sample import decode_rle
from flmm.errors import InputError
from flmm.evaluation.conversations import write_conversations
from flmm.evaluation.script import GAP, PANEL
from flmm.evaluation.tables import PREDICTIONS
from flmm.files import atomic_path, read_table, write_json
from flmm.heads.names import COARSE, REFINED
from flmm.params import Params

LINE = 20  # height of a line of text

_TRUTH_COLOUR, _MASK_COLOUR = (0, 170, 90), (230, 60, 30)
_INK, _PAPER = (20, 20, 20), (255, 255, 255)


class Images(Protocol):
    """Where pictures come from (``flmm.data.images.ImageStore``)."""

    def open(self, archive: str, image: str) -> Image.Image:
        """The RGB picture."""
        ...


@dataclass(frozen=True)
class Chosen:
    """One phrase to draw: its refined and coarse rows of the predictions table, and why it was chosen.

    ``rank``: its place among all ``of`` phrases by refined IoU; 1 is the worst.
    """

    refined: dict[str, Any]
    coarse: dict[str, Any]
    kind: Literal["worst", "median", "best"]
    rank: int
    of: int


def overlays(
    params: Params, backbone: str, benchmark_name: str, predictions: Path, raw: Path, out: Path
) -> None:
    """Draw ``overlays.pictures`` phrases of one backbone's predictions, the folder that `evaluate` wrote, and a quarter
    as many whole conversations where the benchmark has some.

    One protocol's rows are shown, or the same phrase would be there twice.

    Raises:
        InputError: the benchmark has no masks, or the table or a picture is absent or damaged.
        StepError: a file cannot be written.
    """
    chosen = benchmark(benchmark_name)
    if chosen.words == "asked":
        raise InputError(f"{chosen.title}: its questions have no masks to be drawn ({backbone})")
    protocols = chosen.counted(params.evaluate.protocols)
    shown = next((protocol for protocol in chosen.protocols if protocol in protocols), chosen.protocols[0])
    table = read_table(predictions / PREDICTIONS)
    images = ImageStore(raw)
    write_overlays(table, images, out, count=params.overlays.pictures, protocol=shown)
    write_conversations(chosen, predictions, images.open, out, count=params.overlays.pictures // 4)


def choose(table: pa.Table, count: int, protocol: str) -> list[Chosen]:
    """At most ``count`` phrases by refined IoU: a third the worst, a third the best, the rest those around the median.

    Deterministic; only rows of ``protocol`` (or of ``both``), and every target at most once.
    """
    rows = [row for row in table.to_pylist() if row["protocol"] in (protocol, "both")]
    coarse = {_place(row): row for row in rows if row["head"] == COARSE}
    ranked = sorted(
        (row for row in rows if row["head"] == REFINED), key=lambda row: (row["iou"], _place(row))
    )
    ranks = {_place(row): rank for rank, row in enumerate(ranked, start=1)}
    middle = sorted(ranked, key=lambda row: abs(ranks[_place(row)] - (len(ranked) + 1) / 2))
    ends = -(-count // 3)
    used: set[tuple[str, str]] = set()
    worst = _take(ranked, ends, used)
    best = _take(ranked[::-1], min(ends, count - ends), used)
    median = _take(middle, count - len(worst) - len(best), used)
    kinds: dict[Literal["worst", "median", "best"], list[dict[str, Any]]]
    kinds = {"worst": worst, "median": median, "best": best}
    chosen = [
        Chosen(row, coarse[_place(row)], kind, ranks[_place(row)], len(ranked))
        for kind, rows in kinds.items()
        for row in rows
    ]
    order = list(kinds)
    return sorted(chosen, key=lambda each: (order.index(each.kind), each.rank))


def _place(row: dict[str, Any]) -> tuple[str, str, str, int]:
    return row["dataset"], row["split"], row["answer_id"], row["phrase"]


def _take(ordered: list[dict[str, Any]], count: int, used: set[tuple[str, str]]) -> list[dict[str, Any]]:
    """The first ``count`` rows whose target is not in ``used``; adds their targets to it."""
    taken: list[dict[str, Any]] = []
    for row in ordered:
        if len(taken) == count:
            break
        target = (row["sample_id"], row["target_id"])
        if target not in used:
            used.add(target)
            taken.append(row)
    return taken


def write_overlays(
    table: pa.Table, images: Images, out: Path, *, count: int, protocol: str
) -> list[dict[str, Any]]:
    """Write ``out/*.png`` and ``out/overlays.json``, and remove pictures of an earlier run.

    Each entry: file (relative to ``out``), kind, rank, of, phrase, sample, dataset, split, protocol, ious (0-1).

    Raises:
        StepError: a file cannot be written. InputError: a picture cannot be read.
    """
    entries = []
    for number, chosen in enumerate(choose(table, count, protocol)):
        row = chosen.refined
        name = f"{number:02d}-{chosen.kind}.png"
        with atomic_path(out / name) as temporary:
            picture(images.open(row["archive"], row["image"]), chosen).save(temporary, format="PNG")
        entries.append(
            {
                "file": name,
                "kind": chosen.kind,
                "rank": chosen.rank,
                "of": chosen.of,
                "phrase": row["text"],
                "sample": row["sample_id"],
                "dataset": row["dataset"],
                "split": row["split"],
                "protocol": row["protocol"],
                "ious": {COARSE: chosen.coarse["iou"], REFINED: row["iou"]},
            }
        )
    for stale in set(out.glob("[0-9]*.png")) - {out / entry["file"] for entry in entries}:
        stale.unlink()
    write_json(out / "overlays.json", entries)
    return entries


def picture(image: Image.Image, chosen: Chosen) -> Image.Image:
    """The four panels under the phrase, each with its caption."""
    row = chosen.refined
    height, width = row["height"], row["width"]
    masks = [
        (None, _TRUTH_COLOUR, "image"),
        (row["rle_truth"], _TRUTH_COLOUR, "ground truth"),
        (chosen.coarse["rle"], _MASK_COLOUR, f"coarse mask, IoU {100 * chosen.coarse['iou']:.1f}"),
        (row["rle"], _MASK_COLOUR, f"refined mask, IoU {100 * row['iou']:.1f}"),
    ]
    scale = PANEL / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    sheet = Image.new("RGB", sheet_size(height, width), _PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=13)
    pen.text((GAP, 3), _fitted(row["text"], pen, font, sheet.width - 2 * GAP), fill=_INK, font=font)
    for number, (rle, colour, caption) in enumerate(masks):
        panel = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
        if rle is not None:
            panel = _outlined(panel, decode_rle(rle, height, width), colour)
        left = GAP + number * (PANEL + GAP)
        sheet.paste(panel, (left + (PANEL - size[0]) // 2, LINE))
        pen.text((left, LINE + size[1] + 3), caption, fill=_INK, font=font)
    return sheet


def sheet_size(height: int, width: int) -> tuple[int, int]:
    """Width and height in pixels of the picture of an image (height, width)."""
    panel_height = max(1, round(height * PANEL / max(height, width)))
    return GAP + 4 * (PANEL + GAP), panel_height + 2 * LINE


def _outlined(panel: Image.Image, mask: np.ndarray, colour: tuple[int, int, int]) -> Image.Image:
    """The picture inside the mask as it is, grey outside, and a line around: visible on every colour."""
    inside = Image.fromarray(mask.astype(np.uint8) * 255).resize(panel.size, Image.Resampling.NEAREST)
    faded = Image.blend(panel.convert("L").convert("RGB"), Image.new("RGB", panel.size, _PAPER), 0.5)
    shown = Image.composite(panel, faded, inside)
    line = ImageChops.subtract(
        inside.filter(ImageFilter.MaxFilter(3)), inside.filter(ImageFilter.MinFilter(3))
    )
    return Image.composite(Image.new("RGB", panel.size, colour), shown, line)


def _fitted(
    text: str, pen: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> str:
    """The text on one line, cut with an ellipsis where it is too long."""
    text = " ".join(text.split())
    if pen.textlength(text, font=font) <= width:
        return text
    while text and pen.textlength(text + "…", font=font) > width:
        text = text[:-1]
    return text + "…"
