"""What every family on transformers shares: prompt once, answers behind it, greedy generation, hashes.

Legend: P phrases, C channels = layers x heads, L layers, T tokens of a phrase, D hidden width, N image
columns.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    DynamicCache,
    PreTrainedModel,
    ProcessorMixin,
)

from flmm.backbones.base import Backbone, Generation, Grid, Observation, Told
from flmm.backbones.dialogue import Dialogue
from flmm.backbones.greedy import greedy, look, without_end
from flmm.backbones.hashes import processor_hash, weights_hash
from flmm.backbones.processors import complete
from flmm.backbones.questions import answer
from flmm.backbones.spans import Packed, Spoken, pack, speak, spell
from flmm.backbones.tap import Rows, Tap
from flmm.backbones.words import as_words, read_by, special_marks
from flmm.data.images import photograph_name
from flmm.errors import InputError, SecondPictureError
from flmm.protocols import Answer


@dataclass(frozen=True)
class Prompt:
    """A prompt ready for the model, batch 1: its ``inputs``, and where its ``grids`` lie in them.

    ``columns``: per grid the places (rows x columns,) of its tokens, row-major.
    """

    inputs: dict[str, torch.Tensor]
    grids: tuple[Grid, ...]
    columns: tuple[torch.Tensor, ...]

    @property
    def length(self) -> int:
        """Tokens, image tokens included."""
        return self.inputs["input_ids"].shape[1]

    def maps(self, attention: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Cut what was read at all columns, (P, C, N), into the grids: each (P, C, h, w)."""
        parts = torch.split(attention, [len(columns) for columns in self.columns], dim=2)
        return tuple(
            part.reshape(*part.shape[:2], grid.rows, grid.columns)
            for part, grid in zip(parts, self.grids, strict=True)
        )


