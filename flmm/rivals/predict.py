"""A fine-tuned LLaVA's masks and answers, in the files that `flmm score` reads.

All questions about a picture share its prompt's beginning and are answered greedily side by side, none seeing another.
Legend: Q questions, T tokens of all of them together, D hidden width.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import DynamicCache

from flmm.backbones import loading
from flmm.backbones.llava import Llava
from flmm.backbones.questions import begin
from flmm.backbones.spans import Spoken, pack
from flmm.benchmarks import Benchmark
from flmm.data.images import ImageStore
from flmm.data.question import Question
from flmm.data.sample import Sample, encode_rle
from flmm.errors import InputError
from flmm.evaluation.pictures import picture
from flmm.evaluation.qa import Pictures
from flmm.evaluation.score import units
from flmm.files import write_json, write_text
from flmm.heads.sam import SamSegmenter
from flmm.params import BackboneEntry
from flmm.progress import tracked
from flmm.rivals.seg import SEG, SegDecoder, question, reply


@dataclass(frozen=True)
class Said:
    """A greedy answer: its tokens without the end token, and (T, D) the last hidden states that said each of them."""

    tokens: tuple[int, ...]
    states: torch.Tensor


class SegModel:
    """A LLaVA that says `[SEG]`, with its mask decoder."""

    def __init__(self, backbone: Llava, decoder: SegDecoder, segmenter: SamSegmenter) -> None:
        self.backbone, self.decoder, self.segmenter = backbone, decoder, segmenter
        self.seg: int = backbone.tokenizer.convert_tokens_to_ids(SEG)
        self._ends = set(backbone.model.generation_config.eos_token_id)

    @classmethod
    def load(cls, folder: Path, segmenter: SamSegmenter, *, dtype: str, device: str) -> "SegModel":
        """A model directory as `python -m recipes finetune-seg` writes it.

        Raises:
            InputError: no LLaVA with a `[SEG]` token, or no mask decoder that fits it and the segmenter.
        """
        entry = BackboneEntry(
            suite="paper", family="llava", model=str(folder), revision=None, trust_remote_code=False
        )
        backbone = loading.load(entry, dtype=dtype, device=device)
        if not isinstance(backbone, Llava) or SEG not in backbone.tokenizer.get_vocab():
            raise InputError(f"{folder}: no LLaVA with a token {SEG}")
        width = backbone.model.config.get_text_config().hidden_size
        decoder = SegDecoder.load(folder, segmenter, width).to(backbone.model.device)
        return cls(backbone, decoder, segmenter)

    @torch.inference_mode()
    def answer(
        self,
        image: Image.Image,
        questions: Sequence[str],
        max_new_tokens: int,
        guesses: Sequence[Sequence[str]] = (),
    ) -> list[Said]:
        """Each question's greedy answer, as the model gives it to that question alone.

        ``guesses``: per question the pieces of an answer that the model is likely to give. They change no answer: as
        much of a guess as is greedy is taken at once instead of token by token.

        Raises:
            InputError: the picture or a question cannot be read, or does not fit the model's context.
        """
        shared = begin(self.backbone, image, questions, max_new_tokens)
        assert shared is not None  # a LLaVA reads the picture before the question
        asked, length, cache = shared.rests, shared.length, shared.cache
        drafts = [self._spell(pieces)[:max_new_tokens] for pieces in guesses] or [[] for _ in asked]
        said: list[list[int]] = [[] for _ in asked]
        found: dict[int, Said] = {}
        while len(found) < len(asked):
            going = [i for i in range(len(asked)) if i not in found]
            rows = self._read([[*asked[i], *said[i], *drafts[i]] for i in going], length, cache)
            for i, row in zip(going, rows, strict=True):
                states = row[len(asked[i]) - 1 :]  # the one that says the first token, and so on
                tokens = self.backbone.model.lm_head(states).argmax(-1).tolist()
                said[i], ended = _agreed([*said[i], *drafts[i]], tokens, self._ends)
                drafts[i] = []
                if ended or len(said[i]) >= max_new_tokens:
                    found[i] = Said(tuple(said[i]), states[: len(said[i])].float())
        return [found[i] for i in range(len(asked))]

    def _spell(self, pieces: Sequence[str]) -> list[int]:
        """Pieces as tokens, each tokenised alone, as they were when the model was trained."""
        encode = self.backbone.tokenizer.encode
        return [token for piece in pieces for token in encode(piece, add_special_tokens=False)]

    def _read(self, told: Sequence[list[int]], length: int, cache: DynamicCache) -> list[torch.Tensor]:
        """The last hidden states (tokens, D) of each text behind the shared prompt, whose cache stays as it is."""
        spoken = [Spoken("", tuple(tokens), (), (), (), tuple(range(len(tokens)))) for tokens in told]
        packed = pack(spoken, length, self.backbone.model.device)
        output = self.backbone.model.model(
            input_ids=packed.tokens,
            attention_mask=packed.mask,
            position_ids=packed.positions,
            past_key_values=cache,
            use_cache=True,
        )
        cache.crop(-packed.tokens.shape[1])
        return list(output.last_hidden_state[0].split([len(tokens) for tokens in told]))

    @torch.inference_mode()
    def masks(self, image: Image.Image, expressions: Sequence[str], max_new_tokens: int) -> list[Any]:
        """Per expression its mask (h, w) bool; None where the answer has no `[SEG]`. A second one is not looked at."""
        asked, guesses = [question(text) for text in expressions], [reply(text) for text in expressions]
        said = self.answer(image, asked, max_new_tokens, guesses)
        at = [each.tokens.index(self.seg) if self.seg in each.tokens else -1 for each in said]
        states = [each.states[place] for each, place in zip(said, at, strict=True) if place >= 0]
        if not states:
            return [None] * len(said)
        low = self.decoder(self.segmenter.embed(image), torch.stack(states))
        found = iter((self.decoder.to_image(low, (image.height, image.width)) > 0).cpu().numpy())
        return [next(found) if place >= 0 else None for place in at]


def _agreed(told: Sequence[int], greedy: Sequence[int], ends: set[int]) -> tuple[list[int], bool]:
    """How far ``told`` is what the model says, with the token that it says next; and whether it ends there.

    ``greedy``: what it says after nothing, after the first token of ``told``, and so on: one more than ``told`` has.
    """
    for place, token in enumerate(greedy):
        if token in ends:
            return list(greedy[:place]), True
        if place == len(told) or told[place] != token:
            break
    return list(greedy[: place + 1]), False


def write_masks(
    model: SegModel, samples: Sequence[Sample], store: ImageStore, out: Path, longest: int
) -> None:
    """A file like `flmm score --template` of protocol `standard`, filled in; no mask, no run lengths."""
    rows: list[dict[str, object]] = []
    asked = [list(group) for _, group in groupby(units(samples, "standard"), lambda unit: unit.sample)]
    for group in tracked(asked, f"rival {out.stem}"):
        sample = group[0].sample
        found = model.masks(store.of(sample), [unit.text for unit in group], longest)
        for unit, mask in zip(group, found, strict=True):
            counts = None if mask is None else encode_rle(mask)
            segmentation = {"size": [sample.height, sample.width], "counts": counts}
            rows.append(
                {"answer_id": unit.key[0], "phrase": unit.key[1], "text": unit.text, "segmentation": segmentation}
            )  # fmt: skip
    write_json(out, rows)


def write_answers(
    model: SegModel,
    asked: dict[Path, list[Question]],
    benchmarks: dict[Path, Benchmark],
    store: ImageStore,
    longest: int,
) -> None:
    """Per file one JSON line per question, with its id and the answer's text.

    Files of one benchmark ask about the same pictures: a picture is read once for all of them.
    """
    by_picture: dict[str, dict[str, Question]] = {}
    for path, questions in asked.items():
        for each in questions:
            place = by_picture.setdefault(picture(each.archive, each.image, each.image_bytes), {})
            place.setdefault(benchmarks[path].prompt(each), each)
    pictures, told = Pictures(store), dict[tuple[str, str], str]()
    for name, prompts in tracked(by_picture.items(), "rival answers"):
        image = pictures.of(next(iter(prompts.values())))
        said = model.backbone.answer(image, list(prompts), max_new_tokens=longest, tap=False)
        told |= {
            (name, prompt): model.backbone.decode(each.tokens)
            for prompt, each in zip(prompts, said, strict=True)
        }
    for path, questions in asked.items():
        lines = (_line(each, told, benchmarks[path]) for each in questions)
        write_text(path, "".join(lines))


def _line(each: Question, told: dict[tuple[str, str], str], benchmark: Benchmark) -> str:
    name = picture(each.archive, each.image, each.image_bytes)
    row = {"question_id": each.question_id, "text": told[name, benchmark.prompt(each)]}
    return f"{json.dumps(row, ensure_ascii=False)}\n"
