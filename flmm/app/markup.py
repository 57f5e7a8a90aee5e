"""The parts of the page as HTML. Whatever a person or a model wrote is escaped here."""

from collections.abc import Sequence
from html import escape

from PIL import Image

from flmm.app.maps import Heads, data_uri, head_picture
from flmm.app.shown import Shown

HINT = "The model's answer appears here. Its phrases are coloured as their masks in the picture."


def talk(turns: Sequence[Shown], question: str | None = None, answer: str = "") -> str:
    """The conversation; ``question`` is the one that is being answered, ``answer`` what was said so far."""
    parts = [
        part
        for number, turn in enumerate(turns)
        for part in (_question(turn.question), _answer(turn, number))
    ]
    if question is not None:
        parts += [_question(question), f'<div class="answer growing" aria-busy="true">{escape(answer)}</div>']
    return f'<div class="talk" role="log">{"".join(parts) or f"<p class=hint>{HINT}</p>"}</div>'


def _question(text: str) -> str:
    return f'<div class="question">{escape(text)}</div>'


def _answer(turn: Shown, number: int) -> str:
    """The text with a button for each phrase; phrases do not overlap and come in the order of the text.

    The buttons are spans because a browser breaks no line inside a button element.
    """
    parts, end = [], 0
    for index, phrase in enumerate(turn.phrases):
        red, green, blue = phrase.colour
        parts.append(escape(turn.text[end : phrase.start]))
        parts.append(
            f'<span role="button" tabindex="0" class="phrase" style="--rgb: {red} {green} {blue}" aria-pressed="false" '
            f'data-turn="{number}" data-phrase="{index}" title="Show its mask">'
            f"{escape(turn.text[phrase.start : phrase.end])}</span>"
        )
        end = phrase.end
    parts.append(escape(turn.text[end:]))
    text = "".join(parts) or "<em>(no words)</em>"
    return f'<div class="answer">{text}</div>'


NO_PHRASE = (
    '<p class="small">Click a phrase of an answer: which attention heads looked at it will be shown here.</p>'
)


def notice(message: str = "") -> str:
    """What went wrong, in a sentence; nothing for an empty one."""
    return f'<div class="notice" role="alert">{escape(message)}</div>' if message else ""


def example_buttons(pictures: Sequence[Image.Image]) -> str:
    """A row of pictures to choose from."""
    buttons = "".join(
        f'<button type="button" data-index="{index}" aria-label="Example {index + 1}">'
        f'<img src="{data_uri(picture, "JPEG")}" alt="Example {index + 1}"></button>'
        for index, picture in enumerate(pictures)
    )
    return f'<div class="examples">{buttons}</div>'


def attention(phrase: str, picture: Image.Image, heads: Heads) -> str:
    """Heat map of all heads and the maps of the strongest."""
    count = heads.shares.shape[1]
    figures = "".join(
        f'<figure><img src="{data_uri(head_picture(picture, heads.maps[layer, head]), "JPEG")}" '
        f'alt="Attention of layer {layer + 1}, head {head + 1}">layer {layer + 1}, head {head + 1}: '
        f"{heads.shares[layer, head]:.0%}</figure>"
        for layer, head in heads.strongest()
    )
    return (
        f'<div class="heads" style="--heads: {count}"><div><h3>All heads, while “{escape(phrase)}” was said</h3>'
        f'<div class="grid">{_heat_map(heads)}</div><p class="hint">A row for each layer, a column for '
        f"each head: how much of the attention that it pays to the picture lies inside the mask. The mask "
        f"covers {heads.area:.0%} of the "
        f"picture, so a head without a preference has {heads.area:.0%}.</p></div><div><h3>The strongest heads</h3>"
        f'<div class="maps">{figures}</div></div></div>'
    )


def _heat_map(heads: Heads) -> str:
    layers, count = heads.shares.shape
    written = count <= 8  # beyond that there is no room for figures
    cells = []
    for layer in range(layers):
        cells.append(f"<b>{layer + 1}</b>")
        for head in range(count):
            share = float(heads.shares[layer, head])
            shown = f"{share:.0%}" if written else ""
            ink = "#fff" if share > 0.55 else "#1f2937"
            cells.append(
                f'<i style="background: rgb({245 - 205 * share:.0f} {243 - 165 * share:.0f} {252 - 60 * share:.0f}); '
                f'color: {ink}" title="layer {layer + 1}, head {head + 1}: {share:.0%}">{shown}</i>'
            )
    return "".join(cells)
