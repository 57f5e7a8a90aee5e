"""Several questions about one picture: what their prompts share is read once, and they are answered side by side.

Behind the shared beginning the questions lie one after another in one sequence, and each sees the beginning and itself
alone. An answer's next token is fed back together with those of the others.
Legend: Q questions that are still answered, T tokens of a forward, S keys, L layers, D hidden width, C channels =
layers x heads, N image columns.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from transformers import DynamicCache

from flmm.backbones.base import Generation, Observation
from flmm.backbones.spans import SHARED, Packed, apart
from flmm.backbones.tap import Rows
from flmm.backbones.words import as_words

if TYPE_CHECKING:
    from flmm.backbones.lmm import Prompt, TransformersBackbone

# As many go side by side: what the tap reads of their tokens is in memory at once.
TOGETHER = 16


def answer(
    backbone: "TransformersBackbone",
    image: Image.Image,
    questions: Sequence[str],
    *,
    max_new_tokens: int,
    tap: bool,
) -> Iterator[Generation]:
    """Each question's greedy answer, as ``generate`` gives it to that question alone.

    So it is asked where the prompts share too little (a picture after the question), or the model's cache does not
    keep every key.

    Raises:
        InputError: as ``generate``.
    """
    shared = begin(backbone, image, questions, max_new_tokens) if len(questions) > 1 else None
    if shared is None:
        for question in questions:
            yield backbone.generate(image, question, max_new_tokens=max_new_tokens, tap=tap)
        return
    waiting = zip(questions, shared.rests, strict=True)
    while asked := [_Asked(question, list(rest)) for question, rest in islice(waiting, TOGETHER)]:
        _SideBySide(backbone, shared, tap).answer(asked, max_new_tokens)
        yield from (each.generation(shared.prompt, backbone.tokenizer) for each in asked)
        shared.forget()


@dataclass(frozen=True)
class Shared:
    """The beginning of several prompts about one picture, ``length`` tokens, in a cache; and the ``rests`` behind it.

    ``prompt``: the first whole one. ``shift`` (1, 1): by how much positions behind the beginning lie behind places.
    """

    prompt: "Prompt"
    length: int
    rests: tuple[tuple[int, ...], ...]
    cache: DynamicCache
    shift: torch.Tensor

    def forget(self) -> None:
        """Drop what was read behind the beginning."""
        layers: list[Any] = self.cache.layers
        for layer in layers:
            layer.crop(min(0, self.length - layer.get_seq_length()))


@torch.no_grad()
def begin(
    backbone: "TransformersBackbone", image: Image.Image, questions: Sequence[str], max_new_tokens: int
) -> Shared | None:
    """Read what the questions' prompts share; None where it does not hold the whole picture, or cannot be kept.

    Raises:
        InputError: as ``generate``.
    """
    prompt = backbone.read(image, questions[0])
    told = _tokens(backbone, image, questions, prompt)
    for question, tokens in zip(questions, told, strict=True):
        backbone.check_length(repr(question), len(tokens), max_new_tokens)
    length = min(_same(told), min(map(len, told)) - 1)  # a token of each is left to be fed
    if length <= max(int(columns.max()) for columns in prompt.columns):
        return None
    ids, cache = prompt.inputs["input_ids"], DynamicCache()
    inputs = {
        name: value[:, :length] if value.shape == ids.shape else value
        for name, value in prompt.inputs.items()
    }
    backbone.model(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
    layers: list[Any] = cache.layers
    if not all(layer.is_croppable and not layer.is_sliding for layer in layers):
        return None
    shift = backbone.positions(torch.zeros(1, 1, dtype=torch.long, device=ids.device))
    return Shared(prompt, length, tuple(tuple(each[length:]) for each in told), cache, shift)


def _tokens(
    backbone: "TransformersBackbone", image: Image.Image, questions: Sequence[str], prompt: "Prompt"
) -> list[list[int]]:
    """Every question's prompt; of the picture, which takes most of the time, only the first (``prompt``) is made."""
    first: list[int] = prompt.inputs["input_ids"][0].tolist()
    spelled = [_spelled(backbone, each) for each in questions]
    told = [first]
    for question, ids in zip(questions[1:], spelled[1:], strict=True):
        same = _same([spelled[0], ids])
        rest = spelled[0][same:]
        start = len(first) - len(rest)
        # Not so where the picture is behind the question, or `words` are not those of `encode`.
        if ids and first[start:] == rest:
            told.append([*first[:start], *ids[same:]])
        else:
            told.append(backbone.read(image, question).inputs["input_ids"][0].tolist())
    return told


