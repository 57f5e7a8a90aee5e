"""The tiny SAM: segment-anything's own modules at 192 pixels, and the seeded recipe that trains it from
scratch.

Trained as the refiner uses it: one mask (no multi-mask output) from a coarse mask and its box, or from
either alone.
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
from segment_anything.modeling import Sam

from flmm.data.geometry import bounding_boxes
from flmm.files import write_json
from flmm.heads.losses import mask_loss
from flmm.heads.refiner import SamRefiner
from flmm.heads.sam import build_sam, preprocess
from flmm.shapes.world.scenes import make_scene, scene_seed
from recipes.coarse import coarse_logits, target_masks

CONFIG: dict[str, Any] = {
    "img_size": 192,
    "patch_size": 8,
    "encoder": {
        "depth": 3,
        "embed_dim": 96,
        "num_heads": 3,
        "global_attn_indexes": [1],
        "window_size": 8,
        "out_chans": 64,
        "mlp_ratio": 3.0,
    },
    "prompt": {"embed_dim": 64, "mask_in_chans": 16},
    "decoder": {
        "transformer_depth": 2,
        "mlp_dim": 128,
        "num_heads": 4,
        "iou_head_depth": 2,
        "iou_head_hidden_dim": 64,
    },
    "pixel_mean": [127.0, 127.0, 127.0],
    "pixel_std": [60.0, 60.0, 60.0],
}


@dataclass(frozen=True)
class SamRecipe:
    """Hyper-parameters; the learning rate warms up, then falls to zero with a cosine."""

    steps: int = 1300
    batch: int = 8
    lr: float = 8.0e-4
    warmup: int = 60
    weight_decay: float = 0.01
    clip: float = 1.0


@dataclass
class Example:
    """An image (H, W, 3) uint8, true masks (P, H, W), coarse logits (P, h, w) and jittered true boxes (P,
    4).
    """

    image: NDArray[np.uint8]
    masks: torch.Tensor
    coarse: torch.Tensor
    boxes: torch.Tensor
    mode: str


class Examples(torch.utils.data.Dataset[Example]):
    """Item i is a pure function of (stream, seed, i)."""

    def __init__(self, seed: int, length: int, stream: str = "pretrain-sam", mode: str | None = None) -> None:
        self.seed, self.length, self.stream, self.mode = seed, length, stream, mode

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        seed = scene_seed(self.stream, self.seed, index)
        scene, rng = make_scene(seed), random.Random(seed ^ 1)
        generator = torch.Generator().manual_seed(seed % 2**62)
        masks = target_masks(scene, rng)
        true = torch.from_numpy(masks)
        jitter = torch.randn(len(masks), 4, generator=generator) * 4
        mode = self.mode or rng.choices(("refiner", "box", "mask", "both"), (0.55, 0.2, 0.1, 0.15))[0]
        return Example(
            scene.image, true, coarse_logits(masks, generator), bounding_boxes(true) + jitter, mode
        )


def decode(refiner: SamRefiner, embedding: torch.Tensor, example: Example) -> torch.Tensor:
    """(1, C, E, E) embedding to (P, 4E, 4E) logits on SAM's square; modes name the prompts that are given."""
    size = (int(example.image.shape[0]), int(example.image.shape[1]))
    # The canvas' long side is SAM's, so image pixels are SAM's pixels.
    boxes = refiner.box_prompts(example.coarse, size) if example.mode == "refiner" else example.boxes
    prompts: Any = refiner.model["prompt_encoder"]
    sparse, dense = prompts(
        points=None,
        boxes=None if example.mode == "mask" else boxes,
        masks=None if example.mode == "box" else refiner.mask_prompts(example.coarse, size),
    )
    low, _ = refiner.model["mask_decoder"](
        image_embeddings=embedding,
        image_pe=prompts.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )
    logits: torch.Tensor = low[:, 0]
    return logits


def example_loss(refiner: SamRefiner, embedding: torch.Tensor, example: Example) -> torch.Tensor:
    """BCE plus dice on the image's part of the low-resolution square (two image pixels a cell)."""
    target = torch.nn.functional.avg_pool2d(example.masks.float(), 2)
    rows, columns = target.shape[1:]
    losses = mask_loss(decode(refiner, embedding, example)[:, :rows, :columns], target)
    return losses["bce"] + losses["dice"]


