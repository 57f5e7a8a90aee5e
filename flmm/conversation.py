"""A grounded conversation about one picture: the frozen LMM talks, and the phrases of its answers get masks.

    conversation = flmm.Grounder.load("shapes-llava").converse("picture.png")
    for piece in conversation.ask("What color is the star?"):
        print(piece, end="")
    conversation.turns[-1].answered.grounded.masks

The answers are those that the LMM gives without a head, token for token. Its attention is read while it speaks, in the
only forward that there is, and earlier turns stay in its KV cache.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from flmm.backbones.base import HeadInput
from flmm.errors import InputError
from flmm.heads.model import HeadOutput
from flmm.predictor import Answered, Grounder

LONGEST = 256  # new tokens of an answer, where nobody says otherwise
_UNFINISHED = "\ufffd"  # what a tokenizer makes of a character whose last bytes are still to come


@dataclass(frozen=True)
class Turn:
    """A question and its grounded answer. Per phrase, in the answer's order: ``seen``, what the LMM's attention said of
    it, and ``outputs``, the head's logits, of which ``HeadOutput.probabilities`` makes coarse and refined ones.
    """

    question: str
    answered: Answered
    seen: tuple[HeadInput, ...]
    outputs: tuple[HeadOutput, ...]


class Conversation:
    """Turns about one RGB ``picture``; made by ``Grounder.converse``."""

    def __init__(self, grounder: Grounder, picture: Image.Image) -> None:
        self.grounder, self.picture = grounder, picture
        self.turns: list[Turn] = []
        self._dialogue = grounder.backbone.converse(picture)

    def ask(self, question: str, *, max_new_tokens: int = LONGEST) -> Iterator[str]:
        """The answer's text in pieces as the LMM speaks; when all are taken, ``turns`` has the turn with its masks.

        A turn that is broken off, or fails, leaves the conversation as it was.

        Raises:
            InputError: no question; one that does not fit the model's context; a model that answers only one.
            StepError: the masks are not finite.
        """
        if not question.strip():
            raise InputError("question: expected a text that asks something")
        decode, told = self.grounder.backbone.decode, ""
        tokens: list[int] = []
        ends: list[int] = []
        for token in self._dialogue.say(question, max_new_tokens=max_new_tokens):
            tokens.append(token)
            text = decode(tokens)
            ends.append(len(text))
            if text.startswith(told) and not text.endswith(_UNFINISHED) and text != told:
                yield text[len(told) :]
                told = text
        text = decode(tokens)
        turn = self._turn(question, text, ends)
        self._dialogue.keep()
        self.turns.append(turn)
        if text != told:
            yield text[len(told) :]

    def _turn(self, question: str, text: str, ends: list[int]) -> Turn:
        size = (self.picture.height, self.picture.width)
        said = self._dialogue.last
        observation = said.observation if said else None
        spans, seen = self.grounder.phrases_of(text, ends, observation, size)
        outputs = self.grounder.masks(self.picture, seen)
        texts = tuple(text[start:end] for start, end in spans)
        grounded = self.grounder.grounded(self.picture, texts, outputs)
        return Turn(question, Answered(text, spans, grounded), tuple(seen), tuple(outputs))
