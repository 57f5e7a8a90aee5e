"""The committed, seeded recipe of the tiny LMMs: a vision warm-up, then vision and language together.

The auxiliary loss names the colour, shape and texture under each patch from the vision tower's features;
its linear heads are thrown away. Nothing supervises the language model's attention: grounding has to
emerge, as in the big ones.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flmm.errors import InputError
from recipes.attention import use_float32_attention
from recipes.corpus import Corpus, Pictures, collate
from recipes.families import BASE, FAMILIES, WIDE
from recipes.forward import language_loss
from recipes.lmm import load_weights, normalise, save_model, take_over
from recipes.measure import HeldOut, measure
from recipes.packing import WEIGHTS
from recipes.readouts import PatchHeads, WordHeads
from recipes.recipe import (
    ANSWERING,
    LOCATION,
    POINTING,
    STAGES,
    TALKING,
    VISION,
    WIDENED,
    Recipe,
    Schedule,
    Stage,
)


def pretrain(
    out: Path,
    *,
    family: str,
    seed: int = 0,
    recipe: Recipe | None = None,
    checkpoints: Path | None = None,
    resume: Path | None = None,
    resume_after: str = "grammar",
    start: Path | None = None,
    log: Callable[[str], None] = print,
    held_out: int = 200,
) -> dict[str, Any]:
    """Train a model into the directory `out`; returns the losses and measured accuracies.

    The family `BASE` is trained from nothing; the others take over from `start`, a finished model of it: the language
    model, and the vision tower where both have CLIP (otherwise it is warmed up). `checkpoints` receives a complete
    model directory every 250 steps, replaced atomically, and each stage's result as `<checkpoints>-<stage>`. `resume`
    is such a result of the stage `resume_after`: only the later stages are run, and the same model comes out.

    Raises:
        InputError: no such family or stage; `start` is missing, or given for `BASE`.
    """
    _check(family, start)
    recipe = recipe or Recipe()
    kind = FAMILIES[family]
    run = _Run(family, seed, recipe, checkpoints, log)
    started = time.monotonic()
    torch.manual_seed(seed)
    model, processor = kind.build(seed)
    use_float32_attention(model)
    held = HeldOut(family, processor, held_out)
    losses: list[float] = []
    for index, stage in _stages(model, family, start, resume, resume_after):
        torch.manual_seed(seed + index)
        heads = PatchHeads(kind.vision_width)
        if stage is VISION:
            _warm_up_vision(model.train(), heads, run)
        else:
            losses += _train_jointly(model, processor, heads, run, stage, held)
        if checkpoints is not None:
            replace_directory(model, processor, checkpoints.with_name(f"{checkpoints.name}-{stage.name}"))
    result: dict[str, Any] = {"family": family, "seed": seed, "losses": losses, **measure(model, kind, held)}
    result["seconds"] = round(time.monotonic() - started)
    log(f"done {json.dumps({k: v for k, v in result.items() if k != 'losses'})}")
    replace_directory(model, processor, out)
    return result


@dataclass(frozen=True)
class _Run:
    family: str
    seed: int
    recipe: Recipe
    checkpoints: Path | None
    log: Callable[[str], None]


def _check(family: str, start: Path | None) -> None:
    if family not in FAMILIES:
        raise InputError(f"--family {family}: there are {', '.join(FAMILIES)}")
    if (start is None) != (family == BASE):
        raise InputError(
            f"{BASE} is trained from nothing, the other families from a finished {BASE}: "
            f"{'name' if start is None else 'leave out'} --start"
        )


def _stages(
    model: Any, family: str, start: Path | None, resume: Path | None, resume_after: str
) -> list[tuple[int, Stage]]:
    """The stages to run, numbered, when the model has got the weights that it begins with."""
    stages: tuple[Stage, ...] = STAGES
    if start is not None:
        late = (WIDENED,) if family == WIDE else (LOCATION, POINTING, ANSWERING, TALKING)
        stages = late if take_over(model, start) else (VISION, *late)
    first = 0
    if resume is not None:
        names = [stage.name for stage in stages]
        if resume_after not in names:
            raise InputError(f"--resume-after {resume_after}: the stages are {', '.join(names)}")
        first = names.index(resume_after) + 1
        load_weights(model, resume)
    return list(enumerate(stages))[first:]


def _loader(data: Any, batch: int, collate_fn: Any = None) -> Iterable[Any]:
    workers = min(1, (os.cpu_count() or 1) - 1)
    return torch.utils.data.DataLoader(
        data,
        batch,
        shuffle=False,
        num_workers=workers,
        collate_fn=collate_fn,
        prefetch_factor=6 if workers else None,
    )


def _scheduled(optimizer: torch.optim.Optimizer, step: int, steps: int, recipe: Recipe) -> None:
    warm = min(1.0, (step + 1) / min(recipe.warmup, max(1, steps // 5)))
    for group in optimizer.param_groups:
        group["lr"] = recipe.lr * warm * (0.5 * (1 + math.cos(math.pi * step / steps)) + 0.005)


def _optimizer(modules: list[torch.nn.Module], recipe: Recipe) -> torch.optim.Optimizer:
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    return torch.optim.AdamW(
        parameters, lr=recipe.lr, betas=recipe.betas, weight_decay=recipe.weight_decay, fused=True
    )


def _step(
    loss: torch.Tensor, optimizer: torch.optim.Optimizer, modules: list[torch.nn.Module], clip: float
) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_([p for module in modules for p in module.parameters()], clip)
    optimizer.step()


def _warm_up_vision(model: Any, heads: PatchHeads, run: _Run) -> None:
    recipe, kind = run.recipe, FAMILIES[run.family]
    modules = [*kind.vision_modules(model), heads]
    optimizer = _optimizer(modules, recipe)
    data = Pictures(run.family, run.seed, recipe.vision_steps * recipe.vision_batch)
    began, mean = time.monotonic(), math.nan
    for step, (pixels, labels) in enumerate(_loader(data, recipe.vision_batch)):
        _scheduled(optimizer, step, recipe.vision_steps, recipe)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
            sizes = torch.zeros(len(pixels), 2)  # only the packing of tokens reads them
            features = kind.features(model, normalise(pixels).to(kind.dtype), sizes)
            loss, right = heads(features.patches, labels)
        _step(loss, optimizer, modules, recipe.clip)
        mean = loss.item() if step == 0 else 0.95 * mean + 0.05 * loss.item()
        if (step + 1) % 50 == 0:
            run.log(f"vision {step + 1} {time.monotonic() - began:.0f}s loss {mean:.3f} shape {right:.3f}")


def _train_jointly(
    model: Any, processor: Any, heads: PatchHeads, run: _Run, stage: Stage, held: HeldOut
) -> list[float]:
    """One joint stage with an optimizer of its own; returns the language loss of each step."""
    recipe, kind = run.recipe, FAMILIES[run.family]
    schedule: Schedule = getattr(recipe, stage.name)
    steps, batch_size = schedule.steps, schedule.batch
    corpus = Corpus(
        run.family, processor, run.seed, steps * batch_size, stage.stream, stage.turns, stage.looks
    )
    words = WordHeads(corpus.encoder, stage.located)
    modules = [model.train(), heads, words] if stage.aligned else [model.train(), heads]
    optimizer = _optimizer(modules, recipe)
    began, means, losses = time.monotonic(), [math.nan, math.nan], []
    progress: dict[int, list[float]] = {}
    for step, batch in enumerate(_loader(corpus, batch_size, collate)):
        _scheduled(optimizer, step, schedule.horizon, recipe)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.bfloat16):
            language, features = language_loss(model, kind, batch, progress)
            vision, right = heads(features.patches, batch.patches)
            loss = language + recipe.auxiliary * vision
            if stage.aligned:
                aligned = words(features.tokens, model.get_input_embeddings().weight, batch.patches)
                progress.setdefault(len(WEIGHTS), []).append(aligned.item())
                loss = loss + recipe.alignment * aligned
        _step(loss, optimizer, modules, recipe.clip)
        losses.append(language.item())
        now = [language.item(), vision.item()]
        means = now if step == 0 else [0.97 * a + 0.03 * b for a, b in zip(means, now, strict=True)]
        if (step + 1) % 50 == 0:
            run.log(
                f"{stage.name} {step + 1} {time.monotonic() - began:.0f}s language {means[0]:.4f} "
                f"vision {means[1]:.3f} shape {right:.3f} {_per_kind(progress)}"
            )
            progress.clear()
        if (step + 1) % 250 == 0 and step + 1 < steps:
            run.log(f"{stage.name} {step + 1} held-out {json.dumps(measure(model, kind, held))}")
            if run.checkpoints is not None:
                replace_directory(model, processor, run.checkpoints)
    return losses


def _per_kind(progress: dict[int, list[float]]) -> str:
    names = [*WEIGHTS, "words"]
    return " ".join(f"{names[k]} {sum(v) / len(v):.3f}" for k, v in sorted(progress.items()))


def replace_directory(model: Any, processor: Any, out: Path) -> None:
    """Write a model directory whole: beside its place, then renamed."""
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh, old = out.with_name(f".{out.name}.new"), out.with_name(f".{out.name}.old")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    save_model(model, processor, fresh)
    if out.exists():
        out.rename(old)
    fresh.rename(out)
    shutil.rmtree(old, ignore_errors=True)
