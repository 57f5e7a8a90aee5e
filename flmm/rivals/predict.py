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
from flmm.backbones.spans import Spoken, pack
from flmm.backbones.words import as_words
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
from flmm.rivals.seg import SEG, SegDecoder, question


@dataclass(frozen=True)
class Said:
    """A greedy answer: its tokens without the end token, and the last hidden state (D,) of each of them."""

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
    def answer(self, image: Image.Image, questions: Sequence[str], max_new_tokens: int) -> list[Said]:
        """Each question's greedy answer, as the model gives it to that question alone.

        Raises:
            InputError: the picture or a question cannot be read, or does not fit the model's context.
        """
        asked = [self._asked(text) for text in questions]
        prompt = self.backbone.read(image, "")
        length = int(prompt.columns[0].max()) + 1  # the picture is the last thing that all of them share
        inputs = {
            name: value[:, :length] if name in ("input_ids", "attention_mask") else value
            for name, value in prompt.inputs.items()
        }
        for text, tokens in zip(questions, asked, strict=True):
            self.backbone.check_length(repr(text), length, len(tokens) + max_new_tokens)
        cache = DynamicCache()
        self.backbone.model(**inputs, past_key_values=cache, use_cache=True, logits_to_keep=1)
        said: list[list[int]] = [[] for _ in asked]
        open_ = set(range(len(asked)))
        states: dict[int, torch.Tensor] = {}
        while open_:
            going = sorted(open_)
            rows = self._read([[*asked[i], *said[i]] for i in going], length, cache)
            following = self.backbone.model.lm_head(torch.stack([row[-1] for row in rows])).argmax(-1)
            for i, row, token in zip(going, rows, following.tolist(), strict=True):
                states[i] = row[len(asked[i]) :].float()
                if token in self._ends or len(said[i]) == max_new_tokens:
                    open_.discard(i)
                else:
                    said[i].append(token)
        return [Said(tuple(said[i]), states[i]) for i in range(len(asked))]

    def _asked(self, text: str) -> list[int]:
        """A question's tokens behind the picture."""
        words = self.backbone.words(as_words(text, self.backbone.marks, self.backbone.name))
        ids: list[int] = self.backbone.tokenizer.encode(words)
        return ids[ids.index(self.backbone.model.config.image_token_index) + 1 :]

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
        cache.crop(length)
        return list(output.last_hidden_state[0].split([len(tokens) for tokens in told]))

    @torch.inference_mode()
    def masks(self, image: Image.Image, expressions: Sequence[str], max_new_tokens: int) -> list[Any]:
        """Per expression its mask (h, w) bool; None where the answer has no `[SEG]`. A second one is not looked at."""
        said = self.answer(image, [question(text) for text in expressions], max_new_tokens)
        at = [each.tokens.index(self.seg) if self.seg in each.tokens else -1 for each in said]
        states = [each.states[place] for each, place in zip(said, at, strict=True) if place >= 0]
        if not states:
            return [None] * len(said)
        low = self.decoder(self.segmenter.embed(image), torch.stack(states))
        found = iter((self.decoder.to_image(low, (image.height, image.width)) > 0).cpu().numpy())
        return [next(found) if place >= 0 else None for place in at]


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
        said = model.answer(image, list(prompts), longest)
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
