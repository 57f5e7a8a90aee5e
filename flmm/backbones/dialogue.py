"""Several turns about one picture: each turn feeds only its new tokens, and the tap reads the answer as it is spoken.

Legend: C channels = layers x heads, L layers, D hidden width, N image columns.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from PIL import Image
from transformers import DynamicCache

from flmm.backbones.base import Generation, Observation
from flmm.backbones.spans import Spoken, pack
from flmm.backbones.tap import Recording, Rows
from flmm.backbones.words import as_words
from flmm.errors import InputError

if TYPE_CHECKING:
    from flmm.backbones.lmm import Prompt, TransformersBackbone


class _Kept(NamedTuple):
    """A state of a conversation: its turns, its tokens, and how its latest answer ended."""

    turns: int
    tokens: int
    end: int
    last: Generation | None


class _Read(NamedTuple):
    """What one step left: the tap's maps, and the hidden states, L times (1, 1, D)."""

    recording: Recording
    states: tuple[torch.Tensor, ...]


class Dialogue:
    """What was said about one picture, and the keys and values of all of it.

    The answers are those of plain greedy generation for the same conversation, token for token.
    """

    def __init__(self, backbone: "TransformersBackbone", image: Image.Image) -> None:
        self._backbone, self._image = backbone, image
        self._turns: list[tuple[str, str]] = []
        self._tokens: list[int] = []
        self._prompt: Prompt | None = None
        self._shift: torch.Tensor  # (1, 1) of positions behind the prompt
        self._rows: Rows  # what the tap reads of a step
        self._cache = DynamicCache()
        self._ends: list[int] = list(backbone.model.generation_config.eos_token_id)
        self._end = self._ends[0]  # how the latest answer ended
        self.last: Generation | None = None  # of the latest whole turn
        self._kept = _Kept(0, 0, self._end, None)
        self._speaking = object()  # the turn that began last

    @property
    def tokens(self) -> tuple[int, ...]:
        """Every token of the conversation, the answers' included, without the end of the latest one."""
        return tuple(self._tokens)

    def say(self, question: str, *, max_new_tokens: int) -> Iterator[int]:
        """The answer's tokens as they come, without the end token; ``last`` has them and what the tap read afterwards.

        The next turn forgets this one, whole or broken off, unless ``keep`` was called.

        Raises:
            InputError: question and answer do not fit the model's context; the model cannot read them or the picture;
                the model's chat template knows no second turn; another question was asked before the answer's end.
        """
        self.forget()
        self._speaking = mine = object()
        for token in self._turn(question, max_new_tokens):
            yield token
            if self._speaking is not mine:
                raise InputError(f"{question!r}: another question was asked before the answer's end")

    def keep(self) -> None:
        """Let the latest turn, which has to be whole, be part of the conversation."""
        self._kept = _Kept(len(self._turns), len(self._tokens), self._end, self.last)

    def forget(self) -> None:
        """Back to the latest turn that was kept. A forward may have been broken off between two layers."""
        kept = self._kept
        self._speaking = object()
        self._end, self.last = kept.end, kept.last
        del self._turns[kept.turns :], self._tokens[kept.tokens :]
        if not kept.tokens:
            self._cache, self._prompt = DynamicCache(), None
            return
        layers: list[Any] = self._cache.layers
        for layer in layers:
            layer.crop(min(0, kept.tokens - layer.get_seq_length()))

    @torch.no_grad()
    def _turn(self, question: str, max_new_tokens: int) -> Iterator[int]:
        backbone = self._backbone
        logits = self._ask(question, max_new_tokens)
        assert self._prompt is not None
        new: list[int] = []
        read: list[
            _Read
        ] = []  # per token that was fed back; put together after the last, so that none waits for it
        while True:
            token = int(logits.argmax())
            if token in self._ends:
                self._end = token
                break
            new.append(token)
            self._tokens.append(token)
            yield token
            if len(new) == max_new_tokens:
                self._end = self._ends[0]
                break  # as in `generate`, the last token is not fed back
            # Armed per step: whoever listens may do something else with the model between two tokens.
            with backbone.tap.reading([self._rows], steps=True) as recording:
                logits, states = self._step(token)
            read.append(_Read(recording, states))
        self._turns.append((question, backbone.decode(new)))
        self.last = Generation(tuple(new), self._observed(question, new, read))

    def _ask(self, question: str, max_new_tokens: int) -> torch.Tensor:
        """Feed the question (and the picture before the first one); the logits (V,) of the answer's first token."""
        backbone = self._backbone
        if self._prompt is None:
            prompt = backbone.read(self._image, question)
            backbone.check_length(repr(question), prompt.length, max_new_tokens)
            self._prompt = prompt
            self._tokens += prompt.inputs["input_ids"][0].tolist()
            output = backbone.model(
                **prompt.inputs, past_key_values=self._cache, use_cache=True, logits_to_keep=1
            )
            # A model keeps this of the prompt that it read last, which may be another conversation's by the next turn.
            nowhere = torch.zeros(1, 1, dtype=torch.long, device=backbone.model.device)
            self._shift = backbone.positions(nowhere)
            columns = torch.cat(prompt.columns).to(nowhere.device)
            self._rows = Rows(0, nowhere[0], columns, torch.ones(1, 1, device=nowhere.device))
            logits: torch.Tensor = output.logits[0, -1]
            return logits
        ids = self._next(question)
        backbone.check_length(repr(question), len(self._tokens) + len(ids), max_new_tokens)
        waiting = self._tokens[self._cache.get_seq_length() :]  # the end of an answer that was cut off
        self._tokens += ids
        return self._feed([*waiting, *ids])

    def _next(self, question: str) -> list[int]:
        """The tokens between the latest answer and the next one."""
        backbone = self._backbone
        text = as_words(question, backbone.marks, backbone.name)
        words = backbone.turn(text)
        if words is not None:
            return [self._end, *backbone.tokenizer.encode(words, add_special_tokens=False)]
        (*earlier, (asked, answer)) = self._turns
        before = backbone.chat(as_words(asked, backbone.marks, backbone.name), earlier)
        rest = rest_of_template(before, answer, backbone.chat(text, self._turns), backbone.name)
        ids: list[int] = backbone.tokenizer.encode(rest, add_special_tokens=False)
        return ids

    def _feed(self, tokens: list[int]) -> torch.Tensor:
        """Logits (V,) after the last of some tokens."""
        backbone, length = self._backbone, self._cache.get_seq_length()
        spoken = Spoken("", tuple(tokens), (), (), (), (0,) * len(tokens))
        packed = pack([spoken], length, backbone.model.device)
        output = backbone.model(
            input_ids=packed.tokens,
            attention_mask=backbone.masks(packed),
            position_ids=packed.positions + self._shift,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: torch.Tensor = output.logits[0, -1]
        return logits

    def _step(self, token: int) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Logits (V,) after one token, which sees all before it, and its hidden states: L times (1, 1, D)."""
        backbone, length = self._backbone, self._cache.get_seq_length()
        output = backbone.model(
            input_ids=torch.tensor([[token]], device=self._shift.device),
            position_ids=length + self._shift,
            past_key_values=self._cache,
            output_hidden_states=True,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[0, -1], output.hidden_states[-backbone.layers :]

    def _observed(self, question: str, new: list[int], read: list[_Read]) -> Observation | None:
        if not read or self._prompt is None:
            return None
        count = len(read)
        texts = tuple(self._backbone.tokenizer.decode([token]) for token in new[:count])
        attention = self._prompt.maps(torch.cat([each.recording.attention() for each in read]))
        hidden = tuple(torch.cat(each.states).float().cpu() for each in read)  # (L, 1, D)
        return Observation(question, tuple(range(count)), texts, attention, hidden, self._prompt.grids)


def rest_of_template(before: str, answer: str, after: str, name: str) -> str:
    """What a chat template puts after an answer; ``before``: rendered without it, ``after``: with the next question.

    Raises:
        InputError: the template writes earlier turns anew.
    """
    tail = after.removeprefix(before)
    at = tail.find(answer)
    if not after.startswith(before) or at < 0 or tail[:at].strip():
        raise InputError(
            f"{name}: its chat template writes earlier turns anew, so that it answers one question at a time; "
            "begin a new conversation"
        )
    return tail[at + len(answer) :]
