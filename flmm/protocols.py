"""From samples to the answers that a frozen LMM is made to speak: the protocols ``paper`` and ``standard``.

``paper`` follows the authors' scripts (their ``refcoco_eval``/``png`` datasets): all expressions of an image are one
answer, "a. b. c.", each object by its first sentence; PNG speaks the whole narrative. ``standard`` is what LAVT and
LISA report: every sentence is an answer of its own; in a narrative only nouns are phrases. Training speaks the
``paper`` answers with one random sentence per object and draw (the authors draw once, for all epochs).
"""

import hashlib
import random
from dataclasses import dataclass
from typing import Literal

from flmm.data.sample import Piece, Sample

Protocol = Literal["paper", "standard", "train"]

GROUNDING_PROMPT = "Please give me a description of the image."


@dataclass(frozen=True)
class Answer:
    """One teacher-forced answer: the pieces' token ids are concatenated.

    ``SEPARATOR`` pieces stand for the last id of the encoded full stop, which belongs to no phrase.
    """

    answer_id: str
    pieces: tuple[Piece, ...]


SEPARATOR = Piece(".", -1)


def answers(sample: Sample, protocol: Protocol, *, draw: int = 0, seed: int = 0) -> list[Answer]:
    """The answers of one sample under a protocol; ``draw`` and ``seed`` choose the sentences of ``train``."""
    if sample.narrative:
        return [_narrative(sample, nouns_only=protocol == "standard")]
    if protocol == "standard":
        return [
            Answer(f"{sample.sample_id}/{target.target_id}/{number}", (Piece(sentence, index), SEPARATOR))
            for index, target in enumerate(sample.targets)
            for number, sentence in enumerate(target.sentences)
        ]
    chosen = [target.sentences[0] for target in sample.targets]
    if protocol == "train":
        # A generator per sample: the draw of one sample does not depend on which others are in the file.
        digest = hashlib.sha256(f"{seed}/{draw}/{sample.sample_id}".encode()).digest()
        generator = random.Random(digest)
        chosen = [generator.choice(target.sentences) for target in sample.targets]
    spoken = [piece for index, sentence in enumerate(chosen) for piece in (Piece(sentence, index), SEPARATOR)]
    return [Answer(f"{sample.sample_id}/{protocol}/{draw}", tuple(spoken))]


def training_answers(sample: Sample, draws: int, seed: int) -> list[tuple[Answer, int]]:
    """What a training speaks of a sample in one pass over its set, each answer with its draw; at least one phrase each.

    A narrative has one wording: every further draw would repeat it.
    """
    found = [
        (answer, draw)
        for draw in range(1 if sample.narrative else draws)
        for answer in answers(sample, "train", draw=draw, seed=seed)
    ]
    return [(answer, draw) for answer, draw in found if any(piece.target >= 0 for piece in answer.pieces)]


def _narrative(sample: Sample, *, nouns_only: bool) -> Answer:
    """PNG speaks its narrative whole. Both protocols share the answer where all of its phrases are nouns."""
    spoken = sample.narrative
    pieces = tuple(
        Piece(piece.text, -1)
        if nouns_only and piece.target >= 0 and not sample.targets[piece.target].is_noun
        else piece
        for piece in spoken
    )
    name = "narrative" if pieces == spoken else "narrative/nouns"
    return Answer(f"{sample.sample_id}/{name}", pieces)