def _same(told: Sequence[Sequence[int]]) -> int:
    """How many tokens all of them begin with."""
    return sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, zip(*told, strict=False)))


def _spelled(backbone: "TransformersBackbone", question: str) -> list[int]:
    """A prompt as its tokenizer spells it, with one mark for the picture; empty where its words are not known."""
    words = backbone.words(as_words(question, backbone.marks, backbone.name))
    ids: list[int] = [] if words is None else backbone.tokenizer.encode(words)
    return ids


@dataclass
class _Asked:
    """A question on its way: tokens to feed next, the answer so far, and what the tap read of those fed back.

    ``maps``: each (C, N); ``states``: each (L, 1, D).
    """

    question: str
    waiting: list[int]
    said: list[int] = field(default_factory=list)
    maps: list[torch.Tensor] = field(default_factory=list)
    states: list[torch.Tensor] = field(default_factory=list)

    def generation(self, prompt: "Prompt", tokenizer: Any) -> Generation:
        if not self.maps:
            return Generation(tuple(self.said), None)
        places = tuple(range(len(self.maps)))
        texts = tuple(tokenizer.decode([self.said[place]]) for place in places)
        attention = prompt.maps(torch.stack(self.maps))
        seen = Observation(self.question, places, texts, attention, tuple(self.states), prompt.grids)
        return Generation(tuple(self.said), seen)


class _SideBySide:
    """Questions behind one beginning, and whose token each key behind it is."""

    def __init__(self, backbone: "TransformersBackbone", shared: Shared, tap: bool) -> None:
        self._backbone, self._shared, self._tap = backbone, shared, tap
        self._owners = torch.full((shared.length,), SHARED)  # (S,)
        self._places = torch.arange(shared.length)  # (S,)
        self._ends = set(backbone.model.generation_config.eos_token_id)

    @torch.no_grad()
    def answer(self, asked: Sequence[_Asked], max_new_tokens: int) -> None:
        """Greedy answers of all; as in ``generate``, the last token is not fed back."""
        going = dict(enumerate(asked))
        tokens = self._feed(going, tap=False)
        while going:
            for number, token in zip(list(going), tokens, strict=True):
                each = going[number]
                if token not in self._ends:
                    each.said.append(token)
                    each.waiting = [token]
                if token in self._ends or len(each.said) == max_new_tokens:
                    del going[number]
            tokens = self._feed(going, tap=self._tap) if going else []

    def _feed(self, going: Mapping[int, _Asked], *, tap: bool) -> list[int]:
        """Each question's next token after those that wait; with ``tap`` one waits of each, and it is read."""
        backbone, shared, count = self._backbone, self._shared, len(going)
        packed = self._packed(going)
        columns = torch.cat(shared.prompt.columns)
        rows = Rows(0, torch.arange(count), columns, torch.eye(count))
        with backbone.tap.reading([rows] if tap else []) as recording:
            output = backbone.model(
                input_ids=packed.tokens,
                attention_mask=backbone.masks(packed),
                position_ids=packed.positions + shared.shift,
                past_key_values=shared.cache,
                use_cache=True,
                output_hidden_states=tap,
                logits_to_keep=packed.queries,
            )
        if tap:
            states = torch.cat(output.hidden_states[-backbone.layers :]).float().cpu()  # (L, Q, D)
            for each, maps, state in zip(
                going.values(), recording.attention(), states.split(1, dim=1), strict=True
            ):
                each.maps.append(maps)
                each.states.append(state)
        tokens: list[int] = output.logits[0].argmax(dim=-1).tolist()
        return tokens

    def _packed(self, going: Mapping[int, _Asked]) -> Packed:
        """What waits, one question after another; ``queries``: the last token of each."""
        counts = torch.tensor([len(each.waiting) for each in going.values()])
        owner = torch.tensor(list(going)).repeat_interleave(counts)  # (T,)
        before = [int((self._owners == number).sum()) for number in going]
        places = torch.cat(
            [
                self._shared.length + told + torch.arange(len(each.waiting))
                for told, each in zip(before, going.values(), strict=True)
            ]
        )
        self._owners = torch.cat([self._owners, owner])
        self._places = torch.cat([self._places, places])
        tokens = torch.tensor([token for each in going.values() for token in each.waiting])
        device = self._shared.shift.device
        return Packed(
            tokens[None].to(device),
            places[None].to(device),
            self._places.to(device),
            apart(self._owners, self._places, len(owner))[None, None].to(device),
            (counts.cumsum(0) - 1).to(device),
            torch.eye(len(counts)),
        )
