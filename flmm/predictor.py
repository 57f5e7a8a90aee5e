"""From a picture and words to masks in two calls: what the pipeline trained, for everybody's own pictures.

    grounder = flmm.Grounder.load("shapes-llava")
    found = grounder.ground("picture.png", ["the red circle", "the blue star"])

Legend: P phrases, h w the picture's height and width in pixels.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from PIL import Image

from flmm import backbones, shipped
from flmm.backbones.base import Backbone, HeadInput, Observation
from flmm.contract.facts import Facts, facts
from flmm.data.depth import eight_bits
from flmm.data.images import DECODE_ERRORS, decode_image
from flmm.device import resolve_device
from flmm.errors import InputError, StepError
from flmm.heads.batches import together
from flmm.heads.checkpoint import HeadConfig, check_fits, load_head, read_config
from flmm.heads.model import HeadOutput, MaskHead
from flmm.heads.segmenter import Segmenter, load_segmenter
from flmm.keywords import KeywordSelector
from flmm.params import BackboneEntry
from flmm.phrases import Span
from flmm.protocols import GROUNDING_PROMPT, SEPARATOR, Answer, Piece
from flmm.said import ends_of, phrases_of

if TYPE_CHECKING:
    from flmm.conversation import Conversation

Picture = Image.Image | str | Path


@dataclass(frozen=True)
class Grounded:
    """Masks of some phrases in one picture, in the order of ``phrases``.

    ``masks`` (P, h, w) bool; ``coarse`` the same before the segmenter refined them. ``boxes`` (P, 4) int: x0, y0, x1,
    y1 around each mask, the last two exclusive; zeros around an empty one. ``scores`` (P,) float32: the mean
    probability of the pixels inside each mask, from 0.5 (unsure) to 1; 0 of an empty one.
    """

    phrases: tuple[str, ...]
    masks: np.ndarray
    coarse: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.phrases)


@dataclass(frozen=True)
class Answered:
    """What the model said, and where in the picture the phrases of its answer are.

    ``spans``: per phrase its first character in ``text`` and one past its last (``flmm.phrases``).
    """

    text: str
    spans: tuple[Span, ...]
    grounded: Grounded


class Grounder:
    """A frozen LMM, a trained head and a segmenter at work together."""

    def __init__(
        self,
        backbone: Backbone,
        head: MaskHead,
        segmenter: Segmenter,
        keywords: KeywordSelector | None = None,
    ) -> None:
        """``keywords`` says which words of an answer are grounded; without it the rule of ``flmm.phrases`` does."""
        self.backbone, self.head, self.segmenter, self.keywords = backbone, head, segmenter, keywords
        self._seen: tuple[bytes, torch.Tensor] | None = None

    @classmethod
    def load(
        cls,
        head: str | Path,
        *,
        model: str | Path | None = None,
        family: str | None = None,
        revision: str | None = None,
        trust_remote_code: bool = False,
        segmenter: str | Path | None = None,
        dtype: str = "float32",
        device: str = "auto",
    ) -> Self:
        """Load a head with the model and the segmenter that it was trained with.

        ``head``: the name of a model that ships with the package (``shapes-llava``), a head's file, or the folder of
        its ``head.safetensors``, such as ``results/<suite>/<backbone>/train``. ``model``: a directory, or a hub name
        with its ``revision``. ``family``: a file of ``flmm/backbones``, where the directory's ``config.json`` does not
        tell it. ``segmenter``: a directory or a file. What ships with the package need not be given. ``dtype``: of
        the LMM, float32, bfloat16 or float16. ``device``: auto, cpu or cuda. The keyword selector is taken from
        beside the head (``flmm.shipped.keywords_file``), where there is one.

        Raises:
            InputError: something is absent, damaged, or does not fit the rest.
        """
        path = shipped.head_file(head)
        config = read_config(path)
        entry = shipped.model_entry(path, config, model, family, revision, trust_remote_code)
        keywords = _keywords(path, config)
        known = facts(entry)
        if known is not None:  # a hub model that is not on this machine yet is checked when it is
            _check(path, config, entry, known)
        place = resolve_device(device)
        loaded = load_segmenter(shipped.segmenter_entry(path, config, segmenter), Path()).to(place)
        made = load_head(path, loaded).to(place).eval()
        backbone = backbones.load(entry, dtype=dtype, device=device)
        if known is None and (known := facts(entry)) is not None:
            _check(path, config, entry, known)
        return cls(backbone, made, loaded, keywords)

    def ground(self, image: Picture, phrases: Sequence[str]) -> Grounded:
        """The pixels that each phrase means, as if it had been said alone about the picture.

        ``image``: a path, whose EXIF orientation is followed, or a PIL image, which is taken as it is.

        Raises:
            InputError: not a picture; no phrase, or one without words.
            StepError: the masks are not finite.
        """
        picture, texts, inputs = self.look(image, phrases)
        return self.grounded(picture, texts, self.masks(picture, inputs))

    def look(
        self, image: Picture, phrases: Sequence[str]
    ) -> tuple[Image.Image, tuple[str, ...], list[HeadInput]]:
        """The RGB picture, the phrases, and what the LMM's attention says of each: a head's input of one phrase.

        Raises:
            InputError: as ``ground``.
        """
        texts = _checked(phrases)
        picture = read_picture(image)
        spoken = [
            Answer(f"phrase {number}", (Piece(text, 0), SEPARATOR))
            for number, text in enumerate(texts, start=1)
        ]
        seen = self.backbone.observe(picture, spoken, GROUNDING_PROMPT)
        size = (picture.height, picture.width)
        return picture, texts, [observation.head_input(size) for observation in seen]

    def converse(self, image: Picture) -> "Conversation":
        """A conversation of several turns about one picture (``flmm.conversation``).

        Raises:
            InputError: not a picture.
        """
        from flmm.conversation import Conversation

        return Conversation(self, read_picture(image))

    def answer(self, image: Picture, question: str, *, max_new_tokens: int = 64) -> Answered:
        """Answer a question, greedily, and ground the phrases of the answer.

        The keyword selector says which those are, or without one the rule of ``flmm.phrases``.

        The words are those that the model gives without a head. A phrase whose tokens were not read, the last of an
        answer that ``max_new_tokens`` cut off, is left out.

        Raises:
            InputError: not a picture, or no question.
            StepError: the masks are not finite.
        """
        if not isinstance(question, str) or not question.strip():
            raise InputError("question: expected a text that asks something")
        picture = read_picture(image)
        said = self.backbone.generate(picture, question, max_new_tokens=max_new_tokens, tap=True)
        text = self.backbone.decode(said.tokens)
        ends = ends_of(said.tokens, self.backbone.decode)
        spans, inputs = self.phrases_of(text, ends, said.observation, (picture.height, picture.width))
        outputs = self.masks(picture, inputs)
        return Answered(text, spans, self.grounded(picture, tuple(text[a:b] for a, b in spans), outputs))

    @torch.inference_mode()
    def masks(self, image: Image.Image, said: Sequence[HeadInput]) -> list[HeadOutput]:
        """The head's logits of several inputs about one RGB picture, each seen alone."""
        return [
            output
            for some in together(said, len)
            for output in self.head(some, [self._embedding(image)] * len(some))
        ]

    def phrases_of(
        self, text: str, ends: Sequence[int], observation: Observation | None, size: tuple[int, int]
    ) -> tuple[tuple[Span, ...], list[HeadInput]]:
        """The phrases of an answer whose tokens were read, and a head's input of each (``flmm.said``)."""
        return phrases_of(self.keywords, text, ends, observation, size)

    @staticmethod
    def grounded(picture: Image.Image, texts: tuple[str, ...], outputs: Sequence[HeadOutput]) -> Grounded:
        """The masks of phrases, from a head's logits of each.

        Raises:
            StepError: they are not finite.
        """
        size = (picture.height, picture.width)
        if not outputs:
            nothing = np.zeros((0, *size), dtype=bool)
            return Grounded(texts, nothing, nothing, np.zeros((0, 4), np.int64), np.zeros(0, np.float32))
        refined = torch.cat([output.probabilities(size)[1] for output in outputs]).cpu()
        coarse = torch.cat([output.probabilities(size)[0] for output in outputs]).cpu() > 0.5
        if not torch.isfinite(refined).all():
            raise StepError("the masks are not finite; try dtype='float32'")
        masks = refined > 0.5
        inside = (refined * masks).sum((1, 2)) / masks.sum((1, 2)).clamp_min(1)
        boxes = np.stack([_box(mask) for mask in masks.numpy()])
        return Grounded(texts, masks.numpy(), coarse.numpy(), boxes, inside.float().numpy())

    def _embedding(self, image: Image.Image) -> torch.Tensor:
        """(1, C, E, E); the last picture's is kept, because several questions are asked about one."""
        content = hashlib.sha256(repr(image.size).encode() + image.tobytes()).digest()
        if self._seen is None or self._seen[0] != content:
            self._seen = (content, self.segmenter.embed(image))
        return self._seen[1]