def pretrain_sam(
    out: Path,
    *,
    seed: int = 0,
    recipe: SamRecipe | None = None,
    log: Callable[[str], None] = print,
    held_out: int = 60,
) -> dict[str, Any]:
    """Train the tiny SAM into the directory `out` (config.json, model.safetensors); returns losses and
    cIoUs.
    """
    recipe = recipe or SamRecipe()
    torch.manual_seed(seed)
    sam = build_sam(CONFIG).train()
    refiner = SamRefiner(prompt_encoder=sam.prompt_encoder, mask_decoder=sam.mask_decoder)
    optimizer = torch.optim.AdamW(
        sam.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
    )
    began, losses, mean = time.monotonic(), [], math.nan
    data = Examples(seed, recipe.steps * recipe.batch)
    loader = torch.utils.data.DataLoader(
        data, recipe.batch, num_workers=1, prefetch_factor=4, collate_fn=list
    )
    for step, batch in enumerate(loader):
        warm = min(1.0, (step + 1) / min(recipe.warmup, max(1, recipe.steps // 5)))
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr * warm * (0.5 * (1 + math.cos(math.pi * step / recipe.steps)) + 0.005)
        loss = _batch_loss(sam, refiner, batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(sam.parameters(), recipe.clip)
        optimizer.step()
        losses.append(loss.item())
        mean = losses[-1] if step == 0 else 0.95 * mean + 0.05 * losses[-1]
        if (step + 1) % 50 == 0:
            log(f"sam {step + 1} {time.monotonic() - began:.0f}s loss {mean:.3f}")
        if (step + 1) % 200 == 0:
            save_sam(sam, out)
    save_sam(sam, out)
    result = {"seed": seed, "steps": recipe.steps, "losses": losses, "ciou": measure_sam(sam, held_out)}
    log(f"done {json.dumps(result['ciou'])} {time.monotonic() - began:.0f}s")
    return result


def _batch_loss(sam: Sam, refiner: SamRefiner, batch: Sequence[Example]) -> torch.Tensor:
    embeddings = sam.image_encoder(torch.cat([preprocess(sam, example.image) for example in batch]))
    each = [example_loss(refiner, embeddings[i : i + 1], example) for i, example in enumerate(batch)]
    return torch.stack(each).mean()


@torch.no_grad()
def measure_sam(sam: Sam, scenes: int = 60) -> dict[str, float]:
    """CIoU (percent) on unseen scenes: the imitated coarse masks themselves, then SAM's masks per kind of
    prompt.
    """
    sam.eval()
    refiner = SamRefiner(prompt_encoder=sam.prompt_encoder, mask_decoder=sam.mask_decoder)
    found: dict[str, list[int]] = {}
    for mode in ("coarse", "refiner", "box", "mask", "both"):
        overlap = union = 0
        for example in (Examples(0, scenes, "held-out-sam", mode)[i] for i in range(scenes)):
            rows, columns = example.masks.shape[1:]
            if mode == "coarse":
                logits, side = example.coarse, (rows, columns)
            else:
                embedding = sam.image_encoder(preprocess(sam, example.image))
                logits, side = decode(refiner, embedding, example), (CONFIG["img_size"],) * 2
            full = torch.nn.functional.interpolate(
                logits[:, None], size=side, mode="bilinear", align_corners=False
            )
            guess = full[:, 0, :rows, :columns] > 0
            overlap += int((guess & example.masks).sum())
            union += int((guess | example.masks).sum())
        found[mode] = [overlap, union]
    return {mode: round(100 * i / max(1, u), 2) for mode, (i, u) in found.items()}


def save_sam(sam: Sam, out: Path) -> None:
    """Write the directory whole: into a fresh one beside it, then renamed."""
    fresh = out.with_name(f".{out.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    write_json(fresh / "config.json", CONFIG)
    save_file(
        {name: value.contiguous() for name, value in sam.state_dict().items()}, fresh / "model.safetensors"
    )
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    fresh.rename(out)
    shutil.rmtree(old, ignore_errors=True)
