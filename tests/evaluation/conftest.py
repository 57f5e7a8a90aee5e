"""A small cache on disk and fake heads that know, or do not know, where the targets are."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flmm.backbones.base import Grid, HeadInput, Observation
from flmm.cache.reader import read_answers
from flmm.cache.schema import Formats, Manifest
from flmm.cache.writer import phrase_rows, write_shard
from flmm.data.geometry import View
from flmm.data.sample import Piece, Sample, Target, decode_rle, encode_rle
from flmm.heads.model import HeadOutput
from flmm.protocols import Answer, Protocol, answers

HEIGHT, WIDTH = 24, 32
GRID = Grid("image", 6, 6, View(48, 48, 6, 0, 36, 48))
CHANNELS, LAYERS, HIDDEN = 6, 3, 10
# What every grounding evaluation reports: trained, control, baseline, each coarse and refined.
HEADS = {name + refined for name in ("unet", "untrained", "localization") for refined in ("", "+sam")}
FORMATS = Formats(attention="log8", hidden="log8")
# A head does not see the ground truth; the fake ones find it here, by the attention that it goes with.
TRUTHS: dict[bytes, list[np.ndarray]] = {}


def make_sample(index: int, *, dataset: str = "refcoco", split: str = "val", targets: int = 2) -> Sample:
    """Targets are disjoint boxes; PNG samples speak a narrative and end with a plural stuff target."""
    made = []
    for number in range(targets):
        mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
        mask[2 + index % 5 : 12 + index % 5, 2 + 14 * number : 12 + 14 * number] = True
        plural = dataset == "png" and number == targets - 1
        sentences = (f"object {number}",) if dataset == "png" else (f"object {number}", f"the {number}. box")
        made.append(Target(f"{index}-{number}", sentences, encode_rle(mask), "box", not plural, plural))
    narrative = tuple(
        piece
        for number in range(targets)
        for piece in (Piece("there is", -1), Piece(f"object {number}", number))
    )
    name = f"COCO_train2014_{index:012d}.jpg"
    return Sample(
        f"{dataset}-{split}-{index}", dataset, split, index, "train2014", name, HEIGHT, WIDTH,
        tuple(made), narrative if dataset == "png" else (),
    )  # fmt: skip


def make_question(index: int, benchmark: str) -> Sample:
    """A question about one box; ReasonSeg's has a strip that does not count."""
    target = make_sample(index, targets=1).targets[0]
    strip = np.zeros((HEIGHT, WIDTH), dtype=bool)
    strip[-4:] = True
    ignore = encode_rle(strip) if benchmark == "reasonseg" else ""
    return Sample(
        f"{benchmark}-val-{index}", benchmark, "val", index, "train2014", f"COCO_train2014_{index:012d}.jpg",
        HEIGHT, WIDTH, (replace(target, ignore=ignore, is_box=benchmark == "viscot"),), (), "Which is it?",
    )  # fmt: skip


def observe(answer: Answer) -> Observation:
    """Random attention and hidden states of an answer's phrases, other ones for every answer."""
    generator = torch.Generator().manual_seed(zlib.crc32(answer.answer_id.encode()))
    pieces = [piece for piece in answer.pieces if piece.target >= 0]
    return Observation(
        answer_id=answer.answer_id,
        targets=tuple(piece.target for piece in pieces),
        texts=tuple(piece.text for piece in pieces),
        attention=(torch.rand(len(pieces), CHANNELS, GRID.rows, GRID.columns, generator=generator) ** 4,),
        hidden=tuple(torch.randn(LAYERS, 2, HIDDEN, generator=generator) for _ in pieces),
        grids=(GRID,),
    )


def write_part(folder: Path, part: str, samples: list[Sample], *, backbone: str = "shapes-llava") -> Manifest:
    """One part's shard and manifest, as extract writes them."""
    protocols: list[tuple[str, Protocol]] = [("paper", "paper"), ("standard", "standard")]
    if samples and samples[0].narrative:
        protocols = [("both", "paper")]
    rows = [
        phrase_rows(sample, answer, observe(answer), label, 0, FORMATS)
        for sample in samples
        for label, protocol in protocols
        for answer in answers(sample, protocol)
    ]
    folder.mkdir(parents=True)
    shard = write_shard(folder / "shard-00000.parquet", rows)
    manifest = Manifest(
        key="0" * 12, backbone=backbone, part=part, revision=None, processor_hash="", params={},
        formats=FORMATS,
        channels=CHANNELS, shards=(shard,), folder=folder,
    )  # fmt: skip
    manifest.write()
    for answer in read_answers(manifest):
        TRUTHS[_fingerprint(answer.head_input())] = [
            decode_rle(phrase.rle, answer.height, answer.width) for phrase in answer.phrases
        ]
    return manifest


def _fingerprint(said: HeadInput) -> bytes:
    return said.attention[-1].numpy().tobytes()


@dataclass
class FakeHead:
    """Logits from what ``mask`` makes of each phrase's ground truth (h, w) bool, known from ``TRUTHS``."""

    mask: Callable[[np.ndarray], np.ndarray]
    firmness: float = 8.0

    def __call__(
        self, inputs: Sequence[HeadInput], image_embeddings: Sequence[torch.Tensor]
    ) -> list[HeadOutput]:
        return [self.output(said) for said in inputs]

    def output(self, said: HeadInput) -> HeadOutput:
        truths = TRUTHS[_fingerprint(said)]
        masks = torch.from_numpy(np.stack([self.mask(truth) for truth in truths])).float()
        logits = self.firmness * (2 * masks - 1)
        return HeadOutput(coarse=logits, refined=logits)


class NoEmbeddings:
    """The fake heads look at no image."""

    def lookup(self, archive: str, image: str) -> torch.Tensor:
        return torch.zeros(1, 1, 1, 1)


PERFECT = FakeHead(lambda truth: truth)
EMPTY = FakeHead(lambda truth: np.zeros_like(truth))
SHIFTED = FakeHead(lambda truth: np.roll(truth, 3, axis=1))
EVERYTHING = FakeHead(lambda truth: np.ones_like(truth))


@pytest.fixture
def refcoco(tmp_path: Path) -> Manifest:
    return write_part(tmp_path / "refcoco-val", "refcoco-val", [make_sample(index) for index in range(6)])


@pytest.fixture
def png(tmp_path: Path) -> Manifest:
    samples = [make_sample(index, dataset="png") for index in range(6)]
    return write_part(tmp_path / "png-val", "png-val", samples)
