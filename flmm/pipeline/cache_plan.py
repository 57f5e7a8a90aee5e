"""What the attention cache takes by `flmm plan`: bytes per phrase by column, and what each setting would take."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from flmm.params import Extract, Params
from flmm.pipeline.costs import Shape
from flmm.sections import AllOrSome

HIDDEN_TOKENS = 3  # of a phrase
REST = 600  # bytes of a row's words, numbers and mask
_BYTES = {"log8": 1, "float16": 2}
_SCALE = 4  # bytes, one per map and per hidden state
# What `flmm plan` compares with the values of params.yaml: attention heads and hidden layers that are kept.
SETTINGS: tuple[tuple[AllOrSome, AllOrSome], ...] = (("all", "all"), (256, "all"), (128, 8), (64, 8), (64, 4))


@dataclass(frozen=True)
class Columns:
    """Bytes of one phrase in the cache."""

    attention: int
    hidden: int
    rest: int = REST

    @property
    def total(self) -> int:
        """Of all columns."""
        return self.attention + self.hidden + self.rest


@dataclass(frozen=True)
class Load:
    """What one backbone has to say: its shape, and phrases of its training and of its evaluation parts."""

    name: str
    shape: Shape
    training: int
    evaluation: int


def phrase_columns(shape: Shape, extract: Extract) -> Columns:
    """Bytes per phrase with the values of ``extract``; not counted: names and run lengths."""
    heads, layers = kept(extract.heads, shape.layers * shape.heads), kept(extract.layers, shape.layers)
    attention = heads * (shape.image_tokens * _BYTES[extract.attention] + _SCALE * len(shape.cells))
    hidden = HIDDEN_TOKENS * layers * (shape.width * _BYTES[extract.hidden] + _SCALE)
    return Columns(attention, hidden)


def kept(wanted: AllOrSome, there: int) -> int:
    """How many of ``there`` are kept."""
    return there if wanted == "all" else min(wanted, there)


def disk(loads: Sequence[Load], extract: Extract) -> tuple[int, int]:
    """Bytes of all backbones' attention that are written, and the most of them that lie there at one time.

    That is everything where training shards are kept, else all evaluation parts and the largest training's.
    """
    each = [(phrase_columns(load.shape, extract).total, load) for load in loads]
    training = [size * load.training for size, load in each]
    evaluation = sum(size * load.evaluation for size, load in each)
    total = sum(training) + evaluation
    return total, total if extract.keep_training_maps else evaluation + max(training, default=0)


def show(params: Params, loads: Sequence[Load], console: Console, size: Callable[[float], str]) -> None:
    """Print both tables, of params.yaml's values and of others; ``size`` puts bytes into words."""
    extract = params.extract
    table = Table("a phrase of", "attention", "hidden states", "rest", "together", "of float16 and all")
    for load in loads:
        columns, whole = phrase_columns(load.shape, extract), phrase_columns(load.shape, _whole(extract))
        cells = (columns.attention, columns.hidden, columns.rest, columns.total)
        table.add_row(load.name, *map(size, cells), f"1 / {whole.total / columns.total:.1f}")
    console.print(table)
    other = Table(
        "extract.heads", "extract.layers", "keep_training_maps", "written in all", "at one time, at most"
    )
    for title, setting in _settings(extract):
        total, most = disk(loads, setting)
        values = (setting.heads, setting.layers, setting.keep_training_maps)
        other.add_row(*(f"{value}".lower() + title * (not place) for place, value in enumerate(values)),
                      size(total), size(most))  # fmt: skip
    console.print(other)


def _settings(extract: Extract) -> list[tuple[str, Extract]]:
    """The present values and others, each with a mark."""
    found = [
        extract.model_copy(update={"heads": heads, "layers": layers, "keep_training_maps": keeps})
        for heads, layers in dict.fromkeys([(extract.heads, extract.layers), *SETTINGS])
        for keeps in (True, False)
    ]
    return [(" (now)" if each == extract else "", each) for each in found]


def _whole(extract: Extract) -> Extract:
    """All heads and layers in two bytes a value: what the one-byte codec and a selection save is told against it."""
    return extract.model_copy(
        update={"heads": "all", "layers": "all", "attention": "float16", "hidden": "float16"}
    )