class TransformersBackbone(Backbone):
    """A frozen transformers model. A family adds ``model_types`` and ``encode``."""

    # The `model_type` in config.json that the family reads; empty: one that puts its models together itself.
    model_types: ClassVar[frozenset[str]]
    model_class: ClassVar[Any] = AutoModelForImageTextToText
    # Whether the authors' heads take a layer's maps of all grids before the next layer's, and not grid after grid.
    published_by_layer: ClassVar[bool] = False
    # How many image tokens the model needs at least.
    fewest_tokens: ClassVar[int] = 1

    def __init__(self, model: PreTrainedModel, processor: ProcessorMixin, name: str) -> None:
        self.model: Any = model.requires_grad_(False)
        self.model.train(False)
        self.processor: Any = processor
        self.tokenizer: Any = self.processor.tokenizer
        self.name = name
        self.marks = special_marks(self.processor)
        self.tap = Tap(model)
        text = model.config.get_text_config()
        self.layers: int = text.num_hidden_layers
        self.longest: int = text.max_position_embeddings
        model.generation_config = greedy(model.generation_config, self.tokenizer)

    @classmethod
    def read_config(cls, source: str, options: dict[str, Any]) -> Any:
        """The configuration of the model in ``source``, a directory or a hub name."""
        return AutoConfig.from_pretrained(source, **options)

    @classmethod
    def read_processor(cls, source: str, config: Any, options: dict[str, Any]) -> ProcessorMixin:
        """Its processor, completed from the configuration; no weight is read."""
        reader: Any = AutoProcessor
        processor: ProcessorMixin = reader.from_pretrained(source, **options)
        complete(processor, config, source)
        return processor

    @classmethod
    def read_weights(
        cls, source: str, config: Any, options: dict[str, Any]
    ) -> dict[str, torch.Tensor] | None:
        """Weights under transformers' names; None where ``source`` holds them under those names itself."""
        return None

    @abstractmethod
    def encode(self, image: Image.Image, text: str) -> Prompt:
        """The prompt of the user's ``text`` about ``image``, by the model's own processor, on its device."""

    def several(self, images: Sequence[Image.Image], text: str) -> dict[str, Any]:
        """The model's inputs of the user's ``text`` about several photographs, one after the other.

        Raises:
            SecondPictureError: the family cannot; those that can have a method of their own.
        """
        raise SecondPictureError(f"{self.name}: a model of its family reads one picture at a time")

    def positions(self, places: torch.Tensor) -> torch.Tensor:
        """The model's positions of tokens at these ``places`` (1, T) behind the prompt that it has just read."""
        return places

    def masks(self, packed: Packed) -> torch.Tensor | dict[str, torch.Tensor]:
        """What the packed tokens see, as the model wants it."""
        return packed.mask

    def words(self, text: str, pictures: int = 1) -> str | None:
        """The wording that ``encode`` has, with one mark for each picture; None: only ``encode`` knows it."""
        return None

    def turn(self, text: str) -> str | None:
        """A later question without a picture, in the wording that ``encode`` has; None: its is the chat template."""
        return None

    def converse(self, image: Image.Image) -> Dialogue:
        """A conversation of several turns about one picture."""
        return Dialogue(self, image)

    def chat(self, text: str, before: Sequence[tuple[str, str]] = (), *, pictures: int = 1) -> str:
        """One user turn in the model's own chat template, ready for the answer; the pictures are in the first.

        ``before``: earlier questions and their answers.
        """
        shown = [{"type": "image"}] * pictures
        texts = [{"type": "text", "text": asked} for asked in (*(question for question, _ in before), text)]
        messages: list[dict[str, Any]] = []
        for number, asked in enumerate(texts):
            messages.append({"role": "user", "content": [asked] if number else [*shown, asked]})
            if number < len(before):
                said = {"type": "text", "text": before[number][1]}
                messages.append({"role": "assistant", "content": [said]})
        prompt: str = self.processor.apply_chat_template(messages, add_generation_prompt=True)
        # The tokenizer puts its own mark of the beginning before every text.
        start = self.tokenizer.bos_token
        return prompt.removeprefix(start) if start else prompt

    @torch.no_grad()
    def observe(self, image: Image.Image, answers: Sequence[Answer], prompt: str) -> list[Observation]:
        """The prompt is computed once; all answers continue it in one forward.

        Raises:
            InputError: an answer does not fit the model's context, or a phrase has no token (names the
            answer); the model cannot read the photograph or the prompt (names it).
        """
        if not answers:
            return []
        spoken = [speak(answer, self.tokenizer, self.marks) for answer in answers]
        encoded, cache = self._begin(image, prompt, spoken)
        packed = pack(spoken, encoded.length, self.model.device)
        rows = Rows(0, packed.queries, torch.cat(encoded.columns), packed.merge)
        with self.tap.reading([rows]) as recording:
            hidden = self._continue(packed, encoded, cache)
        states = torch.cat(hidden[-self.layers :]).float().cpu()  # (L, tokens of all answers, D)
        return _split(spoken, encoded, recording.attention(), states)

    @torch.no_grad()
    def tell(self, image: Image.Image, answer: Answer, prompt: str) -> Told:
        """The same forward as ``observe``'s, with nothing read of its attention.

        Raises:
            InputError: as ``observe``.
        """
        spoken = speak(answer, self.tokenizer, self.marks)
        encoded, cache = self._begin(image, prompt, [spoken])
        packed = pack([spoken], encoded.length, self.model.device)
        states = self._continue(packed, encoded, cache)[-1][0].float().cpu()  # (T, D)
        text, ends = spell(spoken, self.tokenizer)
        return Told(text, ends, spoken.pieces, states)

    def _begin(
        self, image: Image.Image, prompt: str, spoken: Sequence[Spoken]
    ) -> tuple[Prompt, DynamicCache]:
        """The prompt, read, and its keys and values, behind which every answer fits."""
        encoded = self.read(image, prompt)
        for one in spoken:
            self.check_length(one.answer_id, encoded.length, len(one.tokens))
        # Every layer keeps every key: one that looks back over a window only would drop image tokens, and with
        # them the places of the others.
        cache = DynamicCache()
        self.model(**encoded.inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return encoded, cache

    def _continue(self, packed: Packed, encoded: Prompt, cache: DynamicCache) -> tuple[torch.Tensor, ...]:
        """The hidden states (1, T, D) of the answers' tokens: the embeddings', then each layer's."""
        output = self.model(
            input_ids=packed.tokens,
            attention_mask=self.masks(packed),
            position_ids=self.positions(packed.positions),
            past_key_values=cache,
            output_hidden_states=True,
            logits_to_keep=1,
        )
        hidden: tuple[torch.Tensor, ...] = output.hidden_states
        return hidden

    @torch.no_grad()
    def generate(self, image: Image.Image, question: str, *, max_new_tokens: int, tap: bool) -> Generation:
        """Greedy, whatever the model's generation config says.

        Raises:
            InputError: question and answer do not fit the context; the model cannot read the picture or the question.
        """
        encoded = self.read(image, question)
        self.check_length(repr(question), encoded.length, max_new_tokens)
        rows = Rows(0, torch.zeros(1, dtype=torch.long), torch.cat(encoded.columns), torch.ones(1, 1))
        # One call for both cases: the tap computes beside SDPA and cannot change a token.
        with self.tap.reading([rows] if tap else [], steps=True) as recording:
            output = self.model.generate(
                **encoded.inputs,
                past_key_values=DynamicCache(),
                max_new_tokens=max_new_tokens,
                return_dict_in_generate=True,
                output_hidden_states=tap,
            )
        new = output.sequences[0, encoded.length :].tolist()
        tokens = without_end(new, self.model)
        if not tap or len(new) < 2:
            return Generation(tokens, None)
        # The first entry is the prompt's; then one per token that was fed back, each (1, 1, D) for every
        # layer.
        hidden = tuple(torch.cat(step[-self.layers :]).float().cpu() for step in output.hidden_states[1:])
        count = len(hidden)
        texts = tuple(self.tokenizer.decode([token]) for token in new[:count])
        attention = encoded.maps(recording.attention())
        observation = Observation(question, tuple(range(count)), texts, attention, hidden, encoded.grids)
        return Generation(tokens, observation)

    def answer(
        self, image: Image.Image, questions: Sequence[str], *, max_new_tokens: int, tap: bool
    ) -> Iterator[Generation]:
        """As ``generate``; what the prompts share is computed once."""
        return answer(self, image, questions, max_new_tokens=max_new_tokens, tap=tap)

    def look(self, images: Sequence[Image.Image], question: str, *, max_new_tokens: int) -> tuple[int, ...]:
        """Greedy, as ``generate``."""
        return look(self, images, question, max_new_tokens)

    def decode(self, tokens: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text.strip()

    def weights_hash(self) -> str:
        return weights_hash(self.model)

    def processor_hash(self) -> str:
        return processor_hash(self.processor)

    def read(self, image: Image.Image, text: str) -> Prompt:
        """``encode`` with marks in the text read as words.

        Raises:
            InputError: the model cannot read the photograph or the text (names it), or its processor fails.
        """
        encoded = read_by(self.encode, image, as_words(text, self.marks, self.name), self.name)
        tokens = sum(map(len, encoded.columns))
        if tokens < self.fewest_tokens:
            raise InputError(
                f"{photograph_name(image)}: {self.name} makes {tokens} image token of it and needs "
                f"{self.fewest_tokens}; add it to prepare.exclude to leave it out"
            )
        return encoded

    def check_length(self, what: str, prompt: int, answer: int) -> None:
        if prompt + answer > self.longest:
            raise InputError(
                f"{what}: {prompt} prompt and {answer} answer tokens exceed the {self.longest} positions "
                f"of {self.name}"
            )


def _split(
    spoken: Sequence[Spoken], encoded: Prompt, attention: torch.Tensor, states: torch.Tensor
) -> list[Observation]:
    """Give each answer its phrases back: ``attention`` (P, C, N), ``states`` (L, all tokens, D)."""
    observations, phrase, token = [], 0, 0
    for one in spoken:
        hidden = tuple(states[:, token + first : token + last].clone() for first, last in one.spans)
        maps = encoded.maps(attention[phrase : phrase + len(one.spans)])
        observations.append(Observation(one.answer_id, one.targets, one.texts, maps, hidden, encoded.grids))
        phrase, token = phrase + len(one.spans), token + len(one.tokens)
    return observations
