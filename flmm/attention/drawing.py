"""Pictures of attention. A head is called layer.head, both counted from 0.

Figures are laid out in inches, so that no caption meets another whatever the number of heads and the picture's shape.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from flmm.attention.clusters import Cluster
from flmm.attention.phrases import PhraseMaps

ROWS = COLUMNS = 12  # of the largest grid of maps that can still be read
_CELL, _BIG, _GAP, _CAPTION, _TOP = 1.1, 2.2, 0.12, 0.24, 0.95  # inches
_MARK = "#d4006a"


def chosen_heads(agreement: np.ndarray) -> list[list[tuple[int, int]]]:
    """The rows of a grid of maps: all heads by number, or of a big model those that say most.

    Beyond ``ROWS`` layers, those with the best single heads, in order of depth; beyond ``COLUMNS`` heads, each
    layer's best, best first. ``agreement`` (L, H). Each entry: (layer, head).
    """
    layers, heads = agreement.shape
    rows = np.arange(layers)
    if layers > ROWS:
        rows = np.sort(np.argsort(-agreement.max(axis=1), kind="stable")[:ROWS])
    every = np.arange(heads)
    return [
        [
            (int(row), int(head))
            for head in (every if heads <= COLUMNS else np.argsort(-agreement[row], kind="stable")[:COLUMNS])
        ]
        for row in rows
    ]


def phrase_figure(picture: Image.Image, found: PhraseMaps) -> Figure:
    """Left the picture with the mask, and the mean map; right the maps by layer and head, the strongest framed."""
    rows = chosen_heads(found.agreement)
    wide, high = _size(picture, _CELL)
    big_wide, big_high = _size(picture, _BIG)
    left, columns = _BIG + 3 * _GAP, len(rows[0])
    below = 2 * (big_high + _CAPTION + _GAP), len(rows) * (high + _CAPTION + _GAP)
    # The title needs its width even where there are few heads.
    sheet = _Sheet(max(left + columns * (wide + _GAP) + _GAP, 7.5), _TOP + max(below) + _GAP)
    sheet.title(f"“{_short(found.text)}”", _explained(found, rows))
    axes = sheet.axes(_GAP, _TOP, big_wide, big_high, "mask")
    axes.imshow(_masked(picture, found.mask))
    axes = sheet.axes(_GAP, _TOP + big_high + _CAPTION + _GAP, big_wide, big_high, "mean of all maps")
    _overlay(axes, picture, found.maps.mean(axis=(0, 1)))
    strongest = found.strongest()
    for row, some in enumerate(rows):
        for column, (layer, head) in enumerate(some):
            at = left + column * (wide + _GAP), _TOP + row * (high + _CAPTION + _GAP)
            caption = f"{layer}.{head}: {found.agreement[layer, head]:.2f}"
            axes = sheet.axes(*at, wide, high, caption, marked=(layer, head) in strongest)
            _overlay(axes, picture, found.maps[layer, head])
    return sheet.figure


def heat_map(ious: np.ndarray, title: str) -> Figure:
    """Each head's IoU (L, H), 0 to 1, as a table of colours; numbers in the cells where there is room for them."""
    layers, heads = ious.shape
    cell = 0.62 if heads <= 16 else 0.3
    figure = Figure(
        figsize=(max(heads * cell + 2.4, 5), max(layers * cell + 1.4, 3)), dpi=110, layout="constrained"
    )
    axes = figure.subplots()
    drawn = axes.imshow(ious, cmap="viridis", vmin=0, aspect="equal")
    axes.set(title=title, xlabel="head", ylabel="layer")
    axes.set_xticks(range(0, heads, 1 if heads <= 16 else 4))
    axes.set_yticks(range(0, layers, 1 if layers <= 16 else 4))
    figure.colorbar(drawn, ax=axes, label="mean IoU of the head alone")
    if cell > 0.5:
        for (layer, head), iou in np.ndenumerate(ious):
            colour = "black" if iou > 0.6 * ious.max() else "white"
            axes.text(head, layer, f"{iou:.2f}", ha="center", va="center", color=colour, fontsize=8)
    return figure


