"""Fine-tuning a tiny LLaVA the LISA way, on referring expressions alone: the rival of the frozen LMMs.

It learns to answer "Please segment the red star." with "the red star [SEG]"; the hidden state that says `[SEG]` prompts
the tiny SAM's mask decoder (`flmm.rivals.seg`). The language model, LLaVA's projector and the mask decoder are trained,
whole; CLIP and SAM's encoders stay, as LISA's do. Nothing asks what it could answer before: what becomes of that is
what is measured.
"""

from __future__ import annotations

import json
import math
import random
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch.nn import functional
from transformers import AutoModelForImageTextToText, AutoProcessor

from flmm.errors import InputError
from flmm.heads.losses import mask_loss
from flmm.heads.sam import SamSegmenter
from flmm.rivals.seg import FILE, SEG, SegDecoder, question, reply
from flmm.shapes.world.expressions import sample_expressions
from flmm.shapes.world.scenes import make_scene, scene_seed
from recipes.attention import use_float32_attention
from recipes.corpus import Batch, collate
from recipes.families import FAMILIES
from recipes.forward import packed_hidden, picture_features
from recipes.language import Turn
from recipes.lmm import save_model
from recipes.packing import IGNORE, Encoder, Packed


@dataclass(frozen=True)
class SegRecipe:
    """Hyper-parameters; the learning rate warms up, then falls to zero with a cosine."""

    steps: int = 600
    batch: int = 6  # pictures
    expressions: int = 4  # of a picture, at most
    lr: float = 8.0e-4
    warmup: int = 40
    weight_decay: float = 0.0
    clip: float = 1.0


@dataclass
class Example:
    """A picture (H, W, 3) uint8, the masks (P, H, W) of its expressions, and its packed conversations."""

    image: NDArray[np.uint8]
    masks: torch.Tensor
    item: tuple[NDArray[np.uint8], NDArray[np.int64], Packed]


class Examples(torch.utils.data.Dataset[Example]):
    """Item i is a pure function of (stream, seed, i): no scene of the suite's data sets is among them."""

    def __init__(
        self, processor: Any, seed: int, length: int, expressions: int, stream: str = "finetune-seg"
    ) -> None:
        self.family = FAMILIES["llava"]
        self.encoder = Encoder(processor, self.family)
        self.seed, self.length, self.expressions, self.stream = seed, length, expressions, stream

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        seed = scene_seed(self.stream, self.seed, index)
        scene, rng = make_scene(seed), random.Random(seed ^ 1)
        found = [each for i in range(len(scene.things)) for each in sample_expressions(scene, i, rng, 2)]
        rng.shuffle(found)
        chosen = found[: self.expressions]
        turns = [Turn(question(each.text), reply(each.text), "segment") for each in chosen]
        shape = (len(chosen), scene.height, scene.width)
        masks = np.array([scene.things[each.thing].mask for each in chosen], dtype=bool).reshape(shape)
        packed = self.encoder.pack(turns, [(scene.height, scene.width)])
        patches = np.zeros((1, 4, 1), dtype=np.int64)  # what each patch shows is not taught here
        item = (self.family.pixels(scene.image)[None], patches, packed)
        return Example(scene.image, torch.from_numpy(masks), item)