def _box(mask: np.ndarray) -> np.ndarray:
    if not mask.any():
        return np.zeros(4, np.int64)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.int64)


def _checked(phrases: Sequence[str]) -> tuple[str, ...]:
    if isinstance(phrases, str):
        raise InputError(f"phrases: expected a list of texts, got one text; write [{phrases!r}]")
    texts = tuple(phrases)
    if not texts:
        raise InputError("phrases: the list is empty; give at least one, such as 'the red circle'")
    for number, text in enumerate(texts, start=1):
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"phrases: number {number} is {text!r}, not a text with words in it")
    return texts


def read_picture(image: Picture) -> Image.Image:
    """A picture in RGB: a path, whose EXIF orientation is followed, or a PIL image, which is taken as it is.

    Raises:
        InputError: not a picture, or one with too many pixels.
    """
    if isinstance(image, Image.Image):
        try:
            image.load()  # a file that was only opened is read, and its damage found, here
        except DECODE_ERRORS as error:
            raise InputError(f"image: not a readable picture ({error})") from error
        return image if image.mode == "RGB" else eight_bits(image, "image").convert("RGB")
    if not isinstance(image, str | Path):
        raise InputError(f"image: expected a PIL image or a path, got {type(image).__name__}")
    try:
        data = Path(image).read_bytes()
    except OSError as error:
        raise InputError(f"{image}: cannot be read as a picture ({error.strerror or error})") from error
    return decode_image(data, str(image), upright=True)


def _keywords(path: Path, config: HeadConfig) -> KeywordSelector | None:
    file = shipped.keywords_file(path)
    if file is None:
        return None
    selector = KeywordSelector.load(file)
    selector.check_fits(file, config.backbone, config.hidden_width)
    return selector


def _check(path: Path, config: HeadConfig, entry: BackboneEntry, known: Facts) -> None:
    sizes = {"channels": known.channels, "layers": known.layers, "hidden_width": known.width}
    check_fits(path, config, sizes, entry.model)
