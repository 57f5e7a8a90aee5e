"""One instance of a step of the pipeline."""

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Step:
    """One instance of a step; ``item`` is a source, a part, an archive, a benchmark or a seed, as its name asks."""

    name: str
    backbone: str = ""
    item: str = ""

    def __str__(self) -> str:
        return " ".join(word for word in (self.name, self.backbone, self.item) if word)


GENERATE = Step("generate")
REPORT, TRACK = Step("report"), Step("track")

# The reader whose samples are narratives.
NARRATIVES = "png"
# Steps whose files are big and can be made again: nobody asks for them unless a step that runs reads them.
VOLATILE = frozenset({"generate", "download"})
