"""A shipped LMM's accuracies as a user gets them: its own processor, its chat template, greedy generation."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from flmm import backbones
from flmm.benchmarks.mmbench import option_letter
from flmm.evaluation.asking import which_object
from flmm.params import BackboneEntry
from flmm.shapes.mirror.viscot import marked
from flmm.shapes.world.questions import (
    CATEGORIES,
    SHORT_ANSWER,
    absent_category,
    colour_question,
    existence_prompt,
    multiple_choice,
    present_categories,
)
from flmm.shapes.world.scenes import Scene, make_scene, scene_seed
from recipes.lmm import padded_square
from recipes.looks import box_of, crop
from recipes.measure import point
from recipes.talk import DESCRIBE, LEANING, conversation

Ask = Callable[[Scene, str], str]


def examine(path: Path, scenes: int = 100) -> dict[str, Any]:
    """Shares of right answers on scenes of streams of their own: existence (negatives random and near misses), multiple
    choice, conversations, second looks, and pointing at what expressions mean.
    """
    processor = AutoProcessor.from_pretrained(path)
    model = AutoModelForImageTextToText.from_pretrained(path).eval()
    ask = _asker(model, processor)
    found: dict[str, list[bool]] = {}
    for index in range(scenes):
        seed = scene_seed("examination", 0, index)
        scene, rng = make_scene(seed), random.Random(seed ^ 1)
        for kind, name in _pairs(scene, rng).items():
            said_yes = ask(scene, existence_prompt(name)).casefold().startswith("yes")
            found.setdefault(kind, []).append(said_yes == (kind == "existence: present"))
        choice = multiple_choice(scene, rng, prefer=index)
        turns = [choice.rotated(by) for by in range(len(choice.options))]
        right = [option_letter(ask(scene, turn.prompt), turn.options) == turn.letter for turn in turns]
        found.setdefault("multiple choice", []).extend(right)
        found.setdefault("multiple choice: circular", []).append(all(right))
        found.setdefault(f"circular: {choice.category}", []).append(all(right))
    shares = {kind: round(sum(oks) / len(oks), 3) for kind, oks in sorted(found.items())}
    shares |= talked(path, scenes)
    pointed = point(model, model.config.model_type, processor, scenes)
    return shares | {f"pointing: {kind}": share for kind, share in pointed.items()}


def _pairs(scene: Scene, rng: random.Random) -> dict[str, str]:
    present = present_categories(scene)
    return {
        "existence: present": rng.choice(present),
        "existence: absent, any": rng.choice([name for name in CATEGORIES if name not in present]),
        "existence: absent, near miss": absent_category(scene, rng, hard_share=1.0),
    }


def _asker(model: Any, processor: Any) -> Ask:
    padded = model.config.model_type == "llava"  # its processor would cut the edges off

    def ask(scene: Scene, question: str) -> str:
        content = [{"type": "image"}, {"type": "text", "text": question}]
        text = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True
        )
        image = Image.fromarray(padded_square(scene.image) if padded else scene.image)
        inputs = processor(images=image, text=text, return_tensors="pt")
        with torch.inference_mode():
            out = model.generate(**inputs, max_new_tokens=8, do_sample=False)
        answer = out[0, inputs["input_ids"].shape[1] :]
        return str(processor.tokenizer.decode(answer, skip_special_tokens=True)).strip()

    return ask


def talked(path: Path, scenes: int) -> dict[str, float]:
    """Shares of answers that are right word for word, as the product asks: in conversations by their turn (of
    those with one right answer), what matters to a question about a mark, and the mark's color with one look and
    with two.
    """
    entry = BackboneEntry(
        suite="shapes",
        family=json.loads((path / "config.json").read_text(encoding="utf-8"))["model_type"],
        model=str(path), revision=None, trust_remote_code=False,
    )  # fmt: skip
    backbone = backbones.load(entry, dtype="float32", device="cpu")
    found: dict[str, list[bool]] = {}
    for index in range(scenes):
        seed = scene_seed("examination of talk", 0, index)
        scene, rng = make_scene(seed), random.Random(seed ^ 1)
        last = conversation(scene, rng)
        dialogue = backbone.converse(Image.fromarray(scene.image))
        for number, turn in enumerate((*last.earlier, last)):
            said = backbone.decode(list(dialogue.say(turn.prompt, max_new_tokens=60)))
            dialogue.keep()
            if turn.prompt not in DESCRIBE:
                kind = (
                    "leaning on the one before" if turn.prompt in LEANING else "later" if number else "first"
                )
                found.setdefault(f"talk: {kind}", []).append(said == " ".join(turn.pieces))
        _look_twice(backbone, scene, rng, found)
    return {kind: round(sum(oks) / len(oks), 3) for kind, oks in sorted(found.items())}


def _look_twice(backbone: Any, scene: Scene, rng: random.Random, found: dict[str, list[bool]]) -> None:
    mark = marked(scene, rng)
    if mark is None:
        return
    question = colour_question(mark.shape)
    whole = Image.fromarray(mark.scene.image)
    pictures = [whole, Image.fromarray(crop(mark, box_of(mark.thing, rng)).image)]
    asked = f"{question}\n{SHORT_ANSWER}"
    said = {
        "mark: the thing it is on": (
            mark.thing.name,
            backbone.generate(whole, which_object(question), max_new_tokens=8, tap=False),
        ),
        "mark: one look": (mark.colour, backbone.generate(whole, asked, max_new_tokens=8, tap=False)),
    }
    for kind, (wanted, told) in said.items():
        found.setdefault(kind, []).append(backbone.decode(told.tokens) == wanted)
    tokens = backbone.look(pictures, asked, max_new_tokens=8)
    found.setdefault("mark: two looks", []).append(backbone.decode(tokens) == mark.colour)
