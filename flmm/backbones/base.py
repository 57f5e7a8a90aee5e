"""The contract between frozen LMMs and everything after them: it returns data, no mask and no loss.

A backbone gives ``Observation``s; whatever makes masks takes ``HeadInput``s. Neither side knows the other.

Legend: P phrases, C channels = layers x heads, h w grid, T tokens of a phrase, L layers, D hidden width.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from PIL import Image

from flmm.data.geometry import View
from flmm.errors import InputError
from flmm.protocols import Answer
from flmm.selection import Selection

if TYPE_CHECKING:
    from flmm.backbones.dialogue import Dialogue


@dataclass(frozen=True)
class Grid:
    """One rectangular array of image tokens and where the original image lies in it."""

    name: str
    rows: int
    columns: int
    view: View


@dataclass(frozen=True)
class HeadInput:
    """What a frozen LMM said about one image, in the one shape that every head takes.

    ``attention``: per grid (P, C, h, w), coarse grid first, not normalised, padding included. ``grids``: as
    ``attention``. ``hidden``: per phrase (L, T, D). ``image_size``: height and width of the image in pixels.
    ``selection``: which of the LMM's heads and layers these are; None: all.
    """

    attention: tuple[torch.Tensor, ...]
    grids: tuple[Grid, ...]
    hidden: tuple[torch.Tensor, ...]
    image_size: tuple[int, int]
    selection: Selection | None = None

    def __len__(self) -> int:
        return len(self.hidden)

    @property
    def view(self) -> View:
        """Where the image lies in the last (fine) grid, on which heads draw."""
        return self.grids[-1].view

    @property
    def channels(self) -> int:
        """Attention channels of all grids together."""
        return sum(maps.shape[1] for maps in self.attention)

    def kept(self, selection: Selection | None) -> "HeadInput":
        """The input of a head that was trained on a selection, or (None) on all heads and layers.

        Raises:
            InputError: this is another selection, or the selection is of a model of other sizes.
        """
        if selection == self.selection:
            return self
        if self.selection is not None or selection is None:
            raise InputError(
                "the grounding head was trained on other attention heads or layers of the LMM than were kept; run "
                "train again"
            )
        return replace(
            self,
            attention=tuple(map(selection.attention, self.attention)),
            hidden=tuple(map(selection.hidden, self.hidden)),
            selection=selection,
        )

    def places(self, channels: Sequence[int]) -> list[int]:
        """Where some of the LMM's channels lie among those of ``attention``, all grids together.

        Raises:
            InputError: one is not kept.
        """
        return list(channels) if self.selection is None else self.selection.places(channels)


@dataclass(frozen=True)
class Observation:
    """What one answer left in the frozen LMM's attention.

    ``attention``: per grid (P, C, h, w) float32, merged (mean) over each phrase's tokens, layer-major then
    head. ``hidden``: per phrase (L, T, D) float32, the last L = number of decoder layers hidden states (the
    last one after the final norm). ``targets``: per phrase the target index of its piece. ``grids``: as
    ``attention``.
    """

    answer_id: str
    targets: tuple[int, ...]
    texts: tuple[str, ...]
    attention: tuple[torch.Tensor, ...]
    hidden: tuple[torch.Tensor, ...]
    grids: tuple[Grid, ...]

    def head_input(self, image_size: tuple[int, int]) -> HeadInput:
        """The same for a head; ``image_size``: height and width in pixels of the image that was looked at."""
        return HeadInput(self.attention, self.grids, self.hidden, image_size)

    def kept(self, selection: Selection) -> "Observation":
        """The same of the heads and layers of ``selection`` only.

        Raises:
            InputError: the LMM has other numbers of them.
        """
        return replace(
            self,
            attention=tuple(map(selection.attention, self.attention)),
            hidden=tuple(map(selection.hidden, self.hidden)),
        )

    def joined(self, phrases: Sequence[int] | None = None) -> "Observation":
        """Some phrases (at least one; None: all) as one: maps averaged, hidden states one after the other."""
        chosen = list(range(len(self.texts)) if phrases is None else phrases)
        return replace(
            self,
            targets=(0,),
            texts=("".join(self.texts[index] for index in chosen).strip(),),
            attention=tuple(maps[chosen].float().mean(dim=0, keepdim=True) for maps in self.attention),
            hidden=(torch.cat([self.hidden[index] for index in chosen], dim=1),),
        )


@dataclass(frozen=True)
class Told:
    """An answer token by token, as the frozen LMM read it.

    ``text``: its pieces, a space between two. ``ends`` (T,): where in the text each token ends. ``pieces`` (T,): the
    piece of the answer that each token belongs to. ``states`` (T, D) float32: the last hidden state (after the final
    norm) at the token's own place.
    """

    text: str
    ends: tuple[int, ...]
    pieces: tuple[int, ...]
    states: torch.Tensor


@dataclass(frozen=True)
class Generation:
    """A greedy answer: new token ids without the end token, and what the tap read of them.

    In ``observation`` every generated token that was fed back is a phrase of one token: ``targets`` index
    into ``tokens``, ``texts`` are the tokens' texts. N new tokens (the end token included) give N-1 of them:
    an answer cut off by ``max_new_tokens`` has no row for its last token. Without the tap, and for an answer
    without such a token, it is None.
    """

    tokens: tuple[int, ...]
    observation: Observation | None


class Backbone(ABC):
    """A frozen LMM. Families implement the contract; ``flmm.backbones.load`` builds one from params."""

    @abstractmethod
    def observe(self, image: Image.Image, answers: Sequence[Answer], prompt: str) -> list[Observation]:
        """Speak each answer (teacher-forced, each seen alone) after ``prompt`` and read its attention."""

    @abstractmethod
    def tell(self, image: Image.Image, answer: Answer, prompt: str) -> Told:
        """Speak one answer (teacher-forced) after ``prompt`` and keep the state of each of its tokens."""

    @abstractmethod
    def generate(self, image: Image.Image, question: str, *, max_new_tokens: int, tap: bool) -> Generation:
        """Answer greedily and deterministically; with ``tap`` the attention is read while the model speaks.

        The tokens do not depend on ``tap``.
        """

    @abstractmethod
    def answer(
        self, image: Image.Image, questions: Sequence[str], *, max_new_tokens: int, tap: bool
    ) -> Iterator[Generation]:
        """Answer several questions about one picture, in their order, each as ``generate`` answers it alone."""

    @abstractmethod
    def look(self, images: Sequence[Image.Image], question: str, *, max_new_tokens: int) -> tuple[int, ...]:
        """Answer greedily from several pictures; nothing is read. The new token ids, without the end token.

        Raises:
            SecondPictureError: the model reads one picture at a time, or these do not fit its context.
        """

    @abstractmethod
    def converse(self, image: Image.Image) -> "Dialogue":
        """A conversation of several turns about one picture, spoken as by ``generate`` with ``tap``."""

    @abstractmethod
    def decode(self, tokens: Sequence[int]) -> str:
        """Token ids as text, special tokens skipped, stripped."""

    @abstractmethod
    def weights_hash(self) -> str:
        """SHA-256 over all weights and buffers (names, dtypes, bytes)."""

    @abstractmethod
    def processor_hash(self) -> str:
        """SHA-256 over what makes the model's inputs: the processor's settings and the tokenizer."""