def finetune_seg(
    out: Path,
    *,
    start: Path,
    segmenter: Path,
    seed: int = 0,
    recipe: SegRecipe | None = None,
    log: Callable[[str], None] = print,
    held_out: int = 60,
) -> dict[str, Any]:
    """Fine-tune the tiny LLaVA in `start` into the directory `out`; returns losses and the cIoU on unseen scenes.

    `out` holds a complete LLaVA with one token more, and `seg.safetensors` with the projector and the mask decoder.

    Raises:
        InputError: `start` is no LLaVA, or `segmenter` no SAM.
    """
    recipe = recipe or SegRecipe()
    torch.manual_seed(seed)
    model, processor = _with_seg(start)
    sam = SamSegmenter.load(segmenter)
    decoder = SegDecoder(sam, model.config.text_config.hidden_size).train()
    parameters = [p for m in (model, decoder) for p in m.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    began, losses = time.monotonic(), []
    data = Examples(processor, seed, recipe.steps * recipe.batch, recipe.expressions)
    loader = torch.utils.data.DataLoader(
        data, recipe.batch, num_workers=1, prefetch_factor=4, collate_fn=list
    )
    for step, batch in enumerate(loader):
        warm = min(1.0, (step + 1) / min(recipe.warmup, max(1, recipe.steps // 5)))
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * warm * (0.5 * (1 + math.cos(math.pi * step / recipe.steps)) + 0.005)
        parts = _losses(model, decoder, sam, batch)
        optimizer.zero_grad()
        torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, recipe.clip)
        optimizer.step()
        losses.append({name: loss.item() for name, loss in parts.items()})
        if (step + 1) % 25 == 0:
            told = " ".join(f"{k} {sum(x[k] for x in losses[-25:]) / 25:.3f}" for k in parts)
            log(f"seg {step + 1} {time.monotonic() - began:.0f}s {told}")
        if (step + 1) % 100 == 0:
            _save(model, processor, decoder, out)
    _save(model, processor, decoder, out)
    ciou = measure_seg(model, processor, decoder, sam, held_out)
    log(f"done {json.dumps(ciou)} {time.monotonic() - began:.0f}s")
    return {"seed": seed, "steps": recipe.steps, "losses": losses, **ciou}


def _with_seg(start: Path) -> tuple[Any, Any]:
    """The LLaVA to be trained, with a token for `[SEG]` whose embedding begins as the mean of all; its processor."""
    try:
        processor = AutoProcessor.from_pretrained(start)
        model: Any = AutoModelForImageTextToText.from_pretrained(start)
    except (OSError, ValueError) as error:
        raise InputError(f"--start {start}: no model directory ({str(error).splitlines()[0]})") from error
    if model.config.model_type != "llava":
        raise InputError(f"--start {start}: a {model.config.model_type} model; the recipe is for llava")
    processor.tokenizer.add_tokens([SEG])
    model.resize_token_embeddings(len(processor.tokenizer), mean_resizing=False)
    table = model.get_input_embeddings().weight.data
    table[-1] = table[:-1].mean(0)
    model.model.vision_tower.requires_grad_(False)
    use_float32_attention(model)
    return model.train(), processor


def _losses(
    model: Any, decoder: SegDecoder, sam: SamSegmenter, batch: Sequence[Example]
) -> dict[str, torch.Tensor]:
    """`language`: the next token's cross-entropy; `bce` and `dice`: of the masks, each phrase as much as another."""
    packed = collate([example.item for example in batch])
    # float32: on CPUs without bfloat16 instructions (this one: AVX2 only) autocast is five times slower.
    with torch.autocast("cpu", torch.bfloat16, enabled=False):
        hidden = _hidden(model, packed)
        wanted = packed.labels[:, 1:] != IGNORE
        logits = model.lm_head(hidden[:, :-1][wanted]).float()
    language = functional.cross_entropy(logits, packed.labels[:, 1:][wanted])
    states = _states(model, hidden, packed)
    with torch.no_grad():
        embeddings = sam.encode(torch.cat([sam.preprocess(example.image) for example in batch]))
    found = [
        mask_loss(*_low(decoder, embeddings[i : i + 1], states[i], example.masks))
        for i, example in enumerate(batch)
        if len(example.masks)
    ]
    masks = {name: torch.stack([each[name] for each in found]).mean() for name in ("bce", "dice")}
    return {"language": language, **masks}


def _hidden(model: Any, packed: Batch) -> torch.Tensor:
    return packed_hidden(model, picture_features(model, FAMILIES["llava"], packed).packed, packed)


def _states(model: Any, hidden: torch.Tensor, packed: Batch) -> list[torch.Tensor]:
    """Per picture the states (P, D) that say its `[SEG]` tokens, each the one before it; the vocabulary's last."""
    seg = model.config.text_config.vocab_size - 1
    return [hidden[i, :-1][packed.ids[i, 1:] == seg].float() for i in range(len(hidden))]


def _low(
    decoder: SegDecoder, embedding: torch.Tensor, states: torch.Tensor, masks: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and targets at the decoder's resolution: a scene's longer side is SAM's, two of its pixels a cell."""
    target = functional.avg_pool2d(masks.float(), 2)
    rows, columns = target.shape[1:]
    return decoder(embedding, states)[:, :rows, :columns], target


@torch.no_grad()
def measure_seg(
    model: Any, processor: Any, decoder: SegDecoder, sam: SamSegmenter, scenes: int
) -> dict[str, float]:
    """CIoU (percent) on unseen scenes, and how often `[SEG]` is the most likely answer."""
    model.eval(), decoder.eval()
    data = Examples(processor, 0, scenes, 6, "held-out-seg")
    overlap = union = said = asked = 0
    for example in (data[i] for i in range(scenes)):
        packed = collate([example.item])
        hidden = _hidden(model, packed)
        states = _states(model, hidden, packed)[0]
        if not len(states):
            continue
        said += int((model.lm_head(states).argmax(-1) == model.config.text_config.vocab_size - 1).sum())
        asked += len(states)
        low = decoder(sam.embed(example.image), states)
        guess = decoder.to_image(low, (int(example.masks.shape[1]), int(example.masks.shape[2]))) > 0
        overlap += int((guess & example.masks).sum())
        union += int((guess | example.masks).sum())
    return {"ciou": round(100 * overlap / max(1, union), 2), "said": round(said / max(1, asked), 3)}


def _save(model: Any, processor: Any, decoder: SegDecoder, out: Path) -> None:
    """Write the directory whole: beside its place, then renamed."""
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh, old = out.with_name(f".{out.name}.new"), out.with_name(f".{out.name}.old")
    for path in (fresh, old):
        shutil.rmtree(path, ignore_errors=True)
    save_model(model, processor, fresh)
    weights = {name: value.contiguous() for name, value in decoder.state_dict().items()}
    save_file(weights, fresh / FILE)
    if out.exists():
        out.rename(old)
    fresh.rename(out)
    shutil.rmtree(old, ignore_errors=True)
