"""A conversation as a picture: pictures side by side, and under them who said what, phrases in their masks' colours."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from flmm.colours import colour
from flmm.phrases import Span

PANEL = 256  # pixels of a panel's longer side
GAP = 6

_INK, _PAPER, _FAINT = (20, 20, 20), (255, 255, 255), (110, 110, 110)
_LINE, _SIZE = 20, 13  # pixels: height of a line, of a letter
_NAMES = 64  # pixels kept for who speaks
_SHARE = 0.45  # of a phrase's colour behind it


@dataclass(frozen=True)
class Said:
    """What somebody said; ``spans`` are its grounded phrases, the n-th in the n-th colour."""

    who: str
    text: str
    spans: tuple[Span, ...] = ()


def script(panels: Sequence[tuple[Image.Image, str]], said: Sequence[Said]) -> Image.Image:
    """Pictures with their captions in a row, at most ``PANEL`` pixels wide and high each, above the lines."""
    font = ImageFont.load_default(size=_SIZE)
    width = GAP + max(2, len(panels)) * (PANEL + GAP)
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    wrapped = [(each.who, _wrapped(each, pen, font, width - _NAMES - 2 * GAP)) for each in said]
    shown = [(_fitted(picture), caption) for picture, caption in panels]
    high = max(picture.height for picture, _ in shown)
    lines = sum(len(rows) for _, rows in wrapped)
    sheet = Image.new("RGB", (width, high + _LINE + 2 * GAP + lines * _LINE), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, (picture, caption) in enumerate(shown):
        left = GAP + number * (PANEL + GAP)
        sheet.paste(picture, (left + (PANEL - picture.width) // 2, GAP))
        pen.text((left, GAP + high + 2), caption, fill=_FAINT, font=font)
    top = high + _LINE + 2 * GAP
    for who, rows in wrapped:
        pen.text((GAP, top), who, fill=_FAINT, font=font)
        for row in rows:
            _write(pen, font, row, top)
            top += _LINE
    return sheet


# A word, its place in pixels from the left of the text, and the number of its phrase.
_Word = tuple[str, float, int | None]


def _wrapped(
    said: Said, pen: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float
) -> list[list[_Word]]:
    """The words by lines no wider than ``width`` pixels; a word that is wider has a line of its own."""
    rows: list[list[_Word]] = [[]]
    across, at = 0.0, 0
    space = pen.textlength(" ", font=font)
    for line in said.text.split("\n"):
        for word in line.split():
            at = said.text.index(word, at)
            phrase = next((n for n, (start, end) in enumerate(said.spans) if start <= at < end), None)
            at += len(word)
            long = pen.textlength(word, font=font)
            if across and across + long > width:
                rows.append([])
                across = 0.0
            rows[-1].append((word, across, phrase))
            across += long + space
        rows.append([])
        across = 0.0
    return rows[:-1]


def _write(
    pen: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, row: list[_Word], top: int
) -> None:
    for word, across, phrase in row:
        left = GAP + _NAMES + across
        if phrase is not None:
            behind = tuple(round(_SHARE * c + (1 - _SHARE) * 255) for c in colour(phrase))
            pen.rectangle(
                (left - 2, top, left + pen.textlength(word, font=font) + 1, top + _LINE - 3), fill=behind
            )
        pen.text((left, top), word, fill=_INK, font=font)


def _fitted(picture: Image.Image) -> Image.Image:
    scale = PANEL / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.convert("RGB").resize(size, Image.Resampling.BICUBIC)
