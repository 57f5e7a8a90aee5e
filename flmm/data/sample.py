"""The sample: one image with its grounding targets, the same for RefCOCO, PNG, ReasonSeg and Visual-CoT.

``prepare`` writes samples, one Parquet file per dataset and split; ``extract`` turns them into answers
(``flmm.protocols``) that a frozen LMM is made to speak.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pycocotools import mask as coco_mask

from flmm.files import read_table, write_table


@dataclass(frozen=True)
class Target:
    """One set of pixels that words refer to.

    ``rle`` holds COCO compressed run lengths (``counts``) at the image's own size; a plural target is the
    union of its segments. ``sentences``: a referred object's expressions (RES), the one phrase (PNG), the queries
    as upstream writes them (ReasonSeg) or the expected answer (Visual-CoT). ``ignore``: pixels that do not count, as
    run lengths; empty for none. ``is_box``: only the box around the pixels is annotated, and ``rle`` holds it.
    ``is_noun``: PNG ties some segments to other words ("it", "on"); protocol ``standard`` does not count them.
    """

    target_id: str
    sentences: tuple[str, ...]
    rle: str
    category: str
    is_thing: bool
    is_plural: bool
    ignore: str = ""
    is_box: bool = False
    is_noun: bool = True

    def mask(self, height: int, width: int) -> np.ndarray:
        """The mask as (height, width) bool."""
        return decode_rle(self.rle, height, width)

    def ignored(self, height: int, width: int) -> np.ndarray:
        """The pixels that do not count as (height, width) bool."""
        return (
            decode_rle(self.ignore, height, width) if self.ignore else np.zeros((height, width), dtype=bool)
        )


@dataclass(frozen=True)
class Piece:
    """Text that is tokenised alone, without special tokens: part of a narrative, or of an answer made of expressions.

    ``target`` is an index into the sample's targets, or -1 for words that mean none of them.
    """

    text: str
    target: int


@dataclass(frozen=True)
class Sample:
    """One image, its targets, and for PNG the narrative that mentions them (else ``narrative`` is empty).

    ``question``: what the LMM has to answer before its answer's words are grounded, with one target (ReasonSeg,
    Visual-CoT); else empty.

    ``archive`` and ``image`` name the picture: archive ``train2014``, member file name
    ``COCO_train2014_000000000123.jpg`` (see ``flmm.data.images``). Height and width in pixels.
    """

    sample_id: str
    dataset: str
    split: str
    image_id: int
    archive: str
    image: str
    height: int
    width: int
    targets: tuple[Target, ...]
    narrative: tuple[Piece, ...]
    question: str = ""


SAMPLE_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("dataset", pa.string()),
        ("split", pa.string()),
        ("image_id", pa.int64()),
        ("archive", pa.string()),
        ("image", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        (
            "targets",
            pa.list_(
                pa.struct(
                    [
                        ("target_id", pa.string()),
                        ("sentences", pa.list_(pa.string())),
                        ("rle", pa.string()),
                        ("category", pa.string()),
                        ("is_thing", pa.bool_()),
                        ("is_plural", pa.bool_()),
                        ("ignore", pa.string()),
                        ("is_box", pa.bool_()),
                        ("is_noun", pa.bool_()),
                    ]
                )
            ),
        ),
        ("narrative", pa.list_(pa.struct([("text", pa.string()), ("target", pa.int32())]))),
        ("question", pa.string()),
    ]
)


def encode_rle(mask: np.ndarray) -> str:
    """A (height, width) bool mask as COCO compressed run lengths."""
    counts: bytes = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]
    return counts.decode("ascii")


def decode_rle(rle: str, height: int, width: int) -> np.ndarray:
    """COCO compressed run lengths as a (height, width) bool mask."""
    decoded: np.ndarray = coco_mask.decode({"counts": rle.encode("ascii"), "size": [height, width]})
    return decoded.astype(bool)


def write_samples(path: Path, samples: list[Sample]) -> None:
    """Write samples as one Parquet file with ``SAMPLE_SCHEMA``."""
    write_table(path, pa.Table.from_pylist([asdict(sample) for sample in samples], schema=SAMPLE_SCHEMA))


def read_samples(path: Path) -> list[Sample]:
    """Read what ``write_samples`` wrote.

    Raises:
        InputError: the file is absent or unreadable.
    """
    return [_sample(row) for row in read_table(path).to_pylist()]


def _sample(row: dict[str, Any]) -> Sample:
    targets = tuple(
        Target(**{**target, "sentences": tuple(target["sentences"])}) for target in row["targets"]
    )
    narrative = tuple(Piece(**piece) for piece in row["narrative"])
    return Sample(**{**row, "targets": targets, "narrative": narrative})
