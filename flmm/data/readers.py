"""What every grounding reader offers, and the counted reasons for which it leaves something out."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Set
from dataclasses import dataclass

from flmm.data.sample import Sample

# Keys of ``skipped`` in summary.json: nothing is left out without one of them being counted.
EVALUATION_IMAGE = "sample: its photograph is an evaluation image"
EXCLUDED = "sample: named in prepare.exclude"
NO_TARGET = "sample: no target left"
ZERO_AREA = "target: mask without pixels"
NO_WORDS = "target: no words"
NOT_A_NOUN = "target: segments on words that are not a noun (counted by paper alone)"
SHARED_ANNOTATION = "sentence: for training, of a ref whose annotation a later ref has too"
NO_QUESTION = "sample: no question"
NOT_A_REGION = "shape: a label that marks no region"
NO_POINTS = "shape: no corners"
SLIVER = "polygon: fewer than three corners"
INVERTED_BOX = "sample: a box with its ends in the wrong order"
BESIDE = "sample: its shapes lie beside the photograph"
NO_PHOTOGRAPH = "file: an annotation without a photograph of its name"
NO_ANNOTATION = "file: a photograph without an annotation of its name"
EMPTY_SENTENCE = "sentence: empty"
NO_CAPTION = "sample: no caption"
UNPAIRED = "sample: its phrases and its masks are not equally many"
BEYOND_FIRST = "sample: beyond the first ones (datasets.<name>.first)"


@dataclass(frozen=True)
class Files:
    """The upstream files of one part, by their names among the suite's sources.

    ``annotations`` are read when the part is prepared, ``pictures`` when its photographs are looked at; some datasets
    need their pictures for both.
    """

    annotations: tuple[str, ...]
    pictures: tuple[str, ...]


class GroundingReader(ABC):
    """One grounding dataset: upstream files in, samples out."""

    on_coco = True  # whether image ids are COCO's, so that another dataset may have the same photographs

    @abstractmethod
    def image_ids(self, split: str) -> list[int]:
        """The photograph of every upstream sample of a split, in upstream order; without COCO's ids their places.

        Raises:
            InputError: the split is unknown or its files are absent or malformed.
        """

    @abstractmethod
    def samples(self, split: str, exclude: Set[int], skipped: Counter[str]) -> Iterator[Sample]:
        """The split's samples in upstream order; photographs in ``exclude`` and unusable ones are counted.

        Raises:
            InputError: a file is absent or malformed, an id has no record (names file and id).
        """