def cluster_figure(picture: Image.Image, found: Sequence[Cluster]) -> Figure:
    """The mean map of each cluster over the picture, with how many heads it has, and their mean IoU."""
    wide, high = _size(picture, _BIG)
    step = max(wide, 2.0) + 2 * _GAP
    sheet = _Sheet(len(found) * step + _GAP, 3 * _CAPTION + high + _GAP)
    for number, cluster in enumerate(found):
        size = len(cluster.heads)
        caption = f"{size} {'head' if size == 1 else 'heads'}, mean IoU {cluster.iou:.2f}\n{_names(cluster)}"
        axes = sheet.axes(_GAP + number * step, 2 * _CAPTION, wide, high, caption)
        _overlay(axes, picture, cluster.mean)
    return sheet.figure


class _Sheet:
    """A figure on which things have a place in inches, from the top left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), dpi=110, facecolor="white")

    def title(self, text: str, below: str) -> None:
        """Two lines at the top; the second small."""
        for line, drop, size in ((text, 0.1, 12), (below, 0.34, 7.5)):
            self.figure.text(
                _GAP / self.width, 1 - drop / self.height, line, fontsize=size, va="top", parse_math=False
            )

    def axes(
        self, x: float, y: float, width: float, height: float, caption: str, *, marked: bool = False
    ) -> Axes:
        """Axes without ticks, the caption above them."""
        place = (x / self.width, 1 - (y + height) / self.height, width / self.width, height / self.height)
        axes = self.figure.add_axes(place)
        axes.set(xticks=[], yticks=[])
        axes.set_title(
            caption, fontsize=7.5, pad=3, loc="left", color=_MARK if marked else "black", parse_math=False
        )
        for side in axes.spines.values():
            side.set(color=_MARK if marked else "#888888", linewidth=3 if marked else 0.5)
        return axes


def _size(picture: Image.Image, side: float) -> tuple[float, float]:
    """Width and height in inches; captions need some width, and a strip is cut off at an eighth."""
    longer = max(picture.size)
    return max(picture.width / longer, 0.55) * side, max(picture.height / longer, 0.2) * side


def _overlay(axes: Axes, picture: Image.Image, attention: np.ndarray) -> None:
    """The map (h, w) in colours over the picture in grey."""
    extent = (0, picture.width, picture.height, 0)
    axes.imshow(_small(picture).convert("L"), cmap="gray", vmin=0, vmax=255, extent=extent, aspect="auto")
    axes.imshow(attention, cmap="inferno", alpha=0.7, extent=extent, aspect="auto", interpolation="bilinear")


def _small(picture: Image.Image) -> Image.Image:
    """Not more pixels than a panel shows: there may be 144 of them."""
    small = picture.copy()
    small.thumbnail((256, 256))
    return small


def _masked(picture: Image.Image, mask: np.ndarray) -> Image.Image:
    """The picture inside the mask as it is, faded outside."""
    faded = Image.blend(picture.convert("L").convert("RGB"), Image.new("RGB", picture.size, "white"), 0.6)
    return Image.composite(picture, faded, Image.fromarray(mask.astype(np.uint8) * 255))


def _explained(found: PhraseMaps, rows: list[list[tuple[int, int]]]) -> str:
    layers, heads = found.agreement.shape
    what = f"Above each map: layer.head: IoU of its region with the mask; framed: the best {len(found.strongest())}."
    shown = []
    if len(rows) < layers:
        shown.append(f"the best {len(rows)} of {layers} layers")
    if len(rows[0]) < heads:
        shown.append(f"the best {len(rows[0])} of {heads} heads in each, best first")
    return "\n".join([what, *([f"Shown: {'; '.join(shown)}."] if shown else [])])


def _names(cluster: Cluster) -> str:
    names = [f"{layer}.{head}" for layer, head in cluster.heads]
    return ", ".join(names) if len(names) <= 6 else ", ".join(names[:5]) + ", …"


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else text[:59] + "…"
